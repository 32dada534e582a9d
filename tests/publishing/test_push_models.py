"""A detector sent as a Kaggle model with the real client to a stub of Kaggle."""

import json

import pytest
from stub import CUT, Holding, files_of

NAME = "some-one/deepfake-detector"
VARIATION = f"{NAME}/keras/inception-gru"


def test_a_new_model_arrives_byte_by_byte_and_without_other_peoples_names(publish, stub, run_folder, tmp_path):
    done = publish("model", run_folder, "--push")
    assert done.exit_code == 0
    (model,), (variation,) = stub.called("CreateModel"), stub.called("CreateModelInstance")
    assert model["isPrivate"] is True
    assert variation["body"]["framework"].lower().endswith("keras")
    assert "NonCommercial" in variation["body"]["licenseName"]
    arrived = stub.variations[VARIATION].versions
    assert arrived == [files_of(run_folder, but=["splits.csv"])]
    assert sorted(arrived[0]) == ["detector.json", "export/export.json", "model.keras", "model.weights.h5"]
    assert f"{VARIATION}/1: 4 files of " in done.stdout


def test_a_model_that_is_there_gets_a_new_version(publish, stub, run_folder):
    stub.models[NAME] = {}
    stub.variations[VARIATION] = Holding({}, [{"detector.json": b"old"}])
    assert publish("model", run_folder, "--push", "--version-notes", "longer training").exit_code == 0
    assert stub.called("CreateModelInstanceVersion")[0]["body"]["versionNotes"] == "longer training"
    assert stub.variations[VARIATION].versions[1] == files_of(run_folder, but=["splits.csv"])


def test_a_version_that_would_lose_files_is_not_sent(publish, stub, run_folder):
    stub.models[NAME] = {}
    stub.variations[VARIATION] = Holding({}, [{"detector.json": b"old", "saved_model.pb": b"old"}])
    done = publish("model", run_folder, "--push")
    assert done.exit_code == 1
    assert "would lack 1 of 2 files (saved_model.pb)" in done.reason
    assert not stub.called("StartBlobUpload")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"GetModel": [CUT]}, "could not be asked"),
        ({"CreateModel": [{"error": "slug is already in use"}]}, "already in use"),
        ({"PUT": [403, 403, 403]}, "Upload unsuccessful"),
        ({"CreateModelInstance": [{"id": 0, "error": "no such licence"}]}, "no such licence"),
        ({"ListModelInstanceVersionFiles": [{"files": []}]}, "4 missing"),
    ],
    ids=str,
)
def test_what_fails_on_the_way_is_exit_code_1_and_one_line(publish, stub, run_folder, answers, reason):
    for method, planned in answers.items():
        stub.fail(method, *planned)
    done = publish("model", run_folder, "--push")
    assert (done.exit_code, done.stdout) == (1, "")
    assert reason in done.reason
    assert done.reason.startswith(NAME)


def test_altered_weights_are_not_staged(publish, run_folder, tmp_path):
    (run_folder / "model.weights.h5").write_bytes(b"others")
    assert "was altered since training" in publish("model", run_folder).reason
    assert not (tmp_path / "to send").exists()


def test_an_unfinished_run_is_not_staged(publish, run_folder):
    (run_folder / "detector.json").unlink()
    assert "no finished run folder (no detector.json)" in publish("model", run_folder).reason


def test_an_ensemble_is_not_staged_and_a_member_is_named(publish, run_folder):
    (run_folder / "fold-0").mkdir()
    assert f"{run_folder}/fold-0" in publish("model", run_folder).reason


def test_another_name_and_licence_are_taken_from_the_command_line(publish, run_folder, tmp_path):
    wishes = ["--title", "My detector", "--licence", "MIT", "--public", "--i-have-the-rights"]
    assert publish("model", run_folder, *wishes).exit_code == 0
    staged = tmp_path / "to send"
    model = json.loads((staged / "model-metadata.json").read_text())
    variation = json.loads((staged / "model-instance-metadata.json").read_text())
    assert (model["slug"], model["isPrivate"]) == ("my-detector", False)
    assert (variation["modelSlug"], variation["licenseName"]) == ("my-detector", "MIT")
