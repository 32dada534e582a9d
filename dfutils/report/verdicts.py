"""Write the report on a verdict folder, once labels of its files are known. Nothing is scored again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfutils.evaluation.slices import SLICE
from dfutils.evaluation.verdicts import labelled_verdicts, read_record
from dfutils.files import refuse_other_content
from dfutils.prediction.verdict_folder import read_job
from dfutils.report.examples import worst_mistakes
from dfutils.report.page import ReportContent, write_report
from dfutils.report.sections import decision_section
from dfutils.report.slices import column_sections, slices_section
from dfutils.statistics.formatting import probability_text


def evaluate_verdicts(
    folder: Path, labels: Path, report: Path, *, columns: Sequence[str] = (), resamples: int = 1000
) -> dict[str, Any]:
    """Measure the verdicts of a verdict folder and write the report folder.

    Args:
        folder: What ``dfutils predict --out`` wrote.
        labels: A label file, as for `dfutils.evaluation.verdicts.labelled_verdicts`.
        report: The report folder to write.
        columns: Further columns of the label file; the report measures the videos of each value.
        resamples: Bootstrap resamples behind each interval.

    Returns:
        The content of ``metrics.json``.

    Raises:
        DfutilsError: The folder or the label file cannot be read, they do not fit each other, or ``report`` holds
            something else than a report.
    """
    refuse_other_content(report, "a report")
    record, job = read_record(folder), read_job(folder)
    predictions = labelled_verdicts(folder, labels, columns=columns)
    drawing: dict[str, Any] = {"threshold": record.threshold, "resamples": resamples}
    levels = {"video": predictions.dropna(subset=["fake_probability"])}
    facts = {
        "Detector": f"{record.name} {record.version}, {record.weights_sha256[:12]}",
        "Verdicts": f"{folder.name}: {len(predictions):,} labelled files of {job['files']:,}, on the engine "
        f"{job['engine']}",
        "Answers": f"given for a share of {probability_text(job['prior'])} of FAKE; probabilities below are for "
        f"{probability_text(record.prior)}",
    }
    content = ReportContent(
        title=f"{record.name} on {folder.name}",
        predictions=predictions,
        threshold=record.threshold,
        answer_range=record.answer_range,
        facts=facts,
        mistakes=worst_mistakes(predictions, threshold=record.threshold),
        sections=[
            slices_section(predictions, levels, **drawing),
            *column_sections(predictions, [f"{SLICE}{column}" for column in columns], **drawing),
            # For another prior, answers followed other thresholds than those of the record.
            *([decision_section(predictions, record, resamples=resamples)] if job["prior"] == record.prior else []),
        ],
    )
    return write_report(report, content, resamples=resamples)
