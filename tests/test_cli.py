"""The command line: exit codes, one line of reason, JSON alone on stdout."""

import json
import subprocess
import sys

import pytest

from dfutils.cli import _draw_history, build_parser, main


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dfutils", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "command", ["demo", "extract", "merge", "train", "evaluate", "compare", "calibrate", "predict", "publish"]
)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as exited:
        main([command, "--help"])
    assert exited.value.code == 0
    text = capsys.readouterr().out
    assert f"example:\n  dfutils {command}" in text
    example = text[text.index("example:") :].splitlines()[1].split()
    build_parser().parse_args(example[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["extrakt"],
        ["extract"],
        ["extract", "a", "--out", "b", "--sampling", "best"],
        ["evaluate", "run", "faces", "--out", "report", "--stress"],
        ["compare", "run", "--faces", "faces", "--out", "report"],
    ],
)
def test_wrong_use_exits_with_2(arguments):
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["extract", "{tmp}/nowhere", "--out", "{tmp}/faces"], "nowhere"),
        (["extract", "{tmp}", "--out", "{tmp}/faces"], "no videos"),
        (["extract", "{tmp}", "--out", "{tmp}/faces", "--frames", "0"], "frames"),
        (["train", "{tmp}", "--out", "{tmp}/run"], "manifest.csv"),
        (["evaluate", "{tmp}", "{tmp}", "--out", "{tmp}/report"], "run folder"),
        (["predict", "a.mp4", "--model", "{tmp}"], "run folder"),
        (["compare", "{tmp}", "{tmp}", "--faces", "{tmp}", "--out", "{tmp}/report"], "two or more different runs"),
        (["calibrate", "{tmp}", "--operating-point", "luck"], "luck"),
    ],
)
def test_a_failure_exits_with_1_and_one_line_of_reason(tmp_path, arguments, reason):
    done = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("dfutils ")
    assert reason in line


def test_a_wrong_label_is_a_failure_that_names_the_row(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("file,label\na.mp4,FALSE\n")
    done = run("extract", tmp_path, "--labels", tmp_path / "labels.csv", "--out", tmp_path / "faces")
    assert done.returncode == 1
    assert "FALSE" in done.stderr


def test_help_starts_without_tensorflow_and_opencv():
    code = (
        "import sys, dfutils.cli; print([m for m in ('tensorflow', 'keras', 'cv2', 'av', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_extraction_and_prediction_import_no_tensorflow():
    code = (
        "import sys, dfutils.extraction.extract, dfutils.prediction.detector;"
        "print([m for m in ('tensorflow', 'keras', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_training_does_without_a_picture_where_nothing_can_draw_it(demo_run, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "dfutils.evaluation.curves", None)  # as where matplotlib is not installed
    caplog.set_level("INFO")
    _draw_history(demo_run)
    assert "dfutils[report]" in caplog.text
    assert not (demo_run / "history.png").exists()


def test_json_stands_alone_on_stdout(demo_run, demo_videos, tmp_path):
    done = run("predict", demo_videos[0], tmp_path / "missing.mp4", "--model", demo_run, "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert [verdict["reason"] for verdict in document["verdicts"]] == ["ok", "unreadable"]


def test_verdicts_are_readable_for_a_person(demo_run, demo_videos):
    done = run("predict", demo_videos[0], "--model", demo_run)
    assert done.returncode == 0
    label, score, path = done.stdout.split()[:3]
    assert label in ("REAL", "FAKE")
    assert 0 <= float(score) <= 1
    assert path == str(demo_videos[0])
