"""Metrics agree with scikit-learn, with plain Python, and with a table worked out by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from dfutils.errors import ReportError
from dfutils.evaluation.metrics import (
    ANSWER_METRICS,
    compare_predictions,
    compute_metrics,
    estimate_answers,
    estimate_rates,
)
from dfutils.evaluation.predictions import Scores
from dfutils.statistics.bootstrap import bootstrap_over_groups
from dfutils.statistics.estimates import METRIC_NAMES, auc_score, expected_calibration_error, reliability_table

TWO_CLASS = ("auc", "balanced_accuracy", "average_precision")


def table(is_fake, fake_probability, groups=None, **columns):
    count = len(is_fake)
    return pd.DataFrame(
        {
            "video": [f"{index}.mp4" for index in range(count)],
            "dataset": "made-up",
            "group": [f"g{index}" for index in range(count)] if groups is None else groups,
            "is_fake": is_fake,
            "fake_probability": fake_probability,
            **columns,
        }
    )


@st.composite
def labelled_scores(draw):
    """Both classes, and coarse scores so that ties, 0 and 1 are common."""
    labels = draw(st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda values: len(set(values)) == 2))
    step = draw(st.sampled_from([4, 20, 1000]))
    scores = draw(st.lists(st.integers(0, step), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(scores) / step


def sklearn_metrics(is_fake, scores, threshold):
    called = scores >= threshold
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return {
        "accuracy": sk.accuracy_score(is_fake, called),
        "balanced_accuracy": sk.balanced_accuracy_score(is_fake, called),
        "precision": sk.precision_score(is_fake, called, zero_division=np.nan),
        "recall": sk.recall_score(is_fake, called),
        "f1": sk.f1_score(is_fake, called),
        "auc": sk.roc_auc_score(is_fake, scores),
        "average_precision": sk.average_precision_score(is_fake, scores),
        "log_loss": sk.log_loss(is_fake, clipped),
        "brier": sk.brier_score_loss(is_fake, scores),
    }


def plain_calibration_error(is_fake, scores, bins):
    members = {}
    for label, score in zip(is_fake, scores, strict=True):
        members.setdefault(min(int(score * bins), bins - 1), []).append((score, label))
    error = 0.0
    for rows in members.values():
        mean = sum(score for score, _ in rows) / len(rows)
        share = sum(bool(label) for _, label in rows) / len(rows)
        error += len(rows) / len(scores) * abs(mean - share)
    return error


@settings(max_examples=50, deadline=None)
@given(labelled_scores(), st.floats(0, 1))
def test_metrics_and_rates_of_a_threshold_agree_with_scikit_learn(labelled, threshold):
    is_fake, scores = labelled
    document = compute_metrics(table(*labelled), threshold=threshold, resamples=0)
    wanted = sklearn_metrics(*labelled, threshold)
    for name, expected in wanted.items():
        value = document[name]["value"]
        assert (math.nan if value is None else value) == pytest.approx(expected, abs=2e-6, nan_ok=True), name
    rates = estimate_rates(Scores(is_fake, scores, np.arange(len(is_fake))), threshold=threshold, resamples=0)
    assert {name: rate["value"] for name, rate in rates.items()} == pytest.approx(
        {
            "true_positive_rate": wanted["recall"],
            "false_positive_rate": 1 - sk.recall_score(~is_fake, scores < threshold),
            "balanced_accuracy": wanted["balanced_accuracy"],
        },
        abs=1e-6,
    )


@settings(max_examples=60, deadline=None)
@given(labelled_scores(), st.sampled_from([1, 5, 10, 15]))
def test_calibration_error_agrees_with_a_slow_reference(labelled, bins):
    assert expected_calibration_error(*labelled, bins) == pytest.approx(plain_calibration_error(*labelled, bins))


def resampled_rows(is_fake, groups, *, resamples, seed):
    """Row numbers of each resample that holds both classes."""
    drawn = []

    def remember(weights):
        drawn.extend(np.repeat(np.arange(len(is_fake)), row.astype(int)) for row in weights)
        return np.zeros(len(weights))

    bootstrap_over_groups(groups, remember, resamples=resamples, seed=seed)
    return [rows for rows in drawn if len(set(is_fake[rows])) == 2]


def percentiles(values):
    return pytest.approx(np.percentile(values, [2.5, 97.5]).tolist(), abs=2e-6)


@settings(max_examples=12, deadline=None)
@given(labelled_scores(), st.integers(0, 2**31))
def test_intervals_and_paired_differences_are_those_of_the_drawn_rows(labelled, seed):
    is_fake, first = labelled
    second, groups = first[::-1], np.arange(len(is_fake)) % 3
    rows = resampled_rows(is_fake, groups, resamples=40, seed=seed)
    aucs, others = ([sk.roc_auc_score(is_fake[r], scores[r]) for r in rows] for scores in (first, second))
    one, two = (table(is_fake, scores, groups) for scores in (first, second))
    document = compute_metrics(one, threshold=0.5, resamples=40, seed=seed)
    assert document["one_class_resamples"] == 40 - len(rows)
    if document["auc"]["low"] is not None:
        assert [document["auc"]["low"], document["auc"]["high"]] == percentiles(aucs)
        difference = compare_predictions(one, two, thresholds=(0.5, 0.5), resamples=40, seed=seed)["auc"]
        assert [difference["low"], difference["high"]] == percentiles(np.subtract(aucs, others))


def test_a_table_worked_out_by_hand():
    document = compute_metrics(
        table([True, True, True, False, False], [0.9, 0.8, 0.2, 0.7, 0.1]), threshold=0.8, resamples=50
    )
    assert {name: document[name]["value"] for name in METRIC_NAMES} == pytest.approx(
        {
            "accuracy": 4 / 5,  # the fake at 0.2 is missed, and the one at the threshold is not
            "balanced_accuracy": (2 / 3 + 1) / 2,
            "precision": 1,
            "recall": 2 / 3,
            "f1": 4 / 5,
            "auc": 5 / 6,  # of six pairs only (0.2, 0.7) is the wrong way round
            "average_precision": (1 + 1 + 3 / 4) / 3,
            "log_loss": -(math.log(0.9) + math.log(0.8) + math.log(0.2) + math.log(0.3) + math.log(0.9)) / 5,
            "brier": (0.01 + 0.04 + 0.64 + 0.49 + 0.01) / 5,
            "ece": (0.1 + 0.2 + 0.8 + 0.7 + 0.1) / 5,  # every video in a bin of its own
        },
        abs=1e-6,
    )
    assert document["confusion"]["at_threshold"] == {
        "threshold": 0.8, "real_called_real": 2, "real_called_fake": 0, "fake_called_real": 1, "fake_called_fake": 2,
    }  # fmt: skip
    assert document["confusion"]["at_half"]["real_called_fake"] == 1
    assert {name: document[name] for name in ("videos", "groups", "real", "fake", "unscored")} == {
        "videos": 5, "groups": 5, "real": 2, "fake": 3, "unscored": 0,
    }  # fmt: skip


def test_same_seed_same_document_and_another_seed_another_interval():
    rng = np.random.default_rng(1)
    predictions = table(np.tile([True, False], 15), rng.random(30))
    first, again, other = (compute_metrics(predictions, threshold=0.5, resamples=200, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first["auc"]["value"] == other["auc"]["value"]
    assert first["auc"]["low"] != other["auc"]["low"]


def test_resampling_in_batches_changes_nothing(monkeypatch):
    predictions = table(np.tile([True, False], 10), np.linspace(0, 1, 20))
    whole = compute_metrics(predictions, threshold=0.5, resamples=101)
    monkeypatch.setattr("dfutils.statistics.bootstrap._WEIGHTS_AT_ONCE", 20 * 7)
    assert compute_metrics(predictions, threshold=0.5, resamples=101) == whole


@pytest.mark.parametrize("is_fake", [True, False])
def test_with_one_class_only_metrics_that_need_two_are_null(is_fake):
    document = compute_metrics(table([is_fake] * 4, [0.9, 0.8, 0.3, 0.6]), threshold=0.5)
    for name in TWO_CLASS:
        assert document[name] == {"value": None, "low": None, "high": None}
        assert "both classes" in document["reasons"][name]
    assert document["accuracy"]["value"] == (0.75 if is_fake else 0.25)
    assert document["accuracy"]["low"] is not None
    assert document["log_loss"]["value"] is not None
    assert document["datasets"][0]["auc"]["value"] is None
    json.dumps(document, allow_nan=False)


def test_an_interval_needs_two_groups_of_the_videos_that_a_metric_counts():
    document = compute_metrics(table([True, False, True], [0.9, 0.8, 0.3], ["g"] * 3), threshold=0.5)
    assert document["auc"] == {"value": 0.5, "low": None, "high": None}
    assert document["coverage"] == {"value": 1, "low": None, "high": None}
    assert "2 groups" in document["reasons"]["auc"]
    document = compute_metrics(
        table([True, True, False, False], [0.9, 0.4, 0.3, 0.2], ["f", "f", "r1", "r2"]), threshold=0.5
    )
    assert document["auc"] == {"value": 1, "low": None, "high": None}
    assert document["recall"] == {"value": 0.5, "low": None, "high": None}
    assert document["precision"] == {"value": 1, "low": None, "high": None}
    assert document["accuracy"]["low"] is not None
    assert "2 groups" in document["reasons"]["recall"]


def test_shares_without_an_error_have_intervals_of_their_groups_and_the_auc_has_none():
    groups = [f"g{index // 2}" for index in range(10)]  # five people with a REAL and a FAKE video each
    document = compute_metrics(table([True, False] * 5, [0.9, 0.1] * 5, groups), threshold=0.5, resamples=50)
    for name in ("real_called_fake", "fake_called_real"):
        assert document[name] == {"value": 0, "low": 0, "high": 0.521824}, name
    all_right = ("answered", "answer_accuracy", "fake_called_fake", "coverage")
    for name in (*all_right, "accuracy", "balanced_accuracy", "precision", "recall"):
        assert document[name] == {"value": 1, "low": 0.478176, "high": 1}, name
    assert document["datasets"][0]["accuracy"] == document["accuracy"]
    assert document["auc"] == {"value": 1, "low": 1, "high": 1}
    is_fake = np.array([True, False] * 5)
    rates = estimate_rates(Scores(is_fake, is_fake * 0.8 + 0.1, np.arange(10) // 2), threshold=0.5, resamples=50)
    assert rates["false_positive_rate"] == document["real_called_fake"]
    assert rates["true_positive_rate"] == document["fake_called_fake"]


def test_detectors_that_agree_on_every_video_may_differ_on_others():
    rows = table([True, False] * 5, [0.9, 0.1] * 5)
    found = compare_predictions(rows, rows.assign(fake_probability=[0.8, 0.2] * 5), thresholds=(0.5, 0.5), resamples=50)
    for name in ("accuracy", "answered", "answer_accuracy"):
        assert found[name] == {"value": 0, "low": -0.308497, "high": 0.308497}, name  # ten groups
    assert found["balanced_accuracy"]["high"] == 0.521824  # five of each class


def test_videos_without_a_score_count_in_coverage_only():
    scored = table([True, False, True, False], [0.9, 0.2, 0.4, 0.6])
    document = compute_metrics(table([True, False, True, False, True], [0.9, 0.2, 0.4, 0.6, np.nan]), threshold=0.5)
    alone = compute_metrics(scored, threshold=0.5)
    assert {name: document[name] for name in METRIC_NAMES} == {name: alone[name] for name in METRIC_NAMES}
    assert document["coverage"]["value"] == 0.8
    assert document["coverage"]["low"] < 0.8 < document["coverage"]["high"]
    assert document["unscored"] == 1


def test_datasets_are_reported_separately():
    predictions = table([True, False, True, False], [0.9, 0.1, 0.2, 0.8]).assign(dataset=["a", "a", "b", "b"])
    documents = compute_metrics(predictions, threshold=0.5)["datasets"]
    assert [(row["dataset"], row["videos"], row["auc"]["value"]) for row in documents] == [("a", 2, 1), ("b", 2, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.assign(fake_probability=[1.01, -0.1]), r"not in 0\.\.1 \(2 rows\)"),
        (lambda rows: rows.assign(fake_probability=["high", 0.5]), "not in 0..1"),
        (lambda rows: rows.assign(fake_probability=np.nan), "no video has a score"),
        (lambda rows: rows.assign(is_fake=["FAKE", "REAL"]), "neither True nor False"),
        (lambda rows: rows.assign(group=["g", None]), "missing"),
        (lambda rows: rows.assign(video="same.mp4"), "twice"),
        (lambda rows: rows.drop(columns="group"), "'group' is missing"),
        (lambda rows: rows.iloc[:0], "table is empty"),
    ],
    ids=["range", "text", "no score", "label", "group", "twice", "column", "empty"],
)
def test_impossible_predictions_are_refused(change, message):
    with pytest.raises(ReportError, match=message):
        compute_metrics(change(table([True, False], [0.9, 0.1])), threshold=0.5)


def test_the_given_table_is_not_changed():
    predictions = table([1, 0], [0.9, None]).iloc[::-1]
    before = predictions.copy()
    compute_metrics(predictions, threshold=0.5, resamples=10)
    pd.testing.assert_frame_equal(predictions, before)


@pytest.mark.parametrize(("threshold", "resamples"), [(1.5, 10), (math.nan, 10), (0.5, -1)])
def test_arguments_out_of_range_are_refused(threshold, resamples):
    with pytest.raises(ValueError, match=r"^(threshold|resamples):"):
        compute_metrics(table([True, False], [0.9, 0.1]), threshold=threshold, resamples=resamples)


def test_auc_of_one_class_is_refused():
    with pytest.raises(ReportError, match="REAL and FAKE"):
        auc_score([True, True], [0.1, 0.9])


def test_reliability_table_counts_edges_into_the_bin_above():
    rows = reliability_table([False, True, True, True], [0.0, 0.5, 0.5, 1.0], bins=2)
    assert rows["count"].tolist() == [1, 3]
    assert rows["fake_share"].tolist() == [0, 1]
    assert rows["mean_probability"].tolist() == pytest.approx([0, 2 / 3])


def test_reliability_table_has_wilson_intervals():
    rows = reliability_table([True] * 8 + [False] * 2, [0.75] * 10, bins=10)
    low, high = rows.loc[7, ["fake_share_low", "fake_share_high"]]
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson for 8 of 10, as published tables have it
    assert rows.drop(index=7)["fake_share"].isna().all()


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


def answered(labels, is_fake):
    names = [f"{index}.mp4" for index in range(len(labels))]
    columns = {"video": names, "dataset": "d", "group": names, "is_fake": is_fake, "label": labels}
    return pd.DataFrame(columns).assign(fake_probability=0.5)


def test_answers_are_counted_over_all_videos_and_their_accuracy_over_the_answered_ones():
    labels = ["FAKE", "UNDECIDED", "REAL", "FAKE", "REAL"]
    found = estimate_answers(answered(labels, [True, True, True, False, False]), threshold=0.9, resamples=0)
    assert [found[name]["value"] for name in ANSWER_METRICS] == pytest.approx(
        [4 / 5, 2 / 4, 1 / 2, 1 / 3, 1 / 3], abs=1e-6
    )


def test_without_labels_every_scored_video_is_answered_by_the_threshold():
    table = answered([""] * 3, [True, True, False]).drop(columns="label").assign(fake_probability=[0.9, np.nan, 0.8])
    found = estimate_answers(table, threshold=0.85, resamples=0)
    assert [found[name]["value"] for name in ANSWER_METRICS] == pytest.approx([2 / 3, 1, 0, 0, 1 / 2], abs=1e-6)


def test_a_detector_that_never_answers_has_no_accuracy():
    found = estimate_answers(answered(["UNDECIDED"] * 2, [True, False]), threshold=0.5, resamples=10)
    assert (found["answered"]["value"], found["answer_accuracy"]["value"]) == (0, None)


def test_answers_of_two_detectors_are_compared_in_whatever_order_their_tables_are():
    first = answered(["FAKE", "REAL", "UNDECIDED", "REAL"], [True, False, True, False])
    second = answered(["FAKE", "FAKE", "FAKE", "UNDECIDED"], [True, False, True, False]).iloc[::-1]
    found = compare_predictions(first, second, thresholds=(0.5, 0.5), resamples=0)
    assert found["answered"]["value"] == pytest.approx(0)
    assert found["answer_accuracy"]["value"] == pytest.approx(1 - 2 / 3, abs=1e-6)
