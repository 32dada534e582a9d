import numpy as np
import pytest

from dfutils.runs.thresholds import calibrated, choose_threshold, fit_temperature


def test_temperature_finds_back_how_overconfident_the_scores_are():
    rng = np.random.default_rng(0)
    honest = rng.uniform(0.02, 0.98, 4000)
    is_fake = rng.random(4000) < honest
    overconfident = calibrated(honest, 1 / 3)
    assert fit_temperature(is_fake, overconfident) == pytest.approx(3, rel=0.1)


def test_a_few_separable_clips_do_not_ask_for_boundless_confidence():
    is_fake = np.array([True] * 4 + [False] * 4)
    scores = calibrated(np.where(is_fake, 0.6, 0.4), 1.0)
    probability = calibrated(scores, fit_temperature(is_fake, scores))
    # Platt's target for a class of four is 5/6.
    assert probability == pytest.approx(np.where(is_fake, 5 / 6, 1 / 6), abs=0.02)


def test_calibration_keeps_the_order_and_the_middle():
    raw = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    scores = calibrated(raw, 2.0)
    assert np.all(np.diff(scores) > 0)
    assert scores[2] == 0.5
    assert scores[3] < 0.9


@pytest.mark.parametrize(
    ("is_fake", "scores", "low", "high"),
    [
        pytest.param([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], 0.2, 0.6, id="separable: in the middle of the gap"),
        pytest.param([0, 0, 0, 1], [0.1, 0.2, 0.7, 0.6], 0.2, 0.6, id="one REAL above the only FAKE"),
        pytest.param([0, 1, 1, 1], [0.5, 0.2, 0.7, 0.8], 0.5, 0.7, id="one FAKE below the only REAL"),
    ],
)
def test_the_operating_point_has_the_best_balanced_accuracy(is_fake, scores, low, high):
    threshold = choose_threshold(np.array(is_fake, bool), np.array(scores))
    assert low < threshold < high
    assert threshold == pytest.approx((low + high) / 2)
