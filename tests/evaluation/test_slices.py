"""Scores by manipulation, group and level, worked out by hand."""

import pandas as pd
import pytest

from dfutils.evaluation.slices import by_group, by_level, by_manipulation


@pytest.fixture
def predictions():
    rows = [
        # video, dataset, group, is_fake, score
        ("r0", "ff_c23_original", "g0", False, 0.1),
        ("r1", "ff_c23_original", "g1", False, 0.6),
        ("d0", "ff_c23_deepfakes", "g0", True, 0.9),
        ("d1", "ff_c23_deepfakes", "g1", True, 0.8),
        ("n0", "ff_c23_neuraltextures", "g0", True, 0.3),
        ("n1", "ff_c23_neuraltextures", "g1", True, 0.05),
        ("c0", "celebdf", "g2", True, 0.7),
        ("c1", "celebdf", "g3", False, float("nan")),
    ]
    return pd.DataFrame(rows, columns=["video", "dataset", "group", "is_fake", "fake_probability"])


def test_each_manipulation_is_measured_against_the_reals_of_its_family(predictions):
    table = {row["manipulation"]: row for row in by_manipulation(predictions, threshold=0.5, resamples=50)}
    assert set(table) == {"ff_c23_deepfakes", "ff_c23_neuraltextures", "celebdf"}
    assert table["ff_c23_deepfakes"]["auc"]["value"] == 1
    assert table["ff_c23_neuraltextures"]["auc"]["value"] == 0.25  # of four pairs only (0.3, 0.1) is right
    assert table["ff_c23_neuraltextures"]["true_positive_rate"]["value"] == 0
    assert table["ff_c23_neuraltextures"]["against"] == "2 REAL of ff_c23"


def test_a_manipulation_without_reals_has_no_auc_and_no_wrong_number(predictions):
    (row,) = [one for one in by_manipulation(predictions, threshold=0.5) if one["manipulation"] == "celebdf"]
    assert row["auc"] == {"value": None, "low": None, "high": None}
    assert row["true_positive_rate"]["value"] == 1
    assert row["true_positive_rate"]["low"] is None  # a single group cannot be resampled


def test_groups_are_listed_with_the_worst_first(predictions):
    table = by_group(predictions, threshold=0.5)
    assert [(row["group"], row["wrong"]) for row in table] == [("g1", 2), ("g0", 1), ("g2", 0)]
    assert table[0]["mean_fake"] == pytest.approx(0.425)
    assert table[2]["mean_real"] is None


def test_levels_keep_groups_whole(predictions):
    scored = predictions.dropna()
    doubled = pd.concat([scored, scored])  # two equal tracks per video: values and intervals stay
    once, twice = by_level({"video": scored, "track": doubled}, threshold=0.5, resamples=200)
    assert (once["rows"], twice["rows"]) == (7, 14)
    assert once["auc"] == twice["auc"]
