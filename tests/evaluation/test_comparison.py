"""Comparisons of two detectors agree with DeLong's equations and with scikit-learn on the drawn rows."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from dfutils.errors import ReportError
from dfutils.evaluation.metrics import compare_predictions, estimate_rates
from dfutils.evaluation.predictions import Scores
from dfutils.statistics.bootstrap import bootstrap_over_groups
from dfutils.statistics.delong import delong_test


def table(is_fake, scores, groups=None):
    count = len(is_fake)
    return pd.DataFrame(
        {
            "video": [f"{index}.mp4" for index in range(count)],
            "dataset": "made-up",
            "group": [f"g{index}" for index in range(count)] if groups is None else groups,
            "is_fake": is_fake,
            "fake_probability": scores,
        }
    )


@st.composite
def two_scores(draw):
    labels = draw(st.lists(st.booleans(), min_size=4, max_size=24).filter(lambda v: 2 <= sum(v) <= len(v) - 2))
    numbers = st.lists(st.integers(0, 8), min_size=len(labels), max_size=len(labels))
    return np.array(labels), np.array(draw(numbers)) / 8, np.array(draw(numbers)) / 8


def delong_by_the_paper(is_fake, first, second):
    """Equations 2 to 6 of DeLong et al. (1988) with plain loops: the difference and its variance."""

    def kernel(fake, real):
        return 1.0 if fake > real else 0.5 if fake == real else 0.0

    def components(scores):
        fakes, reals = scores[is_fake], scores[~is_fake]
        tens = [sum(kernel(fake, real) for real in reals) / len(reals) for fake in fakes]
        ones = [sum(kernel(fake, real) for fake in fakes) / len(fakes) for real in reals]
        return tens, ones, sum(tens) / len(tens)

    def covariance(left, right, left_mean, right_mean):
        pairs = zip(left, right, strict=True)
        return sum((a - left_mean) * (b - right_mean) for a, b in pairs) / (len(left) - 1)

    parts = [components(first), components(second)]
    matrix = [
        [
            sum(covariance(one[k], two[k], one[2], two[2]) / len(one[k]) for k in (0, 1))
            for two in parts
        ]
        for one in parts
    ]  # fmt: skip
    return parts[0][2] - parts[1][2], matrix[0][0] + matrix[1][1] - 2 * matrix[0][1]


@settings(max_examples=80, deadline=None)
@given(two_scores())
def test_delong_agrees_with_the_paper_and_its_aucs_with_scikit_learn(scores):
    is_fake, first, second = scores
    test = delong_test(is_fake, first, second)
    difference, variance = delong_by_the_paper(is_fake, first, second)
    assert test.auc_first == pytest.approx(sk.roc_auc_score(is_fake, first))
    assert test.auc_second == pytest.approx(sk.roc_auc_score(is_fake, second))
    assert test.difference == pytest.approx(difference, abs=1e-12)
    assert test.standard_error**2 == pytest.approx(max(0.0, variance), abs=1e-12)
    if test.standard_error > 1e-6:
        z = abs(difference) / math.sqrt(variance)
        assert test.p_value == pytest.approx(2 * (1 - 0.5 * (1 + math.erf(z / math.sqrt(2)))), abs=1e-9)


def test_delong_is_calibrated_where_both_are_equally_good():
    """Of 400 comparisons of equally good detectors about 5 % have p < 0.05."""
    rng = np.random.default_rng(0)
    is_fake = np.arange(120) % 2 == 0
    small = 0
    for _ in range(400):
        truth = is_fake + rng.normal(0, 1, 120)
        small += delong_test(is_fake, truth + rng.normal(0, 1, 120), truth + rng.normal(0, 1, 120)).p_value < 0.05
    assert 0.02 <= small / 400 <= 0.085


def test_the_same_scores_have_no_difference_and_no_p_value():
    test = delong_test([True, True, False, False], [0.9, 0.2, 0.3, 0.1], [0.9, 0.2, 0.3, 0.1])
    assert (test.difference, test.low, test.high) == (0, 0, 0)
    assert math.isnan(test.p_value)


@pytest.mark.parametrize(
    ("is_fake", "scores"),
    [([True, True, False], [0.1, 0.2, 0.3]), ([True, True, False, False], [0.1, math.nan, 0.3, 0.2])],
    ids=["one REAL", "NaN"],
)
def test_delong_refuses_what_it_cannot_compare(is_fake, scores):
    with pytest.raises(ReportError, match="DeLong"):
        delong_test(is_fake, scores, scores)


@settings(max_examples=10, deadline=None)
@given(two_scores(), st.integers(0, 1000))
def test_the_paired_bootstrap_scores_both_on_the_rows_it_drew(scores, seed):
    is_fake, first, second = scores
    groups = np.array([f"g{index % 5}" for index in range(len(is_fake))])
    drawn_rows = []

    def remember(weights):
        drawn_rows.extend(np.repeat(np.arange(len(is_fake)), row.astype(int)) for row in weights)
        return np.zeros(len(weights))

    bootstrap_over_groups(groups, remember, resamples=30, seed=seed)
    both = [rows for rows in drawn_rows if len(set(is_fake[rows])) == 2]
    differences = [sk.roc_auc_score(is_fake[r], first[r]) - sk.roc_auc_score(is_fake[r], second[r]) for r in both]
    document = compare_predictions(
        table(is_fake, first, groups), table(is_fake, second, groups), thresholds=(0.5, 0.5), resamples=30, seed=seed
    )
    if document["auc"]["low"] is not None:
        assert [document["auc"]["low"], document["auc"]["high"]] == pytest.approx(
            np.percentile(differences, [2.5, 97.5]).tolist(), abs=2e-6
        )


def test_only_videos_that_both_scored_are_compared():
    is_fake = [True, False, True, False]
    first, second = table(is_fake, [0.9, 0.1, 0.8, 0.2]), table(is_fake, [0.9, 0.1, math.nan, 0.2]).iloc[1:]
    assert compare_predictions(first, second, thresholds=(0.5, 0.5), resamples=0)["videos"] == 2


def test_contradicting_labels_and_nothing_in_common_are_refused():
    first = table([True, False], [0.9, 0.1])
    with pytest.raises(ReportError, match=r"0\.mp4: is REAL in one table"):
        compare_predictions(first, table([False, False], [0.9, 0.1]), thresholds=(0.5, 0.5))
    with pytest.raises(ReportError, match="no video was scored by both"):
        compare_predictions(first, first.assign(video=["x", "y"]), thresholds=(0.5, 0.5))


def test_thresholds_count_for_their_own_detector():
    is_fake, scores = [True, True, False, False], [0.6, 0.7, 0.4, 0.45]
    rows = table(is_fake, scores)
    document = compare_predictions(rows, rows, thresholds=(0.5, 0.65), resamples=0)
    assert document["auc"]["value"] == 0
    assert document["accuracy"]["value"] == pytest.approx(0.25)


@settings(max_examples=40, deadline=None)
@given(two_scores(), st.floats(0, 1))
def test_rates_of_an_operating_point_are_those_of_scikit_learn(scores, threshold):
    is_fake, first, _ = scores
    groups = np.arange(len(is_fake)).astype(str)
    rates = estimate_rates(Scores(is_fake, first, groups), threshold=threshold, resamples=0)
    called = first >= threshold
    assert rates["true_positive_rate"]["value"] == pytest.approx(sk.recall_score(is_fake, called), abs=1e-6)
    assert rates["false_positive_rate"]["value"] == pytest.approx(1 - sk.recall_score(~is_fake, ~called), abs=1e-6)
    assert rates["balanced_accuracy"]["value"] == pytest.approx(sk.balanced_accuracy_score(is_fake, called), abs=1e-6)
