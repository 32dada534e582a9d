"""Bootstrap intervals agree with an independent cluster bootstrap, written draw by draw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores
from dfutils.statistics.bootstrap import (
    DIFFERENCE,
    SHARE,
    auc_with_interval,
    bootstrap_estimates,
    bootstrap_over_groups,
    percentile_interval,
)
from dfutils.statistics.estimates import class_weights_by_score, weighted_auc

RESAMPLES = 800


def clustered(seed, *, groups, luck):
    """Groups of 1 to 5 videos whose scores share a random offset; every other group has one label only."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    is_fake = np.where(group % 2, group % 4 == 1, rng.random(len(group)) < 0.5)
    logits = 1.5 * (is_fake - 0.5) + luck * rng.normal(size=groups)[group] + rng.normal(size=len(group))
    return group, is_fake, 1 / (1 + np.exp(-logits))


def resampled_rows(group, seed):
    """Row numbers of each resample: all rows of groups drawn with replacement."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(group == number) for number in np.unique(group)]
    for _ in range(RESAMPLES):
        yield np.concatenate([members[drawn] for drawn in rng.integers(len(members), size=len(members))])


def auc(is_fake, scores):
    fakes, reals = scores[is_fake][:, None], scores[~is_fake]
    return np.mean((fakes > reals) + (fakes == reals) / 2) if fakes.size and reals.size else np.nan


def accuracy(is_fake, scores):
    return np.mean((scores >= 0.5) == is_fake)


def brier(is_fake, scores):
    return np.mean((scores - is_fake) ** 2)


MEASURES = {"auc": auc, "accuracy": accuracy, "brier": brier}
CASES = [(1, 15, 0.0), (2, 15, 2.0), (3, 40, 1.0), (4, 40, 3.0)]


@pytest.mark.parametrize(("seed", "groups", "luck"), CASES)
def test_intervals_are_those_of_an_independent_cluster_bootstrap(seed, groups, luck):
    group, is_fake, scores = clustered(seed, groups=groups, luck=luck)
    ours = estimate_metrics(
        Scores(is_fake=is_fake, fake_probability=scores, groups=group), threshold=0.5, resamples=RESAMPLES, seed=seed
    )
    drawn = [
        [measure(is_fake[rows], scores[rows]) for measure in MEASURES.values()]
        for rows in resampled_rows(group, seed + 100)
    ]
    lows, highs = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    for (name, measure), low, high in zip(MEASURES.items(), lows, highs, strict=True):
        assert ours[name]["value"] == pytest.approx(measure(is_fake, scores), abs=1e-6)
        # Ends of two bootstraps of 800 differ by about a tenth of the width; drawing rows would differ by far more.
        assert ours[name]["low"] == pytest.approx(low, abs=0.15 * (high - low))
        assert ours[name]["high"] == pytest.approx(high, abs=0.15 * (high - low))
    assert auc_with_interval(is_fake, 10 * scores, group, resamples=RESAMPLES, seed=seed) == pytest.approx(
        tuple(ours["auc"].values()), abs=1e-6
    )


def test_groups_widen_an_interval_that_single_rows_would_make_too_narrow():
    group, _, scores = clustered(4, groups=40, luck=3.0)

    def mean_score(weights):
        return weights @ scores / weights.sum(axis=1)

    grouped, single = (
        np.ptp(percentile_interval(bootstrap_over_groups(key, mean_score, resamples=RESAMPLES)))
        for key in (group, np.arange(len(group)))
    )
    assert grouped > 1.3 * single


def estimate_of(values, groups, within, *, resamples=50, subsets=()):
    def mean(weights):
        return weights @ values / weights.sum(axis=1)

    found = bootstrap_estimates(groups, mean, {"it": subsets}, ranges={"it": within}, resamples=resamples)["it"]
    return tuple(found.values())


@pytest.mark.parametrize(("groups", "width"), [(5, 0.5218), (17, 0.1951), (100, 0.0362)])
@pytest.mark.parametrize("videos", [1, 4])
def test_a_share_of_0_or_1_has_the_exact_interval_over_groups_however_many_videos_they_have(groups, width, videos):
    names = np.repeat(np.arange(groups), videos)
    assert estimate_of(np.zeros(len(names)), names, SHARE) == pytest.approx((0, 0, width), abs=5e-5)
    assert estimate_of(np.ones(len(names)), names, SHARE) == pytest.approx((1, 1 - width, 1), abs=5e-5)
    exact = binomtest(0, groups).proportion_ci(0.95, method="exact")
    assert estimate_of(np.zeros(len(names)), names, SHARE)[1:] == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_a_difference_that_is_0_in_every_group_may_be_either_way_in_others():
    assert estimate_of(np.zeros(5), np.arange(5), DIFFERENCE) == pytest.approx((0, -0.5218, 0.5218), abs=5e-5)
    assert estimate_of(np.ones(5), np.arange(5), DIFFERENCE) == pytest.approx((1, 1 - 2 * 0.5218, 1), abs=1e-4)


def test_the_subset_with_the_fewest_groups_gives_the_width():
    few = np.arange(20) < 5
    found = estimate_of(np.ones(20), np.arange(20), SHARE, subsets=(few, ~few))
    assert found == pytest.approx((1, 1 - 0.5218, 1), abs=5e-5)


def test_one_group_and_no_resamples_still_give_no_interval():
    assert estimate_of(np.zeros(3), ["g"] * 3, SHARE) == (0, None, None)
    assert estimate_of(np.zeros(3), list("abc"), SHARE, resamples=0) == (0, None, None)


def test_a_share_that_varies_between_groups_keeps_its_bootstrap_interval():
    values, groups = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0]), np.arange(6)
    drawn = bootstrap_over_groups(groups, lambda weights: weights @ values / weights.sum(axis=1), resamples=50)
    assert estimate_of(values, groups, SHARE)[1:] == pytest.approx(percentile_interval(drawn), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=40))
def test_the_weighted_auc_is_that_of_scikit_learn(cases):
    is_fake, scores, weights = (np.array(column) for column in zip(*cases, strict=True))
    (value,) = weighted_auc(*class_weights_by_score(is_fake, scores.astype(float), weights[None].astype(float)))
    if weights[is_fake].sum() == 0 or weights[~is_fake].sum() == 0:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(roc_auc_score(is_fake, scores, sample_weight=weights))
