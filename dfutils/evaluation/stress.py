"""Robustness: damage videos in many ways, then extract faces and score again. Keeps each score, so it can resume."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dfutils.errors import MediaError, ReportError, UnreadableError
from dfutils.evaluation.damage import (
    DAMAGES,
    MAX_FRAMES,
    ON_CROPS,
    with_fewer_frames,
    with_moved_boxes,
    write_damaged,
)
from dfutils.evaluation.metrics import compare_predictions, estimate_metrics
from dfutils.evaluation.predictions import Scores
from dfutils.evaluation.scoring import RunSplits
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.recognition import is_image
from dfutils.files import read_json, refuse_other_content, write_json, write_text
from dfutils.prediction.detector import Detector, face_pixels, load_detector
from dfutils.prediction.runtime import EngineChoice
from dfutils.pretrained import resolve_detector
from dfutils.records import Video
from dfutils.runs.folder import RunFolder
from dfutils.statistics.bootstrap import estimate

logger = logging.getLogger(__name__)

UNTOUCHED = ("none", 0.0)


def stress_test(
    run: Path | str,
    catalogue: Catalogue,
    report: Path,
    *,
    split: str = "test",
    kinds: Sequence[str] | None = None,
    most: int = 60,
    resamples: int = 1000,
    engine: EngineChoice = "auto",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Damage the videos of a split in several strengths, predict each again, and measure.

    Every score is written to ``report/stress`` at once, so that the same call continues where it was interrupted. The
    result is written there too, for `dfutils.report.evaluate.evaluate` to show. Each detector has its own files, for
    each engine.

    Args:
        run: A run folder, or the name of a detector that comes with the package.
        catalogue: The videos that its face dataset was extracted from.
        report: The report folder.
        split: ``train``, ``validation``, ``test`` or ``all``.
        kinds: Names in `dfutils.evaluation.damage.DAMAGES`; all by default.
        most: Maximum number of videos, half REAL and half FAKE; every condition uses the same ones.
        resamples: Bootstrap resamples behind each interval.
        engine: As in `load_detector`.
        progress: Show a progress bar on a terminal.

    Returns:
        One row per condition: ``kind``, ``strength``, ``videos``, ``coverage``, ``auc``, ``difference`` (AUC minus
        that of the untouched videos) and ``turned`` (share of verdicts that changed).

    Raises:
        ReportError: A kind is unknown, or no video of the split is in ``catalogue``.
        RunError: ``run`` is incomplete or was altered, or the engine is not available.
        DatasetError: ``report`` holds something else than a report.
    """
    refuse_other_content(report, "a report")
    unknown = [kind for kind in kinds or () if kind not in DAMAGES]
    if unknown:
        raise ReportError(f"--kinds: {unknown[0]!r} is unknown. Choose from: {', '.join(DAMAGES)}.")
    for warning in catalogue.warnings:
        logger.warning("%s", warning)
    run = resolve_detector(run)
    RunFolder(run).about()  # fail before hours of work, not after
    detector = load_detector(run, engine=engine)
    logger.info("Engine: %s", detector.engine_in_words)
    videos = choose_videos(run, detector, catalogue, split, most=most)
    conditions = [UNTOUCHED, *((name, value) for name in kinds or DAMAGES for value in DAMAGES[name].strengths)]
    store = ScoreStore(report / "stress", detector)
    todo = [(kind, strength, video) for kind, strength in conditions for video in videos]
    logger.info("Stress test: %d videos in %d conditions", len(videos), len(conditions))
    for kind, strength, video in tqdm(todo, desc="stress", unit="video", disable=None if progress else True):
        if store.get(kind, strength, video) is None:
            store.add(kind, strength, video, _score(detector, video.path, kind, strength))
    threshold = detector.settings.threshold
    rows = [_measure(store, one, videos, threshold=threshold, resamples=resamples) for one in conditions]
    write_json(_result_file(report, detector), {"split": split, "rows": rows})
    return rows


def read_stress(report: Path, detector: Detector, *, split: str) -> list[dict[str, Any]]:
    """Return the rows that `stress_test` measured for this detector and split; empty if it was not run."""
    path = _result_file(report, detector)
    if not path.is_file():
        return []
    document = read_json(path)
    return document["rows"] if document["split"] == split else []


def stress_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe each condition in one line."""
    lines = []
    for row in rows:
        auc, name = row["auc"]["value"], DAMAGES[row["kind"]].title if row["kind"] in DAMAGES else "Videos"
        measured = "no video was scored" if auc is None else f"AUC {auc:.3f}, {row['coverage']:.0%} scored"
        lines.append(f"{name}, {row['strength']}: {measured}")
    return lines


def _result_file(report: Path, detector: Detector) -> Path:
    return report / "stress" / f"result-{_key(detector)}.json"


def _key(detector: Detector) -> str:
    known = json.dumps({**detector.identity, "frames": MAX_FRAMES}, sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()[:12]


class ScoreStore:
    """Scores by condition and video, one JSON line each, appended at once; an incomplete last line is dropped.

    The file name contains a checksum of the detector and its engine, so that scores of two of them are never mixed.
    """

    def __init__(self, folder: Path, detector: Detector) -> None:
        self.path = folder / f"scores-{_key(detector)}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            text = self.path.read_text(encoding="utf-8")
            complete = text[: text.rfind("\n") + 1]
            if complete != text:
                write_text(self.path, complete)
            for entry in map(json.loads, complete.splitlines()):
                self._known[entry.pop("key")] = entry

    def get(self, kind: str, strength: float, video: Video) -> dict[str, Any] | None:
        """Return ``fake_probability`` (None without a score) and ``reason``; None if not scored yet."""
        return self._known.get(self._key(kind, strength, video))

    def add(self, kind: str, strength: float, video: Video, score: dict[str, Any]) -> None:
        """Store a score."""
        key = self._key(kind, strength, video)
        self._known[key] = score
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **score}) + "\n")

    def table(self, condition: tuple[str, float], videos: Sequence[Video]) -> pd.DataFrame:
        """Return the predictions in a condition, one row per video."""
        names = ("dataset", "group", "is_fake")
        rows = [{"video": video.name, **{name: getattr(video, name) for name in names}} for video in videos]
        scores = [(self.get(*condition, video) or {}).get("fake_probability") for video in videos]
        return pd.DataFrame(rows).assign(fake_probability=np.array(scores, float))

    @staticmethod
    def _key(kind: str, strength: float, video: Video) -> str:
        return f"{kind} {strength:g} {video.name} {video.path.stat().st_size}"


def choose_videos(run: Path, detector: Detector, catalogue: Catalogue, split: str, *, most: int) -> list[Video]:
    """Return at most ``most`` videos of a split, half of them FAKE, chosen by a hash of their names.

    Raises:
        ReportError: No video of ``catalogue`` is in the split.
    """
    splits = RunSplits(run, is_ensemble=bool(detector.settings.members))
    found = [
        video
        for video in catalogue.videos
        if split in ("all", splits.of(video.name, video.group)) and not video.frames and not _is_still(video.path)
    ]
    if not found:
        raise ReportError(
            f"{run}: none of the {len(catalogue.videos)} videos is in its split {split!r}. "
            "Name the folder that its faces were extracted from; still images are left out."
        )
    by_name = sorted(found, key=lambda video: hashlib.sha256(video.name.encode()).hexdigest())
    fakes, reals = ([v for v in by_name if v.is_fake == is_fake][: max(1, most // 2)] for is_fake in (True, False))
    return fakes + reals


def _is_still(path: Path) -> bool:
    try:
        return is_image(path)
    except UnreadableError:  # counts as a video without a score
        return False


def _score(detector: Detector, path: Path, kind: str, strength: float) -> dict[str, Any]:
    if kind not in ON_CROPS:
        with tempfile.TemporaryDirectory() as folder:
            damaged = Path(folder) / "damaged.mp4"
            try:
                write_damaged(path, damaged, kind, strength)
            except MediaError as error:
                return {"fake_probability": None, "reason": error.reason}
            verdict = detector.predict(damaged)
        return {"fake_probability": verdict.fake_probability, "reason": str(verdict.reason)}
    verdict, extraction = detector.examine(path)
    if extraction is None:
        return {"fake_probability": None, "reason": str(verdict.reason)}
    size = detector.settings.extraction.size
    changed = [
        with_fewer_frames(clip, min(round(strength), len(clip.crops)))
        if kind == "frames"
        else with_moved_boxes(path, clip, kind, strength, size=size)
        for clip in extraction.clips
    ]
    scores = detector.score_clips(np.stack([clip.images for clip in changed]))
    sizes = [face_pixels([frame.box for frame in track.frames]) for track in verdict.tracks]
    place, *_ = detector.decide_people(scores, sizes)
    return {"fake_probability": scores[place].fake_probability, "reason": "ok"}


def _measure(
    store: ScoreStore, condition: tuple[str, float], videos: Sequence[Video], *, threshold: float, resamples: int
) -> dict[str, Any]:
    table, untouched = store.table(condition, videos), store.table(UNTOUCHED, videos)
    auc = difference = turned = estimate(math.nan, None)
    scored = table["fake_probability"].notna()
    if scored.any():
        auc = estimate_metrics(Scores.of(table), threshold=threshold, resamples=resamples)["auc"]
        both = scored & untouched["fake_probability"].notna()
        if both.any():
            thresholds = (threshold, threshold)
            difference = compare_predictions(table, untouched, thresholds=thresholds, resamples=resamples)["auc"]
            before, after = (one["fake_probability"][both] >= threshold for one in (untouched, table))
            turned = estimate(float((before != after).mean()), None)
    kind, strength = condition
    return {
        "kind": kind,
        "strength": f"{strength:g}" if kind != "none" else "untouched",
        "videos": len(table),
        "auc": auc,
        "coverage": round(float(scored.mean()), 6),
        "difference": difference,
        "turned": turned,
    }
