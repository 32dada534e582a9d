"""Risk against coverage and rates of operating points, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from dfutils.evaluation.decisions import few_clips_warning, measure_operating_points, risk_coverage
from dfutils.runs.record import DetectorRecord, OperatingPoint
from dfutils.settings import ExtractionSettings


def table(is_fake, scores):
    names = [f"{index}.mp4" for index in range(len(is_fake))]
    groups = [f"g{index % 3}" for index in range(len(is_fake))]
    columns = {"video": names, "dataset": "d", "group": groups, "is_fake": is_fake, "fake_probability": scores}
    return pd.DataFrame(columns)


PREDICTIONS = table([True, False, True, False], [0.95, 0.2, 0.4, 0.55])
"""Most certain first: 0.95 right, 0.2 right, 0.4 wrong, 0.55 wrong."""


def detector(**values):
    point = OperatingPoint(
        rule="fpr_1", threshold=0.5, false_positive_rate=0.0, true_positive_rate=0.7, reals=20, fakes=30
    )
    about = {"name": "n", "version": "0", "model": "m", "backbone_weights": "w", "backbone_checksum": "c"}
    return DetectorRecord(
        **about,
        extraction=ExtractionSettings(),
        weights_sha256="s",
        operating_points=(point,),
        operating_point="fpr_1",
        **values,
    )


def test_the_most_certain_videos_are_decided_first():
    curve = risk_coverage(PREDICTIONS, threshold=0.5, resamples=50)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert curve.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert np.all(curve.low <= curve.high)


def test_equally_certain_videos_are_decided_together():
    curve = risk_coverage(table([True, False, True], [0.8, 0.2, 0.2]), threshold=0.5, resamples=0)
    assert (curve.coverage.tolist(), curve.low) == ([1.0], None)
    assert curve.risk == pytest.approx([1 / 3])


def test_rates_of_an_operating_point_are_compared_with_those_where_it_was_chosen():
    (row,) = measure_operating_points(PREDICTIONS, detector(), resamples=0)
    assert (row["used"], row["promised"]) == ("yes", "0% of 20 REAL, 70% of 30 FAKE")
    assert (row["false_positive_rate"]["value"], row["true_positive_rate"]["value"]) == (0.5, 0.5)
    assert "1 in 20" in few_clips_warning(detector())
