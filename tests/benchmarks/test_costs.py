"""Costs are measured on what they claim to be measured on, and compared fairly."""

import shutil

import numpy as np
import pytest

from benchmarks import prediction, report, training
from benchmarks.common import Cost, describe_machine, earlier_figures, write_results
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_json


def test_results_name_the_machine_and_are_kept_only_for_a_partial_run(tmp_path):
    write_results(tmp_path, "some", {"figures": {"a": 1}}, "| a |\n")
    assert read_json(tmp_path / "some.json") == {"machine": describe_machine(), "figures": {"a": 1}}
    assert (tmp_path / "some.md").read_text() == "| a |\n"
    assert earlier_figures(tmp_path, "some", only=["part"]) == {"a": 1}
    assert earlier_figures(tmp_path, "some", only=None) == earlier_figures(tmp_path, "other", only=["part"]) == {}


def test_repeated_clips_are_other_videos_of_other_groups_with_the_same_images(demo_faces, tmp_path):
    known = read_face_dataset(demo_faces)
    longer = read_face_dataset(report.repeat_clips(demo_faces, tmp_path / "longer", clips=30))
    assert len(longer.rows) == len({row.video for row in longer.rows}) == 30
    assert len({row.group for row in longer.rows}) > len({row.group for row in known.rows})
    assert {longer.checksum(row) for row in longer.rows} == {known.checksum(row) for row in known.rows}
    assert sum(row.is_fake for row in longer.rows) == 15


@pytest.fixture
def runs(monkeypatch):
    """Number of runs of each system; the n-th takes 11 - n seconds, and 100 more for the reference system."""
    counts = {"ours": 0, "reference": 0}

    def cost(*arguments):
        system = "reference" if "benchmarks.reference_system" in arguments else "ours"
        counts[system] += 1
        seconds = 11.0 - counts[system] + (100 if system == "reference" else 0)
        return Cost(seconds, 2 * seconds, 300.0)

    monkeypatch.setattr(prediction, "command_cost", cost)
    monkeypatch.setattr(prediction, "make_clip", lambda path, _: path)
    monkeypatch.setattr(prediction, "write_reference_model", lambda folder: folder)
    monkeypatch.setattr(prediction.importlib.util, "find_spec", lambda _: True)
    return counts


@pytest.mark.parametrize(
    ("rounds", "our_runs", "reference_runs"),
    [(1, 2, 2), (2, 3, 3), (4, 5, 3)],
    ids=["one round", "two", "four: two of the slow system"],
)
def test_both_systems_are_warmed_and_the_best_of_equally_many_is_compared(
    runs, tmp_path, rounds, our_runs, reference_runs
):
    figures = prediction.measure_cold(tmp_path, "run", images=1, rounds=rounds)
    assert runs == {"ours": our_runs, "reference": reference_runs}
    assert figures["cold_seconds"] == 11 - our_runs
    ratio = (111 - reference_runs) / (11 - reference_runs)
    assert figures["cold_reference"] == figures["cold_reference_cpu"] == pytest.approx(ratio)


def test_features_computed_once_are_compared_with_features_computed_in_every_epoch():
    figures = training.cached_ratios(compute=100.0, read=5.0, head=25.0)
    assert figures["cached"] == pytest.approx((50 * 100 + 25) / (100 + 25))
    assert figures["cached_before"] == pytest.approx((50 * 100 + 25) / (5 + 25))
    assert "T4" not in training.table(figures)  # a part that was not measured is not mentioned


def test_the_input_pipeline_is_timed_over_what_fine_tuning_loads(demo_faces):
    dataset = read_face_dataset(demo_faces)
    speed = training.input_speed(dataset, batches=1)
    assert 0 < speed["all"] < speed["decode"]
    together = training.input_together(dataset, workers=2, batches=1)
    assert together["speedup"] > 0
    assert together["received"] > 0


def test_made_up_faces_get_grain(demo_faces, tmp_path):
    dataset = read_face_dataset(shutil.copytree(demo_faces, tmp_path / "faces"))
    before = dataset.load_clip(dataset.rows[0]).astype(float)
    training.add_grain(dataset)
    assert np.std(dataset.load_clip(dataset.rows[0]) - before) == pytest.approx(training.GRAIN, rel=0.2)
