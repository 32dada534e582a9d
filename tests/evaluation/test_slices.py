"""Scores by manipulation, group and level, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from dfutils.errors import ReportError
from dfutils.evaluation.slices import (
    NOT_STATED,
    SLICE,
    by_column,
    by_group,
    by_level,
    by_manipulation,
    match_files,
    with_columns,
)


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


def people(count, *, wrong, camera):
    """REAL and FAKE videos of people of one camera; the first ``wrong`` REAL ones are called FAKE."""
    rows = []
    for number in range(count):
        group = f"{camera}{number}"
        called = "FAKE" if number < wrong else "REAL"
        score = 0.9 if number < wrong else 0.1 + number / 1000
        rows.append((f"{group}_real.mp4", group, False, score, called, camera))
        rows.append((f"{group}_fake.mp4", group, True, 0.8 + number / 1000, "FAKE", camera))
    table = pd.DataFrame(rows, columns=["video", "group", "is_fake", "fake_probability", "label", f"{SLICE}camera"])
    return table.assign(dataset="d")


def test_a_camera_on_which_the_detector_fails_is_told_and_others_are_not():
    table = pd.concat([people(30, wrong=20, camera="phone"), people(30, wrong=1, camera="studio")])
    rows, said = by_column(table, f"{SLICE}camera", threshold=0.5, resamples=400)
    by_name = {row["value"]: row for row in rows}
    assert by_name["phone"]["real_called_fake"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert (by_name["studio"]["videos"], by_name["studio"]["groups"]) == (60, 30)
    assert by_name["studio"]["auc"]["value"] == pytest.approx(29 / 30, abs=1e-6)
    # 20 of 30 against 1 of 30.
    beginnings = [one.partition(" (")[0] for one in said]
    assert "camera phone: REAL videos are called FAKE more often than others: +0.63" in beginnings
    assert "camera studio: the AUC is higher than that of others: +0.63" in beginnings


def test_equal_slices_and_slices_of_few_groups_are_not_said_to_differ():
    equal = pd.concat([people(30, wrong=3, camera="a"), people(30, wrong=3, camera="b")])
    assert by_column(equal, f"{SLICE}camera", threshold=0.5, resamples=200)[1] == []
    few = pd.concat([people(4, wrong=4, camera="a"), people(30, wrong=0, camera="b")])
    assert by_column(few, f"{SLICE}camera", threshold=0.5, resamples=200)[1] == []


@pytest.mark.parametrize(("count", "is_told"), [(6, False), (60, True)])
def test_no_false_positive_in_a_slice_of_few_people_is_not_said_to_be_fewer_than_others_have(count, is_told):
    table = pd.concat([people(count, wrong=0, camera="phone"), people(40, wrong=12, camera="studio")])
    said = by_column(table, f"{SLICE}camera", threshold=0.5, resamples=400)[1]
    assert any(one.startswith("camera phone: REAL videos are called FAKE less") for one in said) == is_told
    assert any(one.startswith("camera studio: REAL videos are called FAKE more") for one in said) == is_told


def test_a_slice_without_scores_or_of_one_class_has_no_number_instead_of_a_wrong_one():
    table = people(6, wrong=0, camera="a").assign(**{f"{SLICE}camera": ["x"] * 10 + ["y"] * 2})
    table.loc[table[f"{SLICE}camera"] == "y", ["fake_probability", "label"]] = [np.nan, "UNDECIDED"]
    rows, _ = by_column(table, f"{SLICE}camera", threshold=0.5, resamples=50)
    assert rows[1]["auc"]["value"] is None
    assert (rows[1]["answered"]["value"], rows[1]["answer_accuracy"]["value"]) == (0, None)


@pytest.mark.parametrize("prefix", ["", "videos/"])
def test_values_are_found_by_the_name_of_the_file_wherever_the_label_file_is(prefix):
    table = people(3, wrong=0, camera="a")
    values = {f"{prefix}{video}": {"Age": str(number)} for number, video in enumerate(table["video"][:4])}
    values[f"{prefix}{table['video'][3]}"] = {"Age": ""}
    assert list(with_columns(table, values)[f"{SLICE}Age"]) == ["0", "1", "2", *[NOT_STATED] * 3]
    deeper = table.assign(video="in/" + prefix + table["video"])
    assert list(with_columns(deeper, values)[f"{SLICE}Age"]) == ["0", "1", "2", *[NOT_STATED] * 3]


def test_a_label_file_of_other_videos_is_refused():
    with pytest.raises(ReportError, match=r"none of the 6 videos is in the label file"):
        with_columns(people(3, wrong=0, camera="a"), {"other.mp4": {"age": "9"}})


@pytest.mark.parametrize(
    ("video", "file"),
    [
        ("a/1.mp4", "a/1.mp4"),  # the same
        ("/data/b/2.mp4", "b/2.mp4"),  # the label file's folder is below
        ("2.mp4", "b/2.mp4"),  # or above
        ("C:\\data\\b\\2.mp4", "b/2.mp4"),  # Windows
        ("/data/cafe\u0301.mp4", "caf\u00e9.mp4"),  # macOS takes accents apart
        ("https://host/c/3.mp4", "https://host/c/3.mp4"),
        ("/x/d/e/5.mp4", "d/e/5.mp4"),  # of two ends, the longer one
        ("5.mp4", "5.mp4"),
        ("4.mp4", None),  # it could be one of two
        ("b2.mp4", None),  # an end of the name is no end of the path
    ],
)
def test_videos_are_found_in_a_label_file(video, file):
    files = ["a/1.mp4", "b/2.mp4", "caf\u00e9.mp4", "https://host/c/3.mp4", "d/e/5.mp4", "5.mp4", "f/4.mp4", "g/4.mp4"]
    assert match_files([video], files) == {video: file}
