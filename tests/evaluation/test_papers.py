"""Equal error rate, average precision and true positive rates agree with scikit-learn, per video and per frame."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from dfutils.evaluation.papers import PAPER_METRICS, estimate_paper_metrics
from dfutils.report.slices import papers_section


def rows_of(is_fake, scores, groups=None):
    groups = [f"g{index}" for index in range(len(is_fake))] if groups is None else groups
    return pd.DataFrame({"group": groups, "is_fake": is_fake, "fake_probability": scores})


@st.composite
def labelled_scores(draw):
    """Both classes with up to 150 rows, and coarse scores so that ties are common."""
    fakes, reals = draw(st.integers(1, 40)), draw(st.integers(1, 110))
    step = draw(st.sampled_from([1, 4, 20, 1000]))
    scores = draw(st.lists(st.integers(0, step), min_size=fakes + reals, max_size=fakes + reals))
    return np.arange(fakes + reals) < fakes, np.array(scores) / step


def sklearn_metrics(is_fake, scores):
    false_positive_rate, true_positive_rate, _ = sk.roc_curve(is_fake, scores, drop_intermediate=False)
    # The rate at which a fine walk along the straight pieces of the curve meets the falling diagonal.
    crossing = np.searchsorted(false_positive_rate + true_positive_rate, 1)
    piece = slice(max(crossing - 1, 0), crossing + 1)
    share = np.linspace(0, 1, 200_001)
    walked, found = (
        curve[piece][0] + share * (curve[piece][-1] - curve[piece][0])
        for curve in (false_positive_rate, true_positive_rate)
    )
    return {
        "auc": sk.roc_auc_score(is_fake, scores),
        "eer": walked[np.argmin(np.abs(walked - (1 - found)))],
        "average_precision": sk.average_precision_score(is_fake, scores),
        "tpr_at_fpr_1": true_positive_rate[false_positive_rate <= 0.01].max(),
        "tpr_at_fpr_5": true_positive_rate[false_positive_rate <= 0.05].max(),
    }


@settings(max_examples=60, deadline=None)
@given(labelled_scores())
def test_numbers_of_papers_agree_with_scikit_learn(labelled):
    found = estimate_paper_metrics(rows_of(*labelled), resamples=0)
    assert {name: one["value"] for name, one in found.items()} == pytest.approx(sklearn_metrics(*labelled), abs=1e-5)


@pytest.mark.parametrize(
    ("fakes", "reals", "eer", "tpr_at_fpr_5"),
    [
        ([0.9, 0.6, 0.4, 0.3], [0.7, 0.5, 0.2, 0.1], 0.5, 0.25),  # at 0.5 two of four are wrong on both sides
        ([0.9, 0.4], [*[0.5] * 1, *[0.1] * 19], 0.05, 1),  # one of 20 is just allowed
    ],
    ids=["overlapping", "on the limit"],
)
def test_cases_worked_out_by_hand(fakes, reals, eer, tpr_at_fpr_5):
    rows = rows_of([True] * len(fakes) + [False] * len(reals), [*fakes, *reals])
    found = estimate_paper_metrics(rows, resamples=0)
    assert (found["eer"]["value"], found["tpr_at_fpr_5"]["value"]) == (eer, tpr_at_fpr_5)


@pytest.mark.parametrize("is_fake", [True, False])
def test_one_class_has_no_numbers(is_fake):
    found = estimate_paper_metrics(rows_of([is_fake] * 3, [0.1, 0.5, 0.9]), resamples=20)
    assert list(found) == list(PAPER_METRICS)
    assert all(one == {"value": None, "low": None, "high": None} for one in found.values())


def test_many_frames_of_a_video_do_not_narrow_the_intervals():
    rng = np.random.default_rng(0)
    is_fake = np.tile([True, False], 20)
    scores, groups = 0.3 * is_fake + 0.7 * rng.random(40), np.arange(40)
    videos = estimate_paper_metrics(rows_of(is_fake, scores, groups), resamples=200)
    repeated = [np.repeat(column, 10) for column in (is_fake, scores, groups)]
    frames = estimate_paper_metrics(rows_of(*repeated), resamples=200)
    assert frames == videos
    assert videos["eer"]["low"] < videos["eer"]["value"] < videos["eer"]["high"]


def test_a_model_without_scores_of_frames_is_said_to_have_none():
    videos = rows_of([True, False] * 3, [0.9, 0.1, 0.8, 0.2, 0.7, 0.3])
    with_frames = papers_section(videos, pd.concat([videos] * 4), resamples=20)
    without = papers_section(videos, None, resamples=20)
    assert (with_frames.document["frame"]["auc"]["value"], without.document["frame"]) == (1, None)
    assert without.document["video"] == with_frames.document["video"]
    assert "no numbers per frame" in " ".join(without.text)
    assert "6 scores" in " ".join(with_frames.text)
    assert "24, one for each face crop" in " ".join(with_frames.text)
    (table,) = without.tables
    assert [table.cells(row)[2].text for row in table.rows] == ["–"] * 5
    assert all(row["meaning"].endswith(".") for row in table.rows)
