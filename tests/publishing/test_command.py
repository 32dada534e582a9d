"""``dfutils publish``: help, wrong use, and what it shows before anything is sent."""

import json

import pytest

from dfutils.cli import main
from dfutils.publishing import publish as module
from dfutils.publishing.kaggle import Answer, Kaggle


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["film", "a"],
        ["dataset"],
        ["model"],
        ["dataset", "a", "--wait", "long"],
        ["notebooks", "--title", "Another title"],
        ["space", "--push"],
        ["model", "run", "--fetch", "some-one/notebook"],
    ],
    ids=" ".join,
)
def test_wrong_use_exits_with_2(arguments):
    with pytest.raises(SystemExit) as exited:
        main(["publish", *arguments])
    assert exited.value.code == 2


def test_a_dry_run_says_what_lies_where_and_that_nothing_was_sent(publish, run_folder, tmp_path):
    done = publish("model", run_folder)
    assert done.exit_code == 0
    folder = tmp_path / "to send"
    assert done.stdout.splitlines() == [
        f"some-one/deepfake-detector/keras/inception-gru: 4 files, 0.0 MB staged in {folder}",
        "to make the model:",
        f"  kaggle models create -p '{folder}'",
        "to make its variation:",
        f"  kaggle models instances create -p '{folder}' --dir-mode zip",
        "to send a new version:",
        "  kaggle models instances versions create some-one/deepfake-detector/keras/inception-gru "
        f"-p '{folder}' --dir-mode zip -n 'dfutils 0.1.0'",
        "Nothing was sent. Add --push to send it.",
    ]


def test_json_stands_alone_on_stdout(publish, run_folder):
    document = json.loads(publish("model", run_folder, "--json").stdout)
    assert (document["files"], document["pushed"], document["sent"]) == (4, False, [])


def test_a_client_that_is_not_installed_is_named(publish, run_folder, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    assert publish("model", run_folder, "--push").reason.startswith(
        "kaggle: is not installed. Run `pip install kaggle six`"
    )


def test_metadata_that_is_elsewhere_has_to_be_named(publish, run_folder, tmp_path):
    assert "name it with --metadata" in publish("model", run_folder, "--metadata", tmp_path / "none").reason


def test_a_client_that_exits_with_0_is_not_believed(monkeypatch):
    monkeypatch.setattr(Kaggle, "run", lambda *_: Answer(0, "Dataset creation error: no room\n", ""))
    with pytest.raises(module.PublishError, match="did not take it .Dataset creation error: no room"):
        Kaggle().send("it", ["datasets", "create"], success="is being created")


@pytest.mark.parametrize(
    ("stdout", "believed"),
    [
        (
            "Starting upload for file error.csv\nUpload successful: error.csv\nYour private Dataset is being created.",
            True,
        ),
        ("Upload unsuccessful: real.zip\nYour private Dataset is being created.", False),
        ("Skipping folder: real; use '--dir-mode' to upload folders\nYour private Dataset is being created.", False),
        ("The following are not valid tags: ['x']\nYour private Dataset is being created.", False),
        ("Your private Dataset will exist one day.", False),
        ("", False),
    ],
    ids=["all well", "file refused", "folder skipped", "tag refused", "other words", "silence"],
)
def test_only_success_without_any_word_of_trouble_is_success(monkeypatch, stdout, believed):
    monkeypatch.setattr(Kaggle, "run", lambda *_: Answer(0, stdout, "file:  50%|#####| 1/2"))
    if believed:
        assert Kaggle().send("it", [], success="is being created") == "Your private Dataset is being created."
    else:
        with pytest.raises(module.PublishError, match="did not take it"):
            Kaggle().send("it", [], success="is being created")


def test_the_reason_is_no_hint_that_the_client_puts_under_it():
    hint = "If this is unexpected, you can re-run with `kaggle --debug` to see the full\ntraceback. If you think"
    assert Answer(1, "", f"Exception: not now\n\n{hint}").reason == "Exception: not now"


def test_a_client_that_fails_after_its_words_of_success_is_not_believed(monkeypatch):
    monkeypatch.setattr(
        Kaggle, "run", lambda *_: Answer(1, "Your private Dataset is being created.", "KeyError: 'url'")
    )
    with pytest.raises(module.PublishError, match="did not take it .KeyError: 'url'"):
        Kaggle().send("it", [], success="is being created")
