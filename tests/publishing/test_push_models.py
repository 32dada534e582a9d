"""A detector sent as a Kaggle model with the real client to a stub of Kaggle."""

import json

import pytest
from stub import CUT, Holding, files_of

from dfutils.pretrained import pretrained_names
from dfutils.pretrained import resolve_detector as shipped_folder
from dfutils.publishing.card import HEAD_SENTENCES
from dfutils.training.model import HEADS

NAME = "some-one/deepfake-detector"
VARIATION = f"{NAME}/keras/inception-gru"
PUBLIC = ["--public", "--i-have-the-rights"]


def hold(stub, **settings):
    """A model with one version on Kaggle."""
    stub.models[NAME] = settings
    stub.variations[VARIATION] = Holding({"body": settings}, [{"detector.json": b"old"}])


def staged_metadata(folder):
    return [json.loads((folder / f"model-{name}metadata.json").read_text()) for name in ("", "instance-")]


def test_a_new_model_arrives_byte_by_byte_and_without_other_peoples_names(publish, stub, run_folder):
    done = publish("model", run_folder, "--push")
    assert done.exit_code == 0
    (model,), (variation,) = stub.called("CreateModel"), stub.called("CreateModelInstance")
    assert model["isPrivate"] is True
    assert variation["body"]["framework"].lower().endswith("keras")
    assert "NonCommercial" in variation["body"]["licenseName"]
    assert stub.variations[VARIATION].versions == [files_of(run_folder, but=["splits.csv"])]
    assert f"{VARIATION}/1: 6 files of " in done.stdout


def test_a_new_version_may_lack_files_only_if_that_is_intended_and_is_waited_for(publish, stub, run_folder):
    hold(stub, title="Detector of fakes")
    stub.variations[VARIATION].versions[0]["saved_model.pb"] = b"old"
    assert "would lack 1 of 2 files (saved_model.pb)" in publish("model", run_folder, "--push").reason
    assert not stub.called("StartBlobUpload")
    # The new version is there a little later.
    stub.fail("GetModelInstance", None, {"id": 2, "versionNumber": 1, "slug": "s", "framework": "keras"})
    done = publish("model", run_folder, "--push", "--fewer-files", "--version-notes", "longer training")
    assert f"{VARIATION}/2: 6 files of " in done.stdout
    assert "keeps its title 'Detector of fakes'" in done.stdout
    assert stub.called("CreateModelInstanceVersion")[0]["body"]["versionNotes"] == "longer training"
    assert stub.variations[VARIATION].versions[1] == files_of(run_folder, but=["splits.csv"])


def test_a_public_model_gets_only_a_public_variation(publish, stub, run_folder):
    stub.models[NAME] = {"isPrivate": False}
    assert "is public on Kaggle" in publish("model", run_folder, "--push").reason
    stub.fail("CreateModelInstance", {"id": 0, "error": "no such licence"})
    reason = publish("model", run_folder, "--push", *PUBLIC).reason
    assert reason.startswith(f"{VARIATION}: Kaggle did not accept it (Model instance creation error: no such licence)")


@pytest.mark.parametrize(
    ("held", "method", "answers", "reason"),
    [
        ({"title": "t"}, "GetModelInstance", [CUT], "could not be queried ("),
        ({"licenseName": "MIT"}, "GetModel", [], "its licence on Kaggle is 'MIT', "),
        ({}, "CreateModel", [{"error": "slug is already in use"}], "already in use"),
        ({"title": "t"}, "CreateModelInstanceVersion", [{"id": 0, "error": "no room"}], "no room"),
        ({}, "ListModelInstanceVersionFiles", [{"files": []}], "6 missing"),
    ],
    ids=["no answer", "another licence", "no model", "no version", "nothing arrived"],
)
def test_whatever_fails_on_the_way_is_a_failure_in_one_line(
    *, publish, stub, run_folder, held, method, answers, reason
):
    if held:
        hold(stub, **held)
    stub.fail(method, *answers)
    failure = publish("model", run_folder, "--push").reason
    assert reason in failure
    assert failure.startswith(NAME)


@pytest.mark.parametrize("name", pretrained_names())
def test_a_shipped_detector_is_staged_with_its_licence_and_card_and_described(publish, tmp_path, name):
    shipped, staged = shipped_folder(name), tmp_path / "to send"
    assert publish("model", shipped).exit_code == 0
    model, variation = staged_metadata(staged)
    for file in ("LICENSE", "MODEL_CARD.md"):
        assert (staged / file).read_bytes() == (shipped / file).read_bytes()
    assert (shipped / "LICENSE").read_text().strip() in model["description"]
    assert variation["instanceSlug"] == "inception-mean"
    assert variation["overview"] == (
        "InceptionV3 features (means of all blocks) of 10 face crops from the frames that move most. "
        "A linear head scores each crop by itself; the video's score is their mean, in any order."
    )
    assert variation["overview"] in model["description"]
    assert "recurrent" not in str((model, variation))


def test_title_licence_and_description_are_those_of_the_command_line_and_the_detector(publish, run_folder, tmp_path):
    assert publish("model", run_folder, "--title", "My detector", "--licence", "MIT", *PUBLIC).exit_code == 0
    model, variation = staged_metadata(tmp_path / "to send")
    assert (model["slug"], model["isPrivate"]) == ("my-detector", False)
    assert (variation["modelSlug"], variation["licenseName"]) == ("my-detector", "MIT")
    assert variation["overview"] == (
        "InceptionV3 features of 8 face crops from evenly spaced frames. A recurrent head (GRU) reads them in order."
    )
    assert "Terms of the weights" not in model["description"]


def test_every_head_that_can_be_trained_has_a_sentence():
    assert set(HEAD_SENTENCES) == set(HEADS)


def damage_head(folder):
    path = folder / "detector.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": "inception_transformer"}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_head, "'inception_transformer' is missing or unknown"),
        (lambda folder: (folder / "model.weights.h5").write_bytes(b"others"), "was altered since training"),
        (lambda folder: (folder / "detector.json").unlink(), "not a finished run folder (no detector.json)"),
        (lambda folder: (folder / "fold-0").mkdir(), "run/fold-0"),
    ],
    ids=["unknown head", "altered weights", "unfinished", "ensemble"],
)
def test_a_run_folder_that_cannot_be_sent_is_not_staged(publish, run_folder, tmp_path, damage, reason):
    damage(run_folder)
    assert reason in publish("model", run_folder).reason
    assert not (tmp_path / "to send").exists()
