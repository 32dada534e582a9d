"""``dfutils publish``: wrong use, what it shows before anything is sent, and whose it says that it is."""

import json

import pytest

import dfutils
from dfutils.cli import main
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.metadata import DATASET_FILE, owner_name


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["film", "a"], ["dataset"], ["model"], ["dataset", "a", "--wait", "long"], ["space", "--push"]),
        *(["notebooks", "--title", "Another title"], ["model", "run", "--fetch", "some-one/notebook"]),
        *(
            ["model", "run", "--to", "huggingface", *option]  # options for Kaggle
            for option in (["--subtitle", "text"], ["--wait", "3"], ["--metadata", "folder"])
        ),
    ],
    ids=" ".join,
)
def test_wrong_use_exits_with_2(arguments):
    with pytest.raises(SystemExit) as exited:
        main(["publish", *arguments])
    assert exited.value.code == 2


def test_a_dry_run_shows_the_commands_and_says_that_nothing_was_sent(publish, run_folder, tmp_path):
    folder = tmp_path / "to send"
    assert publish("model", run_folder, "--version-notes", "it's new").stdout.splitlines() == [
        f"some-one/deepfake-detector/keras/inception-gru: 6 files, 0.0 MB staged in {folder}",
        "to create the model:",
        f"  kaggle models create -p '{folder}'",
        "to create its variation:",
        f"  kaggle models instances create -p '{folder}' --dir-mode zip",
        "to send a new version:",
        "  kaggle models instances versions create some-one/deepfake-detector/keras/inception-gru "
        f"""-p '{folder}' --dir-mode zip -n 'it'"'"'s new'""",
        "Nothing was sent. Add --push to send it.",
    ]


def test_without_push_the_client_is_never_called(publish, stub, demo_faces, tmp_path, monkeypatch):
    monkeypatch.setattr(Kaggle, "run", lambda *_: pytest.fail("called"))
    document = json.loads(publish("dataset", demo_faces, "--json").stdout)
    assert (document["pushed"], document["sent"], stub.calls) == (False, [], [])
    assert document["files"] > 100
    name, folder = "some-one/deepfake-motion-faces", f"'{tmp_path}/to send'"
    assert {entry["to"]: entry["command"] for entry in document["commands"]} == {
        "create the dataset": f"kaggle datasets create -p {folder} --dir-mode zip",
        "check whether it is ready": f"kaggle datasets status {name}",
        "list what arrived": f"kaggle datasets files {name} --page-size 200",
        "send a new version": f"kaggle datasets version -p {folder} --dir-mode zip -m 'dfutils {dfutils.__version__}'",
    }


@pytest.mark.parametrize("wish", [["--public"], ["--licence", "CC0-1.0"]], ids=str)
def test_faces_go_public_only_by_somebody_who_says_to_have_the_right(publish, demo_faces, tmp_path, wish):
    assert "--i-have-the-rights" in publish("dataset", demo_faces, *wish).reason
    assert not (tmp_path / "to send").exists()
    assert publish("dataset", demo_faces, *wish, "--i-have-the-rights").exit_code == 0
    metadata = json.loads((tmp_path / "to send" / DATASET_FILE).read_text())
    assert metadata["isPrivate"] is (wish != ["--public"])
    assert metadata["licenses"] == [{"name": "CC0-1.0" if wish[0] == "--licence" else "other"}]


def test_metadata_that_is_elsewhere_has_to_be_named(publish, run_folder, tmp_path):
    assert "name it with --metadata" in publish("model", run_folder, "--metadata", tmp_path / "none").reason


def test_the_owner_is_the_one_who_is_signed_in_unless_another_is_named(publish, run_folder, tmp_path, monkeypatch):
    assert publish("model", run_folder, "--owner", "given-owner").stdout.startswith("given-owner/")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    assert owner_name(None) == "some-one"
    monkeypatch.delenv("KAGGLE_USERNAME")
    assert "owner: is unknown. Give --owner" in publish("model", run_folder).reason
    (tmp_path / "kaggle.json").write_text('{"username": "file-owner", "key": "0123456789"}')
    assert owner_name(None) == "file-owner"
