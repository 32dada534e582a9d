"""A run folder and face datasets to a report folder."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.errors import ReportError, RunError
from dfutils.evaluation.baselines import measure_baselines
from dfutils.evaluation.behaviour import run_behaviour_tests
from dfutils.evaluation.decisions import rule_in_words
from dfutils.evaluation.metrics import compute_metrics
from dfutils.evaluation.scoring import Measured, RunSplits, rows_of_split, score_rows
from dfutils.evaluation.stress import read_stress
from dfutils.extraction.dataset import FaceDataset
from dfutils.files import read_json, sha256_of
from dfutils.prediction.detector import Detector, load_detector
from dfutils.report.content import (
    CROSS_METRICS,
    behaviour_section,
    calibration_section,
    cross_section,
    decision_section,
    slices_section,
    stress_section,
)
from dfutils.report.gallery import error_gallery
from dfutils.report.leak_page import leak_section
from dfutils.report.model_card import model_card
from dfutils.report.report import BACKBONE_FACT, ReportContent, write_report
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord

logger = logging.getLogger(__name__)

MADE_UP_WARNING = (
    "These people do not exist: the clips were drawn by a program. The numbers say nothing of real videos."
)


def evaluate(
    run: Path,
    faces: Path | Sequence[Path],
    report: Path,
    *,
    split: str = "test",
    resamples: int = 1000,
    explain: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Score one split of one face dataset, or of several, with a trained detector and write the report folder.

    Videos that the run's split does not know were never trained on: they count as test. Those that an ensemble of
    folds does know are refused: all members but one were trained on them, and the scores that are honest, out of fold,
    are of single members and measured in its ``folds.csv``.

    Args:
        run: A run folder.
        faces: A face dataset whose crops were cut as the run's were; of several, each is also measured by itself.
        report: The report folder to write; what `dfutils.evaluation.stress.stress_test` left in it is shown.
        split: ``train``, ``validation``, ``test`` or ``all``.
        resamples: Bootstrap resamples behind each interval.
        explain: Clips to explain with images, half REAL and half FAKE; about half a minute each on two cores.
        progress: Show bars on a terminal.

    Returns:
        The document of ``metrics.json``.

    Raises:
        ReportError: No clip is in the split, or an ensemble was trained on some that are.
        DfutilsError: The run or the dataset is incomplete, or they do not fit each other.
    """
    run_folder = RunFolder(run)
    settings, about = run_folder.detector(), run_folder.about()
    folders = [faces] if isinstance(faces, Path) else list(faces)
    if len({folder.resolve() for folder in folders}) < len(folders) or not folders:
        raise ReportError("faces: a face dataset is named twice, or none is. Name each once.")
    sides = RunSplits(run, is_ensemble=bool(settings.members))
    parts = [rows_of_split(run, folder, settings, sides, split) for folder in folders]
    detector = load_detector(run, engine="keras")
    measured = [score_rows(detector, dataset, rows, sides, split, progress=progress) for dataset, rows in parts]
    content = _content(
        run, detector, measured, folders, about=about, sides=sides, split=split, resamples=resamples, explain=explain
    )
    card = functools.partial(model_card, detector.settings, facts=content.facts, data=about, leaks=content.leaks)
    stress = read_stress(report, detector, split=split)
    sections = [*content.sections, *([stress_section(stress)] if stress else [])]
    content = replace(content, sections=sections, card=card)
    return write_report(report, content, resamples=resamples)


def _content(
    run: Path,
    detector: Detector,
    measured: Sequence[Measured],
    folders: Sequence[Path],
    *,
    about: Mapping[str, Any],
    sides: RunSplits,
    split: str,
    resamples: int,
    explain: int,
) -> ReportContent:
    settings, drawing = detector.settings, {"resamples": resamples}
    predictions = _joined([one.predictions for one in measured], folders)
    is_ensemble = bool(settings.members)
    leaks = None if is_ensemble else read_json(RunFolder(run).leaks_file)
    lines = () if leaks is None else leaks["lines"]
    rows = tuple(row for one in measured for row in one.rows)
    levels = {"video": predictions.dropna(subset=["fake_probability"])}
    levels["track (clip)"] = pd.concat([one.tracks for one in measured])
    frames = [one.frames for one in measured]
    if all(table is not None for table in frames):
        levels["frame"] = pd.concat([table for table in frames if table is not None])
    sections = [
        slices_section(predictions, levels, threshold=settings.threshold, **drawing),
        decision_section(predictions, settings, **drawing),
        calibration_section(predictions, settings, **drawing),
        leak_section(leaks, lines, training_groups=sides.known_groups, training_files=sides.trained_files, rows=rows),
        behaviour_section(
            run_behaviour_tests(detector, measured[0].dataset, measured[0].rows, measured[0].features),
            threshold=settings.threshold,
            is_recurrent=not detector.has_frame_head,
        ),
    ]
    if len(folders) > 1:
        sections.insert(0, cross_section(_cross_rows(about, measured, folders, settings, resamples=resamples)))
    if explain:
        from dfutils.report.explained import explanation_section

        sections.append(explanation_section(detector, measured[0], count=explain))
    return ReportContent(
        title=f"{settings.name} on {split} videos",
        predictions=predictions,
        threshold=settings.threshold,
        facts=_facts(about, detector, measured[0].dataset, split),
        warnings=[MADE_UP_WARNING] if set(predictions["dataset"]) == {"demo"} else [],
        # Members of an ensemble have their own; the data they were split from is not the data looked at here.
        history=None if is_ensemble else _history(run),
        leaks=lines,
        mistakes=error_gallery(measured, threshold=settings.threshold),
        sections=[section for section in sections if section is not None],
        baselines=measure_baselines(detector, measured, _prefixes(folders), predictions, sides, resamples=resamples),
    )


def _history(run: Path) -> pd.DataFrame:
    path = RunFolder(run).history_file
    if not path.is_file():
        raise RunError(f"{path}: is missing. Copy the run folder again, whole.")
    return pd.read_csv(path)


def _joined(tables: Sequence[pd.DataFrame], folders: Sequence[Path]) -> pd.DataFrame:
    """All videos; of several datasets they are named after their folder, so that no two are mistaken for one."""
    if len(tables) == 1:
        return tables[0]
    named = [
        table.assign(video=[prefix + video for video in table["video"]], faces=str(folder))
        for prefix, table, folder in zip(_prefixes(folders), tables, folders, strict=True)
    ]
    return pd.concat(named, ignore_index=True)


def _prefixes(folders: Sequence[Path]) -> list[str]:
    """What stands before the name of a video of each dataset; nothing where there is one only."""
    if len(folders) == 1:
        return [""]
    return [f"{number + 1} {folder.name}/" for number, folder in enumerate(folders)]


def _cross_rows(
    about: Mapping[str, Any],
    measured: Sequence[Measured],
    folders: Sequence[Path],
    settings: DetectorRecord,
    *,
    resamples: int,
) -> list[dict[str, Any]]:
    trained_on = about["identity"]["dataset"]
    table = []
    for one, folder in zip(measured, folders, strict=True):
        metrics = compute_metrics(one.predictions, threshold=settings.threshold, resamples=resamples)
        names = ("videos", "groups", *CROSS_METRICS)
        known = "yes" if sha256_of(folder / "manifest.csv") == trained_on else "no"
        table.append({"faces": folder.name, "known": known, **{name: metrics[name] for name in names}})
    return table


def _facts(about: Mapping[str, Any], detector: Detector, dataset: FaceDataset, split: str) -> Mapping[str, str]:
    extraction = detector.settings.extraction
    backbone, versions = about["backbone"], about["versions"]
    return {
        BACKBONE_FACT: f"{backbone['weights']} ({backbone['origin']})",
        "Detector": f"{detector.settings.name} {detector.settings.version}, {detector.settings.weights_sha256[:12]}",
        "Split": _split_in_words(split, is_ensemble=bool(detector.settings.members)),
        "Clips": f"{extraction.frames} frames of {extraction.size} × {extraction.size} pixels, {extraction.sampling} "
        f"sampling, face margin {extraction.margin:g}",
        "Face detector": "YuNet",
        "Videos without a clip": _skipped_in_words(dataset),
        **_operating_facts(detector.settings),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _skipped_in_words(dataset: FaceDataset) -> str:
    skipped = len(dataset.skipped)
    return f"{skipped:,} of {skipped + len({row.video for row in dataset.rows}):,} of the whole dataset"


def _split_in_words(split: str, *, is_ensemble: bool) -> str:
    if is_ensemble:
        return "videos whose names and groups no member was trained on"
    if split == "all":
        return "all videos, those that were trained and tuned on too"
    return f"{split}, grouped: no source is on two sides"


def _operating_facts(settings: DetectorRecord) -> dict[str, str]:
    if settings.members:
        return {
            "Calibration": f"mean logit of {len(settings.members)} members, each calibrated on its own validation part",
            "Operating point": f"{settings.threshold:.3f}, mean of the members' own as logits",
        }
    calibration = (
        f"temperature {settings.temperature:.2f}" if settings.calibration == "temperature" else "isotonic steps"
    )
    rule = rule_in_words(settings.operating_point)
    return {
        "Calibration": f"{calibration}, fitted on {settings.fitted_in_words}",
        "Operating point": f"{settings.threshold:.3f}, {rule} on {settings.fitted_in_words}",
    }
