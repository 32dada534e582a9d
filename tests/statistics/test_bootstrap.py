"""Bootstrap intervals agree with a cluster bootstrap that is written here anew, draw by draw."""

import numpy as np
import pytest

from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores
from dfutils.statistics.bootstrap import bootstrap_over_groups, percentile_interval

RESAMPLES = 800


def clustered(seed, *, groups, luck):
    """Videos of groups of 1 to 5, whose scores share their group's luck; every other group is of one label only."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    is_fake = np.where(group % 2, group % 4 == 1, rng.random(len(group)) < 0.5)
    logits = 1.5 * (is_fake - 0.5) + luck * rng.normal(size=groups)[group] + rng.normal(size=len(group))
    return group, is_fake, 1 / (1 + np.exp(-logits))


def resampled_rows(group, seed):
    """Row numbers of each resample: all rows of as many groups as there are, drawn with replacement."""
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
    ours, _ = estimate_metrics(
        Scores(is_fake=is_fake, fake_probability=scores, groups=group), threshold=0.5, resamples=RESAMPLES, seed=seed
    )
    drawn = [
        [measure(is_fake[rows], scores[rows]) for measure in MEASURES.values()]
        for rows in resampled_rows(group, seed + 100)
    ]
    lows, highs = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    for (name, measure), low, high in zip(MEASURES.items(), lows, highs, strict=True):
        assert ours[name]["value"] == pytest.approx(measure(is_fake, scores), abs=1e-6)
        # Ends of two bootstraps of 800 differ by about a tenth of the width; rows for groups would differ by far more.
        assert ours[name]["low"] == pytest.approx(low, abs=0.15 * (high - low))
        assert ours[name]["high"] == pytest.approx(high, abs=0.15 * (high - low))


def test_groups_widen_an_interval_that_single_rows_would_make_too_narrow():
    group, _, scores = clustered(4, groups=40, luck=3.0)

    def mean_score(weights):
        return weights @ scores / weights.sum(axis=1)

    grouped, single = (
        np.ptp(percentile_interval(bootstrap_over_groups(key, mean_score, resamples=RESAMPLES)))
        for key in (group, np.arange(len(group)))
    )
    assert grouped > 1.3 * single
