"""Answers that look at less than the detector does: at the file and not the face, or at one frame at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from dfutils.evaluation.comparison import compare_predictions
from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores, check_predictions
from dfutils.evaluation.scoring import Measured, RunSplits
from dfutils.prediction.detector import Detector
from dfutils.prediction.members import Member, score_members
from dfutils.records import ClipRow
from dfutils.statistics.estimates import FloatArray
from dfutils.training.leaks import file_features

logger = logging.getLogger(__name__)

MEASURED = ("accuracy", "balanced_accuracy", "auc", "log_loss", "brier")
Features: TypeAlias = Mapping[str, Any]


def measure_baselines(
    detector: Detector,
    measured: Sequence[Measured],
    prefixes: Sequence[str],
    predictions: pd.DataFrame,
    sides: RunSplits,
    *,
    resamples: int = 1000,
) -> list[dict[str, Any]]:
    """The baselines that there can be, on all datasets of a report together.

    Args:
        detector: What they stand beside.
        measured: Each dataset.
        prefixes: Of each dataset, what stands before its videos' names in ``predictions``.
        predictions: Of the detector, a row a video of all datasets.
        sides: Of the run; file facts are learnt from what it was trained on.
        resamples: Bootstrap resamples behind each interval.
    """
    training = [row for one in measured for row in one.dataset.rows if sides.of(row.video, row.group) == "train"]
    found = {
        "File facts only": (
            "size, frame rate, duration and bit rate, by a logistic regression on the training videos.",
            [file_facts_scores(training, one.rows) for one in measured],
        ),
        "Frame average": (
            "the same detector shown one frame at a time, each as a clip that stands still.",
            [frame_average_scores(detector, one.rows, one.features) for one in measured],
        ),
    }
    threshold = detector.settings.threshold
    return [
        measure_baseline(
            name, about, _together(scores, prefixes), predictions, threshold=threshold, resamples=resamples
        )
        for name, (about, scores) in found.items()
        if any(scores)
    ]


def _together(scores: Sequence[Mapping[str, float] | None], prefixes: Sequence[str]) -> dict[str, float]:
    return {
        prefix + video: value
        for prefix, some in zip(prefixes, scores, strict=True)
        for video, value in (some or {}).items()
    }


def measure_baseline(
    name: str,
    about: str,
    scores: Mapping[str, float],
    predictions: pd.DataFrame,
    *,
    threshold: float,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """A row for the report: metrics of a baseline, and how much better the detector is on the same videos.

    Args:
        name: Of the baseline.
        about: A sentence on what it is.
        scores: Its fake probability by the video's name; videos that it lacks are not compared.
        predictions: Of the detector, a row a video.
        threshold: Operating point of the detector; the baseline's is 0.5.
        resamples: Bootstrap resamples behind each interval.
        seed: Same seed, same document.
    """
    rows = check_predictions(predictions).dropna(subset=["fake_probability"])
    rows = rows[rows["video"].isin(list(scores))]
    own = rows.assign(fake_probability=rows["video"].map(scores))
    measured, _ = estimate_metrics(Scores.of(own), threshold=0.5, resamples=resamples, seed=seed)
    difference = compare_predictions(rows, own, thresholds=(threshold, 0.5), resamples=resamples, seed=seed)["auc"]
    return {"name": name, "about": about, **{key: measured[key] for key in MEASURED}, "difference": difference}


def file_facts_scores(training: Sequence[ClipRow], rows: Sequence[ClipRow]) -> dict[str, float] | None:
    """Fake probability by size, frame rate, duration and bit rate alone; None where the training videos lack a class.

    A logistic regression, fitted on the training split, both classes counted alike.
    """
    if len({row.is_fake for row in training}) < 2:
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    model.fit(file_features(training), [row.is_fake for row in training])
    probabilities = model.predict_proba(file_features(rows))[:, 1]
    return {row.video: float(value) for row, value in zip(rows, probabilities, strict=True)}


def frame_average_scores(
    detector: Detector, rows: Sequence[ClipRow], features: Mapping[str, FloatArray]
) -> dict[str, float] | None:
    """The detector itself, shown one frame at a time: each as a clip that stands still, logits averaged.

    What a recurrent model has over this, it has from the changes between frames. None for still images, and for
    models that average frames anyway.

    Args:
        detector: Whose heads are used.
        rows: Clips of the dataset.
        features: By backbone checksum, ``(N, T, 2048)`` in the order of ``rows``.
    """
    frames = rows[0].frames
    if frames == 1 or detector.has_frame_head:
        return None
    from dfutils.runs.thresholds import logit, sigmoid

    total = np.zeros(len(rows))
    for frame in range(frames):

        def repeated(member: Member, frame: int = frame) -> Any:
            own = features[member.settings.backbone_checksum]
            return np.repeat(own[:, frame : frame + 1], frames, axis=1)

        scores = score_members(detector.members, repeated)
        total += logit(np.array([score.fake_probability for score in scores]))
    return highest_by_video(rows, sigmoid(total / frames).tolist())


def highest_by_video(rows: Sequence[ClipRow], probabilities: Sequence[float]) -> dict[str, float]:
    """A video's score is its highest track score."""
    best: dict[str, float] = {}
    for row, value in zip(rows, probabilities, strict=True):
        best[row.video] = max(best.get(row.video, 0.0), float(value))
    return best
