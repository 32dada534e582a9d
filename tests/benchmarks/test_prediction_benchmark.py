"""The cold start's comparison is fair; nothing is measured here."""

import sys
from types import ModuleType

import pytest

from benchmarks import prediction
from benchmarks.prediction import Cost, measure_cold


@pytest.fixture
def runs(monkeypatch):
    """The runs of each system so far; the n-th takes 10, 9, 8 … seconds, the reference system's a hundred more."""
    counts = {"ours": 0, "reference": 0}

    def cost(*arguments):
        system = "reference" if "benchmarks.reference_system" in arguments else "ours"
        counts[system] += 1
        seconds = 11.0 - counts[system] + (100 if system == "reference" else 0)
        return Cost(seconds, 2 * seconds, 300.0)

    monkeypatch.setattr(prediction, "command_cost", cost)
    monkeypatch.setattr(prediction, "make_clip", lambda path, _: path)
    monkeypatch.setattr(prediction, "_reference_model", lambda folder: folder)
    monkeypatch.setitem(sys.modules, "dlib", ModuleType("dlib"))
    return counts


@pytest.mark.parametrize(
    ("rounds", "our_runs", "reference_runs"),
    [(1, 2, 2), (2, 3, 3), (4, 5, 3)],
    ids=["one round", "two", "four: two of the slow system"],
)
def test_both_systems_are_warmed_and_the_best_of_equally_many_is_compared(
    runs, tmp_path, rounds, our_runs, reference_runs
):
    figures = measure_cold(tmp_path, "run", images=1, rounds=rounds)
    assert runs == {"ours": our_runs, "reference": reference_runs}
    assert figures["cold_seconds"] == 11 - our_runs
    assert (
        figures["cold_reference"]
        == figures["cold_reference_cpu"]
        == pytest.approx((111 - reference_runs) / (11 - reference_runs))
    )
