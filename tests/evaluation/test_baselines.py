"""Baselines worked out by hand: one frame at a time, and all datasets of a report together."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dfutils.evaluation.baselines import frame_average_scores, measure_baselines
from dfutils.evaluation.scoring import Measured
from dfutils.prediction.members import Member
from dfutils.records import ClipRow
from dfutils.runs.record import DetectorRecord
from dfutils.settings import ExtractionSettings


def sigmoid(value):
    return 1 / (1 + np.exp(-np.asarray(value, float)))


class MotionNetwork:
    """A network whose logit is the last frame's number plus a hundred times the change since the first."""

    def score(self, features):
        first, last = features[:, 0, 0], features[:, -1, 0]
        return sigmoid(last + 100 * (last - first)), None


def member(backbone, *, temperature):
    settings = DetectorRecord(
        name="n", version="1", model="inception_gru", extraction=ExtractionSettings(), backbone_weights="random",
        backbone_checksum=backbone, weights_sha256="", temperature=temperature,
    )  # fmt: skip
    return Member(settings, MotionNetwork())


def detector_of(*members, has_frame_head=False):
    return SimpleNamespace(members=members, settings=members[0].settings, has_frame_head=has_frame_head)


def clip(video, *, track=0, is_fake=False, frames=3):
    return ClipRow(f"{video}-{track}", video, is_fake, "d", video, None, track, frames, 64, 64, 25.0, 1.0, 1, "")


A, B = "InceptionV3 a", "InceptionV3 b"
"""`Member.features_key` of members with the backbones ``a`` and ``b``."""


def features_of(*clips):
    """Features ``(N, T, 2048)`` whose first number is given for each frame."""
    features = np.zeros((len(clips), len(clips[0]), 2048), np.float32)
    features[..., 0] = clips
    return features


def test_frames_are_scored_one_at_a_time_and_their_calibrated_logits_averaged():
    scores = frame_average_scores(
        detector_of(member("a", temperature=2.0)),
        [clip("moves"), clip("stands")],
        {A: features_of([1, 2, 6], [-2, -2, -2])},
    )
    # (1 + 2 + 6) / 3 / 2 and -2 / 2: without the motion that the whole clip shows.
    assert scores == pytest.approx({"moves": sigmoid(1.5), "stands": sigmoid(-1.0)}, abs=1e-6)


def test_members_of_an_ensemble_get_the_same_frame_of_their_own_features():
    scores = frame_average_scores(
        detector_of(member("a", temperature=1.0), member("b", temperature=2.0)),
        [clip("v")],
        {A: features_of([1, 2, 3]), B: features_of([-2, 0, 8])},
    )
    assert scores == pytest.approx({"v": sigmoid((2 + 2 / 2) / 2)}, abs=1e-6)


def test_the_highest_person_counts_in_the_frame_average():
    rows = [clip("v", track=0), clip("v", track=1)]
    scores = frame_average_scores(
        detector_of(member("a", temperature=1.0)), rows, {A: features_of([0, 2, 4], [1, 1, 1])}
    )
    assert scores == pytest.approx({"v": sigmoid(2.0)}, abs=1e-6)


def test_images_and_models_that_average_frames_have_no_frame_average():
    one = member("a", temperature=1.0)
    features = {A: features_of([1, 2, 3])}
    assert frame_average_scores(detector_of(one, has_frame_head=True), [clip("v")], features) is None
    assert frame_average_scores(detector_of(one), [clip("v", frames=1)], features) is None


def test_baselines_of_several_datasets_are_measured_on_all_together():
    detector = detector_of(member("a", temperature=1.0))
    parts, tables = [], []
    # The same names with opposite labels: if they were mixed up, the frame average would be at chance.
    for prefix, sign in (("1 x/", 1), ("2 y/", -1)):
        rows = tuple(clip(f"v{n}", is_fake=(n % 2 == 0) == (sign > 0)) for n in range(4))
        features = {A: features_of(*([2.0 if row.is_fake else -2.0] * 3 for row in rows))}
        table = pd.DataFrame(
            [
                {"video": prefix + row.video, "dataset": "d", "group": prefix + row.video, "is_fake": row.is_fake,
                 "fake_probability": 0.5}
                for row in rows
            ]
        )  # fmt: skip
        parts.append(Measured(SimpleNamespace(rows=rows), rows, (), features, table))
        tables.append(table)
    splits = SimpleNamespace(of=lambda video, _group: "train" if video in ("v0", "v1") else "test")
    metadata, frames = measure_baselines(
        detector, parts, ["1 x/", "2 y/"], pd.concat(tables, ignore_index=True), splits, resamples=20
    )
    assert (metadata["name"], frames["name"]) == ("File metadata only", "Frame average")
    assert metadata["auc"]["value"] == 0.5  # all files are alike
    assert (frames["auc"]["value"], frames["accuracy"]["value"]) == (1, 1)
    assert frames["log_loss"]["value"] == pytest.approx(-np.log(sigmoid(2.0)), abs=1e-4)
    assert frames["difference"]["value"] == -0.5  # of a detector that always says 0.5
