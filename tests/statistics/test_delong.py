"""DeLong's test agrees with the equations of the paper, and its AUCs with scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from dfutils.errors import ReportError
from dfutils.statistics.delong import delong_test


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
