"""Figures of the shipped detector, worked out by hand, and people who are calibrated on or measured, but never both."""

import numpy as np
import pandas as pd
import pytest

from research.measure import calibrates, figures_of, share


def test_half_of_the_people_calibrate_and_always_the_same_ones():
    chosen = [calibrates(f"person {number}") for number in range(1000)]
    assert 450 < sum(chosen) < 550
    assert chosen == [calibrates(f"person {number}") for number in range(1000)]


def test_answers_are_counted_over_all_files_and_their_accuracy_over_those_answered():
    rows = [
        # is_fake, probability, label
        (False, 0.1, "REAL"),
        (False, 0.5, "UNDECIDED"),
        (False, 0.9, "FAKE"),
        (False, float("nan"), "UNDECIDED"),
        (True, 0.9, "FAKE"),
        (True, 0.2, "REAL"),
        (True, 0.8, "FAKE"),
        (True, 0.6, "UNDECIDED"),
    ]
    table = pd.DataFrame(rows, columns=["is_fake", "fake_probability", "label"])
    table = table.assign(video=[str(number) for number in range(8)], dataset="d", group=list("abcdefgh"))
    figures = figures_of(table, threshold=0.5)
    wanted = {
        "answered": 5 / 8, "answered_right": 3 / 5, "real_answered_fake": 1 / 4, "real_answered_real": 1 / 4,
        "fake_answered_fake": 2 / 4, "fake_answered_real": 1 / 4, "auc": 7.5 / 12,
    }  # fmt: skip
    assert {name: figures[name]["value"] for name in wanted} == pytest.approx(wanted, abs=1e-4)
    assert (figures["files"], figures["without_a_score"]) == (8, 1)


def test_no_error_in_few_source_pairs_still_has_an_upper_bound():
    assert share(np.zeros(31), np.arange(31) % 17) == {"value": 0, "low": 0, "high": 0.195064}
