"""Tables of metrics and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.notebook.display import Markdown, TextTable, text_table
from dfutils.records import Verdict
from dfutils.report.verdict_words import ONLY_FACES
from dfutils.report.wording import all_numbers, baselines, headline
from dfutils.statistics.formatting import with_interval


def headline_text(metrics: Mapping[str, Any]) -> Markdown:
    """Return the headline of a report: whether the detector beats chance."""
    return Markdown(f"> {headline(metrics)}")


def metrics_table(metrics: Mapping[str, Any]) -> TextTable:
    """Return every metric with its interval and meaning."""
    rows = ((number.name, number.value, number.interval, number.meaning) for number in all_numbers(metrics))
    return text_table(rows, ["metric", "value", "95\xa0%\xa0interval", "meaning"])


def baselines_table(metrics: Mapping[str, Any]) -> TextTable:
    """Compare the detector with baselines that see no video."""
    rows = ((line.name, line.accuracy, line.balanced_accuracy, line.auc, line.log_loss) for line in baselines(metrics))
    return text_table(rows, ["system", "accuracy", "balanced accuracy", "AUC", "log loss"])


def datasets_table(metrics: Mapping[str, Any]) -> TextTable:
    """Return the headline metrics of each data set; some data sets are named by manipulation."""
    rows = (
        (
            row["dataset"],
            row["videos"],
            row["real"],
            row["fake"],
            row["unscored"],
            *(with_interval(name, row[name]) for name in ("auc", "accuracy")),
        )
        for row in metrics["datasets"]
    )
    return text_table(rows, ["data set", "videos", "REAL", "FAKE", "no score", "AUC", "accuracy"])


def thresholds_table(predictions: pd.DataFrame, thresholds: Mapping[str, float]) -> TextTable:
    """Return the outcomes of several thresholds between REAL and FAKE."""
    scored = predictions.dropna(subset=["fake_probability"])
    reals, fakes = (scored[scored["is_fake"] == is_fake]["fake_probability"] for is_fake in (False, True))
    rows = (
        (
            name,
            f"{threshold:.2f}",
            f"{(fakes >= threshold).sum()} of {len(fakes)}",
            f"{(reals >= threshold).sum()} of {len(reals)}",
            f"{((fakes >= threshold).mean() + (reals < threshold).mean()) / 2:.0%}",
        )
        for name, threshold in thresholds.items()
    )
    return text_table(rows, ["rule", "threshold", "fakes found", "false positives", "balanced accuracy"])


def report_text(report: Path) -> Markdown:
    """Return a link to the report, with its size."""
    page = report / "report.html"
    return Markdown(f"[{page.as_posix()}]({page.as_posix()}), {page.stat().st_size / 1e6:.1f} MB, one file")


def verdicts_table(verdicts: Sequence[Verdict]) -> TextTable:
    """Return one row per input: verdict, score, number of people, and the reason if there is no score.

    Below the table stands what no verdict is about.
    """
    rows = (
        (
            Path(verdict.input).name,
            str(verdict.label),
            "–" if verdict.fake_probability is None else f"{verdict.fake_probability:.2f}",
            len(verdict.tracks),
            str(verdict.reason),
            verdict.detail,
        )
        for verdict in verdicts
    )
    table = text_table(rows, ["input", "verdict", "fake\xa0probability", "people", "reason", "detail"])
    table.attrs["note"] = ONLY_FACES
    return table


def submission_table(rows: Sequence[Mapping[str, str]], *, most: int = 6) -> TextTable:
    """Return the first rows of a submission, and the number of rows."""
    shown = text_table(((row["filename"], row["label"]) for row in rows[:most]), ["filename", "label"])
    return shown.rename_axis(columns=f"filename ({len(rows)} rows)")
