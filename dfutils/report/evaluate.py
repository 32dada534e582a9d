"""Evaluate a run on face datasets and write the report folder."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.errors import ReportError, RunError
from dfutils.evaluation.baselines import measure_baselines
from dfutils.evaluation.behaviour import run_behaviour_tests
from dfutils.evaluation.decisions import describe_rule
from dfutils.evaluation.metrics import compute_metrics
from dfutils.evaluation.scoring import Measured, RunSplits, rows_of_split, score_rows, videos_of_split
from dfutils.evaluation.slices import SLICE, with_columns
from dfutils.evaluation.stress import read_stress
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.extract import extract_dataset
from dfutils.files import read_json, refuse_other_content, sha256_of
from dfutils.prediction.detector import Detector, load_detector
from dfutils.prediction.runtime import EngineChoice
from dfutils.pretrained import resolve_detector
from dfutils.report.elements import Section
from dfutils.report.examples import error_gallery, explanation_section
from dfutils.report.model_card import model_card
from dfutils.report.page import BACKBONE_FACT, ReportContent, write_report
from dfutils.report.sections import (
    behaviour_section,
    calibration_section,
    decision_section,
    leak_section,
    stress_section,
)
from dfutils.report.slices import CROSS_METRICS, column_sections, cross_section, papers_section, slices_section
from dfutils.runs.folder import RunFolder
from dfutils.statistics.formatting import probability_text

logger = logging.getLogger(__name__)

MADE_UP_WARNING = (
    "These people do not exist: the clips were drawn by a program. The numbers say nothing about videos of real people."
)


def evaluate(
    run: Path | str,
    faces: Path | Sequence[Path] | Catalogue,
    report: Path,
    *,
    split: str = "test",
    slices: Mapping[str, Mapping[str, str]] | None = None,
    resamples: int = 1000,
    explain: int = 0,
    engine: EngineChoice = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Score one split of one or several face datasets with a trained detector and write the report folder.

    Videos that the run does not know were not trained on: they count as test. An ensemble of folds cannot be evaluated
    on videos that it knows, because all members but one were trained on each of them; its out-of-fold scores, which
    come from single members, are measured in its ``folds.csv``.

    Args:
        run: A run folder, or the name of a detector that comes with the package; it does not say what it was trained
            on, so that all videos count as new to it.
        faces: A face dataset whose crops were cut with the run's settings. Several are measured together and singly.
            Or labelled videos: their faces are extracted into ``face-crops`` in the report folder, of everybody in
            them, as for a verdict. The same call continues an interrupted extraction.
        report: The report folder to write; results of `dfutils.evaluation.stress.stress_test` in it are included.
        split: ``train``, ``validation``, ``test`` or ``all``. Labelled videos that the run does not know, but whose
            labels say that they are for training or validation, are not in ``test``.
        slices: Values of further columns for each video, by its name, from `dfutils.extraction.catalogue.read_columns`;
            the report measures the videos of each value.
        resamples: Bootstrap resamples behind each interval.
        explain: Number of clips to explain with images, half REAL and half FAKE; about half a minute each on two
            cores. Heat maps need Keras, beside the engine that scores the clips.
        engine: As in `load_detector`.
        progress: Show progress bars on a terminal.

    Returns:
        The content of ``metrics.json``.

    Raises:
        ReportError: No clip is in the split, an ensemble was trained on some of the clips, or labelled videos are mixed
            with images.
        DfutilsError: The run or the dataset is incomplete, they do not fit each other, or ``report`` holds something
            else than a report.
    """
    refuse_other_content(report, "a report")
    run = resolve_detector(run)
    settings, about = RunFolder(run).detector(), RunFolder(run).about()
    splits = RunSplits(run, is_ensemble=bool(settings.members))
    detector = None
    if isinstance(faces, Catalogue):
        chosen = videos_of_split(faces, splits, split)
        detector = _loaded(run, engine, explain=explain)  # what is missing is said before hours of work
        faces = report / "face-crops"
        everybody = settings.extraction.model_copy(update={"tracks": "all"})
        for line in extract_dataset(chosen, faces, settings=everybody, progress=progress).lines():
            logger.info("%s", line)
    folders = [faces] if isinstance(faces, Path) else list(faces)
    if len({folder.resolve() for folder in folders}) < len(folders) or not folders:
        raise ReportError("faces: a face dataset is named twice, or none is. Name each once.")
    parts = [rows_of_split(run, folder, settings, splits, split) for folder in folders]
    detector = detector or _loaded(run, engine, explain=explain)
    measured = [score_rows(detector, dataset, rows, splits, split, progress=progress) for dataset, rows in parts]
    measured = [replace(one, predictions=with_columns(one.predictions, slices or {})) for one in measured]
    evaluation = _Evaluation(run, about, detector, splits, split, measured, resamples)
    content = evaluation.content(stress=read_stress(report, detector, split=split), explain=explain)
    return write_report(report, content, resamples=resamples)


def _loaded(run: Path, engine: EngineChoice, *, explain: int) -> Detector:
    detector = load_detector(run, engine=engine)
    logger.info("Engine: %s", detector.engine_in_words)
    if explain:
        _ = detector.reference  # fail now if Keras is missing, and not at the first heat map
    return detector


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """A detector and its scores, from which the content of a report is made."""

    run: Path
    about: Mapping[str, Any]
    detector: Detector
    splits: RunSplits
    split: str
    measured: Sequence[Measured]
    resamples: int

    def content(self, *, stress: Sequence[dict[str, Any]], explain: int) -> ReportContent:
        """Measure everything that the report shows."""
        settings = self.detector.settings
        prefixes, predictions = [""], self.measured[0].predictions
        if len(self.measured) > 1:  # names become unique
            prefixes = [f"{number} {one.dataset.folder.name}/" for number, one in enumerate(self.measured, start=1)]
            tables = [
                one.predictions.assign(video=prefix + one.predictions["video"], faces=str(one.dataset.folder))
                for prefix, one in zip(prefixes, self.measured, strict=True)
            ]
            predictions = pd.concat(tables, ignore_index=True)
        has_no_tables = bool(settings.members) or RunFolder(self.run).is_packed
        leaks = None if has_no_tables else read_json(RunFolder(self.run).leaks_file)
        leak_lines = [] if leaks is None else leaks["lines"]
        history = RunFolder(self.run).history_file
        if not has_no_tables and not history.is_file():
            raise RunError(f"{history}: is missing. Copy the run folder again, whole.")
        facts = self.facts()
        return ReportContent(
            title=f"{settings.name} on {self.split} videos",
            predictions=predictions,
            threshold=settings.threshold,
            answer_range=settings.answer_range,
            facts=facts,
            warnings=[MADE_UP_WARNING] if set(predictions["dataset"]) == {"demo"} else [],
            history=None if has_no_tables else pd.read_csv(history),  # each member of an ensemble has its own
            leaks=leak_lines,
            mistakes=error_gallery(self.measured, threshold=settings.threshold),
            sections=self.sections(predictions, leaks, stress=stress, explain=explain),
            baselines=measure_baselines(
                self.detector, self.measured, prefixes, predictions, self.splits, resamples=self.resamples
            ),
            card=functools.partial(model_card, settings, facts=facts, data=self.about, leaks=leak_lines),
        )

    def sections(
        self, predictions: pd.DataFrame, leaks: Mapping[str, Any] | None, *, stress: Sequence[Any], explain: int
    ) -> list[Section]:
        """Return the sections after the standard ones."""
        settings, first = self.detector.settings, self.measured[0]
        threshold, resamples = settings.threshold, self.resamples
        levels = {
            "video": predictions.dropna(subset=["fake_probability"]),
            "track (clip)": pd.concat([one.tracks for one in self.measured]),
        }
        frames = [table for one in self.measured if (table := one.frames) is not None]
        if len(frames) == len(self.measured):
            levels["frame"] = pd.concat(frames)
        cross = []
        for one in self.measured if len(self.measured) > 1 else ():
            folder = one.dataset.folder
            metrics = compute_metrics(one.predictions, threshold=threshold, resamples=resamples)
            known = sha256_of(folder / "manifest.csv") == self.about["identity"]["dataset"]
            numbers = {name: metrics[name] for name in ("videos", "groups", *CROSS_METRICS)}
            cross.append({"faces": folder.name, "known": "yes" if known else "no", **numbers})
        outcomes = run_behaviour_tests(self.detector, first.dataset, first.rows, first.features)
        sections = [
            cross_section(cross) if cross else None,
            papers_section(levels["video"], levels.get("frame"), resamples=resamples),
            slices_section(predictions, levels, threshold=threshold, resamples=resamples),
            *column_sections(
                predictions,
                [column for column in predictions if column.startswith(SLICE)],
                threshold=threshold,
                resamples=resamples,
            ),
            decision_section(predictions, settings, resamples=resamples),
            calibration_section(predictions, settings, resamples=resamples),
            leak_section(
                leaks,
                training_groups=self.splits.known_groups,
                training_files=self.splits.trained_files,
                rows=[row for one in self.measured for row in one.rows],
            ),
            behaviour_section(outcomes, threshold=threshold, is_recurrent=not self.detector.has_frame_head),
            explanation_section(self.detector, first, count=explain) if explain else None,
            stress_section(stress) if stress else None,
        ]
        return [section for section in sections if section is not None]

    def facts(self) -> dict[str, str]:
        """Describe the detector and the data."""
        settings, dataset = self.detector.settings, self.measured[0].dataset
        extraction, backbone = settings.extraction, self.about["backbone"]
        skipped = len(dataset.skipped)
        if settings.members:
            split = "videos whose names and groups were not used to train any member"
            calibration = f"mean logit of {len(settings.members)} members, each calibrated on its own validation split"
            operating_point = "mean of the members' own thresholds, as logits"
        else:
            split = f"{self.split}, split by group: no source is in two splits"
            if self.split == "all":
                split = "all videos, including those used for training and validation"
            method = (
                f"temperature {settings.temperature:.2f}, bias {settings.bias:+.2f}"
                if settings.calibration == "platt"
                else "isotonic regression"
            )
            calibration = f"{method}, fitted on {settings.fitted_in_words}"
            operating_point = f"{describe_rule(settings.operating_point)} on {settings.fitted_in_words}"
        if RunFolder(self.run).is_packed:
            split = "all videos; the detector does not say which it was trained on"
        return {
            BACKBONE_FACT: f"{backbone['weights']} ({backbone['origin']})",
            "Detector": f"{settings.name} {settings.version}, {settings.weights_sha256[:12]}",
            "Engine": self.detector.engine_in_words,
            "Split": split,
            "Clips": f"{extraction.frames} frames of {extraction.size} × {extraction.size} pixels, "
            f"{extraction.sampling} sampling, face margin {extraction.margin:g}",
            "Face detector": "YuNet",
            "Videos without a clip": f"{skipped:,} of {skipped + len({row.video for row in dataset.rows}):,} in the "
            "whole dataset",
            "Calibration": calibration,
            "Operating point": f"{probability_text(settings.threshold, 3)}, {operating_point}",
            "Versions": ", ".join(f"{name} {version}" for name, version in self.about["versions"].items()),
        }
