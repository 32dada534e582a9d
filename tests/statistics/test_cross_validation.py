"""Scores of several folds: only clips of one fold are compared, and groups are drawn whole."""

import numpy as np
import pytest

from dfutils.statistics.cross_validation import FoldScores, measure, measure_difference
from dfutils.statistics.estimates import auc_score

GROUPS = np.repeat([f"g{k}" for k in range(20)], 4)
IS_FAKE = np.tile([True, False], 40)


def scores_of(values):
    probability = np.asarray(values, float)[None]
    return FoldScores(probability, probability >= 0.5, np.zeros(probability.shape, int))


def test_a_constant_of_each_fold_is_at_chance_whatever_the_folds_hold():
    fold = np.arange(80)[None] // 10
    share = np.array([IS_FAKE[fold[0] != number].mean() for number in range(8)])[fold]
    skewed = np.arange(80) % 3 == 0
    scores = FoldScores(share + 0.01 * fold, share > 1, fold)
    assert measure(scores, skewed, GROUPS)["auc"]["value"] == 0.5


def test_auc_compares_clips_of_one_fold_only():
    fold = np.array([[0, 0, 1, 1]])
    is_fake = np.array([True, False, True, False])
    scores = FoldScores(np.array([[0.9, 0.8, 0.2, 0.1]]), np.zeros((1, 4), bool), fold)
    assert measure(scores, is_fake, ["a", "a", "b", "b"])["auc"]["value"] == 1.0


def test_measures_agree_with_plain_ones():
    rng = np.random.default_rng(0)
    values = np.clip(rng.normal(0.5 + 0.1 * IS_FAKE, 0.2), 0.01, 0.99)
    row = measure(scores_of(values), IS_FAKE, GROUPS)
    assert row["auc"]["value"] == pytest.approx(auc_score(IS_FAKE, values), abs=1e-4)
    called = values >= 0.5
    balanced = (called[IS_FAKE].mean() + (~called[~IS_FAKE]).mean()) / 2
    assert row["balanced_accuracy"]["value"] == pytest.approx(balanced, abs=1e-4)
    truth = np.where(IS_FAKE, values, 1 - values)
    assert row["log_loss"]["value"] == pytest.approx(-np.log(truth).mean(), abs=1e-4)


def test_a_faultless_balanced_accuracy_and_a_difference_of_none_have_the_exact_interval_over_groups():
    is_fake, groups = np.array([True, False] * 5), list("aabbccddee")
    faultless = scores_of(np.where(is_fake, 0.9, 0.1))
    found = measure(faultless, is_fake, groups, resamples=50)["balanced_accuracy"]
    assert found == {"value": 1, "low": 0.4782, "high": 1}
    difference = measure_difference(faultless, faultless, is_fake, groups, resamples=50)["balanced_accuracy"]
    assert difference == {"value": 0, "low": -0.5218, "high": 0.5218}


def test_a_paired_difference_is_tighter_than_two_intervals():
    rng = np.random.default_rng(1)
    values = np.clip(rng.normal(0.5 + 0.1 * IS_FAKE, 0.2), 0.01, 0.99)
    better = np.clip(values + 0.05 * IS_FAKE, 0.01, 0.99)
    difference = measure_difference(scores_of(better), scores_of(values), IS_FAKE, GROUPS)["auc"]
    alone = measure(scores_of(values), IS_FAKE, GROUPS)["auc"]
    assert difference["low"] > 0
    assert difference["high"] - difference["low"] < 0.5 * (alone["high"] - alone["low"])


@pytest.mark.parametrize(
    ("groups", "without"),
    [
        pytest.param(["a", "a", "a", "a"], {"auc", "balanced_accuracy", "log_loss"}, id="one group"),
        pytest.param(["a", "b", "a", "c"], {"auc", "balanced_accuracy"}, id="all fakes in one group"),
        pytest.param(["a", "a", "b", "b"], set(), id="both labels in two groups"),
    ],
)
def test_too_few_groups_give_a_value_without_an_interval(groups, without):
    is_fake = np.array([True, False, True, False])
    measured = measure(scores_of([0.9, 0.1, 0.8, 0.6]), is_fake, groups, resamples=50)
    assert all(estimate["value"] is not None for estimate in measured.values())
    assert {name for name, estimate in measured.items() if estimate["low"] is None} == without
