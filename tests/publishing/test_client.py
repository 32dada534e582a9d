"""The client is believed only where it says success and nothing else; its failures are reasons in one line."""

from unittest.mock import Mock

import pytest
from stub import Holding

from dfutils.errors import PublishError
from dfutils.publishing import kaggle
from dfutils.publishing.kaggle import UNANSWERED_IN_A_ROW, Answer, Kaggle, NoAnswerError, PendingError

CREATED = "Your private Dataset is being created."
TRACEBACK = "Traceback (most recent call last):\n  error here\nOSError: gone"
HINT = "Exception: not now\n\nIf this is unexpected, re-run with `kaggle --debug` for the traceback."


def test_a_client_that_is_not_installed_or_cannot_be_run_is_named(publish, run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    reason = publish("model", run_folder, "--push").reason
    assert reason.startswith("kaggle: is not installed. Run `pip install kaggle six`")
    (tmp_path / "kaggle").write_text("not a program")
    reason = publish("model", run_folder, "--push").reason
    assert reason == f"{tmp_path / 'kaggle'}: cannot be run (Permission denied). Install it again."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(0, f"Starting upload for file error.csv\nUpload successful: error.csv\n{CREATED}", ""), None),
        (Answer(0, CREATED, "error.csv:  50%|#####| 1/2"), None),
        (Answer(0, "Dataset creation error: no room\n", ""), "Dataset creation error: no room"),
        (Answer(0, f"Upload unsuccessful: real.zip\n{CREATED}", ""), "Upload unsuccessful: real.zip"),
        (Answer(0, f"Skipping folder: real; use '--dir-mode'\n{CREATED}", ""), "Skipping folder"),
        (Answer(0, f"The following are not valid tags: ['x']\n{CREATED}", ""), "not valid tags"),
        (Answer(0, "Your private Dataset will exist one day.", ""), "will exist one day"),
        (Answer(0, "", ""), "no output, exit code 0"),
        (Answer(1, CREATED, "KeyError: 'url'"), "KeyError: 'url'"),
        (Answer(1, "", HINT), "Exception: not now"),
        (Answer(1, "", TRACEBACK), "OSError: gone"),
    ],
    ids=[
        *("success", "success with a bar", "error with exit code 0", "file refused", "folder skipped", "tag refused"),
        *("other words", "silence", "failure after success", "hint below", "traceback"),
    ],
)
def test_only_success_without_any_word_of_trouble_is_success(monkeypatch, answer, reason):
    monkeypatch.setattr(Kaggle, "run", lambda *_: answer)
    if reason is None:
        assert Kaggle().send("it", [], success="is being created") == CREATED
    else:
        with pytest.raises(PublishError, match=rf"^it: Kaggle did not accept it \(.*{reason}"):
            Kaggle().send("it", [], success="is being created")


def test_a_list_that_cannot_be_read_is_a_failure(stub):
    stub.fail("ListDatasetFiles", {"errorMessage": "not now"})
    with pytest.raises(PublishError, match="could not be listed .not now"):
        Kaggle().files("it", "datasets", "files", "some-one/faces")


def test_long_lists_are_read_to_their_end(stub):
    files = {f"real/{n}.png": b"x" * n for n in range(1, 6)}
    stub.datasets["some-one/faces"], stub.page_size = Holding({}, [files]), 2
    found = Kaggle().files("it", "datasets", "files", "some-one/faces")
    assert found == {name: len(content) for name, content in files.items()}
    assert len(stub.called("ListDatasetFiles")) == 3


def test_a_few_questions_in_a_row_may_stay_without_an_answer(monkeypatch):
    monkeypatch.setattr(kaggle, "LONGEST_PAUSE_SECONDS", 0)
    silence, pending = [NoAnswerError("not now")] * UNANSWERED_IN_A_ROW, PendingError("running")
    assert Kaggle().wait(Mock(side_effect=[*silence, pending, *silence, "complete"])) == "complete"
    look = Mock(side_effect=[*silence, *silence, "complete"])
    with pytest.raises(NoAnswerError, match="not now"):
        Kaggle().wait(look)
    assert look.call_count == UNANSWERED_IN_A_ROW + 1
