"""The study of real videos runs on six made-up clips, says what is uncertain, and continues after an interruption."""

import numpy as np
import pytest

from benchmarks.common import describe_machine
from dfutils.extraction.catalogue import Catalogue, read_catalogue
from dfutils.extraction.dataset import read_face_dataset
from research import cross_validation, real_videos, real_videos_tables


@pytest.fixture(scope="module")
def six_clips(demo_labels):
    catalogue = read_catalogue(demo_labels.parent, demo_labels)
    return Catalogue(catalogue.videos[:6], ())


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return real_videos.Options(
        work=tmp_path_factory.mktemp("work"),
        models=("inception_mean",),
        fault_model="inception_mean",
        faults=("ungrouped", "bgr", "all"),
        folds=3,
        seeds=1,
        epochs=1,
        size=96,
        backbone_weights="random",
        workers=1,
    )


@pytest.fixture(scope="module")
def results(six_clips, options):
    return real_videos.run(six_clips, options)


def test_every_system_and_fault_is_measured_with_intervals(results, options):
    assert (results["clips"], results["real"], results["fake"], results["groups"]) == (6, 3, 3, 3)
    assert set(results["systems"]) >= {"constant", "file_facts", "logistic_mixed5", "inception_mean"}
    assert set(results["faults"]) == set(options.faults)
    for row in results["systems"].values():
        assert 0 <= row["auc"]["value"] <= 1


def test_a_constant_is_at_chance_and_costs_the_entropy_of_the_labels(results):
    constant = results["systems"]["constant"]
    assert constant["auc"]["value"] == 0.5
    assert constant["log_loss"]["value"] == pytest.approx(np.log(2), abs=1e-3)


def test_a_second_run_repeats_no_fit(results, six_clips, options, monkeypatch):
    monkeypatch.setattr(cross_validation, "_fit_and_score", lambda _task: pytest.fail("fitted again"))
    again = real_videos.run(six_clips, options)
    assert again["systems"] == results["systems"]
    assert again["faults"] == results["faults"]


def test_what_each_stage_cost_is_written_down(results):
    assert results["costs"]["extract motion"]["videos"] == 6
    assert results["costs"]["features motion"]["images"] == 60
    assert results["costs"]["features motion"]["images_per_second"] > 0


def test_the_tables_say_when_nothing_can_be_said(results):
    results = {**results, "machine": describe_machine()}
    table = real_videos_tables.markdown(results)
    assert "is chance" in table
    assert "Cost: " in table
    for row in results["faults"].values():
        assert row["title"] in table
    assert "too uncertain to say" in table
    left, right = real_videos_tables.plot(results).axes
    assert (len(left.get_yticks()), len(right.get_yticks())) == (len(results["systems"]), len(results["faults"]))


def test_a_split_by_clip_shares_groups_and_a_grouped_one_does_not(demo_faces):
    rows = read_face_dataset(demo_faces).rows
    groups = np.array([row.group for row in rows])

    def shared(splits):
        return set(groups[splits == "train"]) & set(groups[splits == "test"])

    grouped = cross_validation.fold_splits(rows, folds=3, seed=0, grouped=True)
    alone = cross_validation.fold_splits(rows, folds=3, seed=0, grouped=False)
    assert not any(shared(splits) for splits in grouped)
    assert any(shared(splits) for splits in alone)


@pytest.mark.parametrize(
    ("high", "says"), [(0.01, "no way is shown to be better"), (-0.01, "shown to be better than uniform frames")]
)
def test_motion_frames_are_called_better_only_beyond_the_uncertainty(high, says):
    change = {"auc": {"value": -0.04, "low": -0.1, "high": high}}
    sentence = real_videos_tables.frame_choice({"faults": {"uniform": {"difference": change}}})
    assert says in sentence
    assert "uniform frames −0.04 (−0.10 to" in sentence
