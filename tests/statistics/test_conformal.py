"""The bound holds: by simulation, for groups that are alike inside and few, as people in real data are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfutils.statistics.conformal import fewest_groups, score_seldom_exceeded

ROUNDS = 1500


def people(rng, count, *, spread):
    """Return scores and groups: a level for each person, and one to seven videos around it."""
    sizes = rng.integers(1, 8, count)
    groups = np.repeat(np.arange(count), sizes)
    return rng.normal(scale=spread, size=count)[groups] + rng.normal(size=len(groups)), groups


@pytest.mark.parametrize(
    ("count", "max_rate", "spread"), [(20, 0.1, 1.0), (100, 0.03, 1.0), (100, 0.03, 0.0), (10, 0.03, 3.0)]
)
def test_videos_of_new_people_exceed_the_score_no_more_often_than_promised(count, max_rate, spread):
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(ROUNDS):
        found = score_seldom_exceeded(*people(rng, count, spread=spread), max_rate=max_rate)
        new = rng.normal(scale=spread) + rng.normal(size=20)
        shares.append(float((new > found.score).mean()))
    assert found.bound == max(max_rate, 1 / (count + 1))
    noise = float(np.std(shares)) / np.sqrt(ROUNDS)
    assert np.mean(shares) <= found.bound + 3 * noise
    # It is not kept by calling nothing FAKE: the share is of the order of the bound.
    assert np.mean(shares) >= found.bound / 4


@given(st.floats(0.001, 0.999), st.integers(1, 400))
def test_a_rate_is_kept_from_the_fewest_groups_on_and_not_with_one_less(max_rate, more):
    fewest = fewest_groups(max_rate)
    for count in {max(fewest, 1), fewest + more}:
        assert score_seldom_exceeded(np.arange(count), np.arange(count), max_rate=max_rate).bound == max_rate
    if fewest > 1:
        assert score_seldom_exceeded(np.arange(fewest - 1), np.arange(fewest - 1), max_rate=max_rate).bound > max_rate


@pytest.mark.parametrize(("max_rate", "fewest"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.03, 33), (0.01, 99), (0.001, 999)])
def test_a_rate_of_one_in_n_takes_one_group_less_than_n(max_rate, fewest):
    assert fewest_groups(max_rate) == fewest


def test_counting_videos_instead_of_people_breaks_the_promise():
    """Two people, one of whom has almost all videos: a quantile over videos would know nothing about a third one."""
    rng = np.random.default_rng(0)
    by_video, by_group = [], []
    for _ in range(ROUNDS):
        levels = rng.normal(scale=3, size=3)
        scores = np.r_[levels[0] + rng.normal(size=50), levels[1] + rng.normal(size=1)]
        groups = np.r_[np.zeros(50), np.ones(1)]
        new = levels[2] + rng.normal()
        by_video.append(new > score_seldom_exceeded(scores, np.arange(51), max_rate=0.1).score)
        by_group.append(new > score_seldom_exceeded(scores, groups, max_rate=0.1).score)
    assert np.mean(by_video) > 0.3
    assert np.mean(by_group) <= 1 / 3 + 0.04


@pytest.mark.parametrize("max_rate", [0, 1, -0.1])
def test_a_rate_that_is_no_share_is_refused(max_rate):
    with pytest.raises(ValueError, match="max_rate: must be between 0 and 1"):
        score_seldom_exceeded(np.array([0.5]), np.array(["a"]), max_rate=max_rate)


def test_without_scores_there_is_no_threshold():
    with pytest.raises(ValueError, match="at least one is needed"):
        score_seldom_exceeded(np.array([]), np.array([]), max_rate=0.1)


def test_equal_scores_are_on_one_side():
    found = score_seldom_exceeded(np.array([0.2, 0.7, 0.7, 0.7]), np.array(list("abcd")), max_rate=0.5)
    assert found.score == 0.7
