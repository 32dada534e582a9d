"""A detector sent as a Kaggle model with the real client to a stub of Kaggle."""

import json

import pytest
from stub import CUT, Holding, files_of, missing

from dfutils.errors import PublishError
from dfutils.pretrained import pretrained_names
from dfutils.pretrained import resolve_detector as shipped_folder
from dfutils.publishing.model_text import HEAD_SENTENCES, network_text
from dfutils.training.model import HEADS

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


PUBLIC = ["--public", "--i-have-the-rights"]


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({"isPrivate": False}, f"{NAME}: is public on Kaggle, "),
        ({"licenseName": "MIT"}, f"{NAME}: its licence on Kaggle is 'MIT', "),
    ],
    ids=["public", "another licence"],
)
def test_a_version_that_others_would_get_otherwise_is_not_sent(publish, stub, run_folder, held, reason):
    stub.models[NAME] = held
    stub.variations[VARIATION] = Holding({"body": held}, [{"detector.json": b"old"}])
    done = publish("model", run_folder, "--push")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.reason.startswith(reason)
    assert not stub.called("StartBlobUpload")


def test_public_is_no_wish_that_a_version_can_fulfil(publish, stub, run_folder):
    stub.models[NAME] = {}
    stub.variations[VARIATION] = Holding({}, [{"detector.json": b"old"}])
    assert "is private on Kaggle" in publish("model", run_folder, "--push", *PUBLIC).reason
    assert not stub.called("StartBlobUpload")


def test_a_new_variation_of_a_public_model_is_no_secret_either(publish, stub, run_folder):
    stub.models[NAME] = {"isPrivate": False, "title": "Detector of fakes"}
    assert "is public on Kaggle" in publish("model", run_folder, "--push").reason
    done = publish("model", run_folder, "--push", *PUBLIC)
    assert done.exit_code == 0
    assert "keeps its title 'Detector of fakes'" in done.stdout


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        (("GetModel", None, (500, {})), "could not be asked (500"),
        (("GetModelInstance", CUT), "could not be asked ("),
        (("GetModelInstance", missing("Variation")), "cannot be read (it is there, but its metadata are not)"),
    ],
    ids=str,
)
def test_nothing_is_sent_to_a_model_whose_settings_cannot_be_read(publish, stub, run_folder, failing, reason):
    stub.models[NAME] = {}
    stub.variations[VARIATION] = Holding({}, [{"detector.json": b"old"}])
    stub.fail(*failing)
    assert reason in publish("model", run_folder, "--push").reason
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


def staged_metadata(folder):
    names = ("model-metadata.json", "model-instance-metadata.json")
    return [json.loads((folder / name).read_text()) for name in names]


@pytest.mark.parametrize("name", pretrained_names())
def test_a_shipped_detector_is_staged_with_its_licence_and_card_and_described_as_what_it_is(publish, tmp_path, name):
    shipped, staged = shipped_folder(name), tmp_path / "to send"
    assert publish("model", shipped).exit_code == 0
    model, variation = staged_metadata(staged)
    for file in ("LICENSE", "MODEL_CARD.md"):
        assert (staged / file).read_bytes() == (shipped / file).read_bytes()
    assert (shipped / "LICENSE").read_text().strip() in model["description"]
    assert variation["instanceSlug"] == "inception-mean"
    assert variation["overview"] == (
        "InceptionV3 features of 10 face crops from the frames that move most. "
        "A linear head scores each crop by itself, and their mean is the video's: order means nothing."
    )
    assert variation["overview"] in model["description"]
    assert "recurrent" not in str((model, variation))


def test_the_description_is_made_of_what_the_detector_says(publish, run_folder, tmp_path):
    assert publish("model", run_folder).exit_code == 0
    model, variation = staged_metadata(tmp_path / "to send")
    assert variation["overview"] == (
        "InceptionV3 features of 8 face crops from frames at even distances. "
        "A recurrent head (GRU) reads them in order."
    )
    assert "Terms of the weights" not in model["description"]


def test_every_head_that_can_be_trained_has_a_sentence():
    assert set(HEAD_SENTENCES) == set(HEADS)


def test_a_head_without_a_sentence_is_not_described_as_another(run_folder):
    path = run_folder / "detector.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": "inception_transformer"}))
    with pytest.raises(PublishError, match="says nothing that is known of 'inception_transformer'"):
        network_text(run_folder)


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
