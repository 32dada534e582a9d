"""A run is known by what decides its weights, also where an earlier version wrote it down."""

import json

import pytest
from earlier_versions import OLD_DETECTOR, OLD_SETTINGS, OLD_SETTINGS_TODAY

from dfutils.errors import DfutilsError, RunError
from dfutils.files import write_json
from dfutils.runs.folder import RunFolder
from dfutils.runs.identity import RunIdentity, assignment_checksum, is_finished
from dfutils.runs.record import DetectorRecord
from dfutils.settings import TrainingSettings

TODAY = RunIdentity(OLD_SETTINGS_TODAY, dataset="d")


def finished(path, identity, **about):
    write_json(path / "run.json", {"identity": identity, **about})
    return RunFolder(path)


@pytest.mark.parametrize(
    "identity",
    [
        TODAY,
        RunIdentity(TrainingSettings(size=224, margin=0.1), dataset="d", splits_file="s", precision="float32"),
        RunIdentity(TrainingSettings(), dataset="d", assignment=assignment_checksum({"a": "test"})),
        RunIdentity(TrainingSettings(), dataset="d", folds=5),
    ],
)
def test_an_identity_comes_back_from_plain_json(identity):
    document = json.loads(json.dumps(identity.document()))
    assert RunIdentity.parse(document, source="run.json") == identity


@pytest.mark.parametrize(
    "changes",
    [
        {"devices": {"strategy": "mirrored"}},
        {"tensorboard": True},
        {"finetune": {"time_budget_hours": 8, "checkpoint_minutes": 1}},
    ],
)
def test_where_and_how_long_training_runs_is_no_part_of_a_run(changes):
    other = RunIdentity(TrainingSettings.model_validate(changes), dataset="d")
    assert other == RunIdentity(TrainingSettings(), dataset="d")
    assert other.document()["settings"].keys().isdisjoint(("devices", "tensorboard"))


@pytest.mark.parametrize("others", [{"splits_file": None}, {}], ids=["splits_file null", "no splits_file"])
def test_a_finished_run_of_an_earlier_version_is_no_stranger(tmp_path, others):
    run = finished(tmp_path, {"settings": OLD_SETTINGS, "dataset": "d", **others})
    assert is_finished(run, TODAY)


def test_finished_folds_of_an_earlier_version_are_no_strangers(tmp_path):
    run = finished(tmp_path, {"settings": OLD_SETTINGS, "dataset": "d", "folds": 5})
    assert is_finished(run, RunIdentity(OLD_SETTINGS_TODAY, dataset="d", folds=5))
    with pytest.raises(RunError, match="holds a finished run of 5 folds, not of one detector"):
        is_finished(run, TODAY)
    with pytest.raises(RunError, match="holds a finished run of 5 folds, not of 3 folds"):
        is_finished(run, RunIdentity(OLD_SETTINGS_TODAY, dataset="d", folds=3))


def test_a_run_that_its_time_budget_ended_is_not_finished(tmp_path):
    assert not is_finished(RunFolder(tmp_path), TODAY)
    assert not is_finished(finished(tmp_path, TODAY.document(), is_complete=False), TODAY)


def test_a_run_whose_loss_was_not_a_number_is_not_finished(tmp_path):
    run = finished(tmp_path, TODAY.document())
    run.history_file.write_text("epoch,loss\n0,0.6\n1,nan\n")
    assert not is_finished(run, TODAY)
    run.history_file.write_text("epoch,loss\n0,0.6\n1,0.5\n")
    assert is_finished(run, TODAY)


@pytest.mark.parametrize("changes", [{"views": 2}, {"seed": 1}, {"size": 224}, {"backbone_weights": "imagenet"}])
def test_other_settings_are_told_apart(tmp_path, changes):
    run = finished(tmp_path, {"settings": {**OLD_SETTINGS, **changes}, "dataset": "d"})
    with pytest.raises(RunError, match="other settings"):
        is_finished(run, TODAY)


def test_a_setting_that_no_version_had_is_named(tmp_path):
    run = finished(tmp_path, {"settings": {**OLD_SETTINGS, "layers": 3}, "dataset": "d"})
    with pytest.raises(DfutilsError, match=r"run\.json: layers"):
        is_finished(run, TODAY)


def test_the_record_of_an_earlier_version_is_read_by_its_new_names():
    document, detector = OLD_DETECTOR, DetectorRecord.parse(OLD_DETECTOR, source="")
    assert (document["backbone_weights"], detector.backbone_weights) == ("stand-in", "nsfwjs")
    assert document["extraction"]["detector"] == "auto"
    old = [(point["false_alarms"], point["found"]) for point in document["operating_points"]]
    assert [(one.false_positive_rate, one.true_positive_rate) for one in detector.operating_points] == old
