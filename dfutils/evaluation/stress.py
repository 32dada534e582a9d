"""Robustness: the same videos damaged in many ways, cut and scored anew; every score is kept, so it can go on."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dfutils.errors import MediaError, ReportError
from dfutils.evaluation.comparison import compare_predictions
from dfutils.evaluation.damage import (
    DAMAGES,
    MAX_FRAMES,
    ON_CROPS,
    with_fewer_frames,
    with_moved_boxes,
    write_damaged,
)
from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores
from dfutils.evaluation.scoring import RunSplits
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.images import is_image
from dfutils.files import read_json, write_json, write_text
from dfutils.prediction.detector import Detector, face_pixels, load_detector
from dfutils.records import FaceClip, Video
from dfutils.runs.folder import RunFolder
from dfutils.statistics.bootstrap import estimate

logger = logging.getLogger(__name__)

UNTOUCHED = ("none", 0.0)


def stress_test(
    run: Path,
    catalogue: Catalogue,
    report: Path,
    *,
    split: str = "test",
    kinds: Sequence[str] | None = None,
    most: int = 60,
    resamples: int = 1000,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Damage the videos of a split in many strengths, predict each anew, and measure.

    Every score is written to ``report/stress`` at once, so that the same call continues where it was interrupted. The
    result is written there too, for `dfutils.report.evaluate.evaluate` to show. Scores of another detector are kept
    apart.

    Args:
        run: A run folder.
        catalogue: The videos that its face dataset was cut from.
        report: The report folder.
        split: ``train``, ``validation``, ``test`` or ``all``.
        kinds: Names in `dfutils.evaluation.damage.DAMAGES`; all by default.
        most: Videos at the most, REAL and FAKE alike, the same in every condition.
        resamples: Bootstrap resamples behind each interval.
        progress: Show a bar on a terminal.

    Returns:
        One row per condition: ``kind``, ``strength``, ``videos``, ``coverage``, ``auc``, ``difference`` (of the AUC to
        that of the untouched videos) and ``turned`` (share of the verdicts that changed).

    Raises:
        ReportError: A kind is unknown, or no video of the split is in ``catalogue``.
        RunError: ``run`` is incomplete or was altered.
    """
    unknown = [kind for kind in kinds or () if kind not in DAMAGES]
    if unknown:
        raise ReportError(f"--kinds: there is no {unknown[0]!r}. Choose from: {', '.join(DAMAGES)}.")
    RunFolder(run).about()  # before the hours of work, not after
    detector = load_detector(run, engine="keras")
    videos = _sample(run, detector, catalogue, split, most=most)
    conditions = [UNTOUCHED, *((name, value) for name in kinds or DAMAGES for value in DAMAGES[name].strengths)]
    store = ScoreStore(report / "stress", detector)
    todo = [(kind, strength, video) for kind, strength in conditions for video in videos]
    logger.info("Stress test: %d videos in %d conditions", len(videos), len(conditions))
    for kind, strength, video in tqdm(todo, desc="stress", unit="video", disable=None if progress else True):
        if store.get(kind, strength, video) is None:
            store.add(kind, strength, video, _score(detector, video.path, kind, strength))
    tables = {condition: _table(store, condition, videos) for condition in conditions}
    rows = _measure(tables, threshold=detector.settings.threshold, resamples=resamples)
    write_json(_result_file(report, detector), {"split": split, "rows": rows})
    return rows


def read_stress(report: Path, detector: Detector, *, split: str) -> list[dict[str, Any]]:
    """Return what `stress_test` measured of this detector on this split for a report; nothing if it was not run."""
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
    known = detector.settings.model_dump_json() + f" {MAX_FRAMES}"
    return hashlib.sha256(known.encode()).hexdigest()[:12]


class ScoreStore:
    """Scores by condition and video, one line each, written as they come; a line that a kill cut off is no score.

    The file is named after the detector, so that scores of two are never mixed.
    """

    def __init__(self, folder: Path, detector: Detector) -> None:
        self.path = folder / f"scores-{_key(detector)}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._known = dict(self._read())

    def get(self, kind: str, strength: float, video: Video) -> dict[str, Any] | None:
        """``fake_probability`` (None without a score) and ``reason``; None where the condition was not scored yet."""
        return self._known.get(self._key(kind, strength, video))

    def add(self, kind: str, strength: float, video: Video, score: dict[str, Any]) -> None:
        """Keep a score."""
        key = self._key(kind, strength, video)
        self._known[key] = score
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **score}) + "\n")

    def _read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            write_text(self.path, text[: text.rfind("\n") + 1])
        for line in text[: text.rfind("\n") + 1].splitlines():
            entry = json.loads(line)
            yield entry.pop("key"), entry

    @staticmethod
    def _key(kind: str, strength: float, video: Video) -> str:
        return f"{kind} {strength:g} {video.name} {video.path.stat().st_size}"


def _sample(run: Path, detector: Detector, catalogue: Catalogue, split: str, *, most: int) -> list[Video]:
    sides = RunSplits(run, is_ensemble=bool(detector.settings.members))
    found = [
        video
        for video in catalogue.videos
        if split in ("all", sides.of(video.name, video.group)) and not is_image(video.path)
    ]
    if not found:
        raise ReportError(
            f"{run}: none of the {len(catalogue.videos)} videos is in its split {split!r}. "
            "Name the folder that its faces were cut from."
        )
    by_name = sorted(found, key=lambda video: hashlib.sha256(video.name.encode()).hexdigest())
    fakes, reals = ([v for v in by_name if v.is_fake == is_fake][: max(1, most // 2)] for is_fake in (True, False))
    return fakes + reals


def _score(detector: Detector, path: Path, kind: str, strength: float) -> dict[str, Any]:
    if kind in ON_CROPS:
        return _score_cut(detector, path, _crop_change(detector, path, kind, strength))
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(folder) / "damaged.mp4"
        try:
            write_damaged(path, damaged, kind, strength)
        except MediaError as error:
            return {"fake_probability": None, "reason": error.reason}
        verdict = detector.predict(damaged)
    return {"fake_probability": verdict.fake_probability, "reason": str(verdict.reason)}


def _crop_change(detector: Detector, path: Path, kind: str, strength: float) -> Callable[[FaceClip], FaceClip]:
    if kind == "frames":
        return lambda clip: with_fewer_frames(clip, min(round(strength), len(clip.crops)))
    size = detector.settings.extraction.size
    return lambda clip: with_moved_boxes(path, clip, kind, strength, size=size)


def _score_cut(detector: Detector, path: Path, change: Callable[[FaceClip], FaceClip]) -> dict[str, Any]:
    verdict, extraction = detector.examine(path)
    if extraction is None:
        return {"fake_probability": None, "reason": str(verdict.reason)}
    scores = detector.score_clips(np.stack([change(clip).images for clip in extraction.clips]))
    sizes = [face_pixels([frame.box for frame in track.frames]) for track in verdict.tracks]
    place, *_ = detector.decide_people([score.fake_probability for score in scores], sizes)
    return {"fake_probability": scores[place].fake_probability, "reason": "ok"}


def _table(store: ScoreStore, condition: tuple[str, float], videos: Sequence[Video]) -> pd.DataFrame:
    rows = [
        {
            "video": video.name,
            "dataset": video.dataset,
            "group": video.group,
            "is_fake": video.is_fake,
            "fake_probability": (store.get(*condition, video) or {}).get("fake_probability"),
        }
        for video in videos
    ]
    table = pd.DataFrame(rows)
    return table.assign(fake_probability=pd.to_numeric(table["fake_probability"]).astype(float))


def _measure(
    tables: dict[tuple[str, float], pd.DataFrame], *, threshold: float, resamples: int
) -> list[dict[str, Any]]:
    nothing = estimate(math.nan, None)
    untouched = tables[UNTOUCHED]
    rows = []
    for (kind, strength), table in tables.items():
        scored = table.dropna(subset=["fake_probability"])
        auc = difference = turned = nothing
        if len(scored):
            auc = estimate_metrics(Scores.of(table), threshold=threshold, resamples=resamples, seed=0)[0]["auc"]
            both = scored.merge(untouched.dropna(), on="video")
            if len(both):
                thresholds = (threshold, threshold)
                difference = compare_predictions(table, untouched, thresholds=thresholds, resamples=resamples)["auc"]
                changed = (both["fake_probability_x"] >= threshold) != (both["fake_probability_y"] >= threshold)
                turned = estimate(changed.mean(), None)
        coverage = round(len(scored) / len(table), 6)
        rows.append(
            {
                "kind": kind,
                "strength": f"{strength:g}" if kind != "none" else "untouched",
                "videos": len(table),
                "auc": auc,
                "coverage": coverage,
                "difference": difference,
                "turned": turned,
            }
        )
    return rows
