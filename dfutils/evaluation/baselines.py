"""Baselines that see less than the detector: file metadata only, or one frame at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dfutils.evaluation.metrics import compare_predictions, estimate_metrics
from dfutils.evaluation.predictions import Scores, check_predictions
from dfutils.evaluation.scoring import Measured, RunSplits
from dfutils.prediction.detector import Detector
from dfutils.prediction.members import Member, score_members
from dfutils.records import ClipRow
from dfutils.runs.probabilities import logit, sigmoid
from dfutils.statistics.cross_validation import fit_logistic_regression
from dfutils.statistics.estimates import FloatArray
from dfutils.training.leaks import file_features

METRICS = ("accuracy", "balanced_accuracy", "auc", "log_loss", "brier")


def measure_baselines(
    detector: Detector,
    measured: Sequence[Measured],
    prefixes: Sequence[str],
    predictions: pd.DataFrame,
    splits: RunSplits,
    *,
    resamples: int = 1000,
) -> list[dict[str, Any]]:
    """Measure the baselines that apply, on all datasets of a report together.

    Args:
        detector: The detector that they are compared with.
        measured: Each dataset.
        prefixes: For each dataset, the text before its videos' names in ``predictions``.
        predictions: The detector's scores of all datasets, one row per video.
        splits: Splits of the run; the file metadata baseline is fitted on its training split.
        resamples: Bootstrap resamples behind each interval.
    """
    training = [row for one in measured for row in one.dataset.rows if splits.of(row.video, row.group) == "train"]
    baselines = {
        "File metadata only": (
            "a logistic regression on size, frame rate, duration and bit rate, fitted on the training videos.",
            [file_metadata_scores(training, one.rows) for one in measured],
        ),
        "Frame average": (
            "the same detector given one frame at a time, each as a clip without motion.",
            [frame_average_scores(detector, one.rows, one.features) for one in measured],
        ),
    }
    rows = []
    for name, (about, parts) in baselines.items():
        scores = {
            prefix + video: score
            for prefix, part in zip(prefixes, parts, strict=True)
            for video, score in (part or {}).items()
        }
        if scores:
            metrics = measure_baseline(scores, predictions, threshold=detector.settings.threshold, resamples=resamples)
            rows.append({"name": name, "about": about, **metrics})
    return rows


def measure_baseline(
    scores: Mapping[str, float], predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000
) -> dict[str, Any]:
    """Return the metrics of a baseline, and the detector's lead in AUC on the same videos.

    Args:
        scores: Fake probability of the baseline by the video's name. Other videos are not compared.
        predictions: The detector's scores, one row per video.
        threshold: Operating point of the detector; the baseline's is 0.5.
        resamples: Bootstrap resamples behind each interval.
    """
    rows = check_predictions(predictions).dropna(subset=["fake_probability"])
    rows = rows[rows["video"].isin(list(scores))]
    own = rows.assign(fake_probability=rows["video"].map(scores))
    metrics = estimate_metrics(Scores.of(own), threshold=0.5, resamples=resamples)
    difference = compare_predictions(rows, own, thresholds=(threshold, 0.5), resamples=resamples)["auc"]
    return {**{name: metrics[name] for name in METRICS}, "difference": difference}


def file_metadata_scores(training: Sequence[ClipRow], rows: Sequence[ClipRow]) -> dict[str, float] | None:
    """Return fake probabilities from file metadata alone; None if the training videos lack a class."""
    if len({row.is_fake for row in training}) < 2:
        return None
    model = fit_logistic_regression(file_features(training), [row.is_fake for row in training])
    probabilities = model.predict_proba(file_features(rows))[:, 1]
    return {row.video: float(value) for row, value in zip(rows, probabilities, strict=True)}


def frame_average_scores(
    detector: Detector, rows: Sequence[ClipRow], features: Mapping[str, FloatArray]
) -> dict[str, float] | None:
    """Score each frame as a clip without motion and average the logits; a video's score is its highest track score.

    A recurrent model gains its lead over this baseline from the changes between frames. None for still images, and for
    models that average frames anyway.

    Args:
        detector: The detector whose heads are used.
        rows: Clips of the dataset.
        features: Features by `Member.features_key`, ``(N, T, 2048)`` in the order of ``rows``.
    """
    frames = rows[0].frames
    if frames == 1 or detector.has_frame_head:
        return None
    total = np.zeros(len(rows))
    for frame in range(frames):

        def repeated(member: Member, frame: int = frame) -> Any:
            own = features[member.features_key]
            return np.repeat(own[:, frame : frame + 1], frames, axis=1)

        total += logit(np.array([score.fake_probability for score in score_members(detector.members, repeated)]))
    highest: dict[str, float] = {}
    for row, probability in zip(rows, sigmoid(total / frames).tolist(), strict=True):
        highest[row.video] = max(highest.get(row.video, 0.0), probability)
    return highest
