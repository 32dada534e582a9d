"""`dfutils predict`: tables, lines, faces, submissions and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
from rounding import SCORE

from dfutils import cli
from dfutils.files import read_csv
from dfutils.prediction.detector import load_detector
from dfutils.prediction.outputs import VERDICT_COLUMNS, write_submission
from dfutils.records import Label, Reason, Verdict


@pytest.fixture(scope="module")
def predicted(demo_run, demo_videos, tmp_path_factory):
    """One call with every output, on a folder of two videos and a text file."""
    folder = tmp_path_factory.mktemp("inputs")
    for number, video in enumerate(demo_videos[:2]):
        (folder / f"a face {number}.mp4").symlink_to(video)
    (folder / "b.mp4").write_text("no video")
    out = tmp_path_factory.mktemp("outputs")
    places = ["--csv", str(out / "verdicts.csv"), "--frames-dir", str(out / "faces")]
    with pytest.MonkeyPatch.context() as patched:
        lines = []
        patched.setattr("sys.stdout.write", lines.append)
        code = cli.main(["predict", str(folder), "--model", str(demo_run), "--json-lines", "--workers", "2", *places])
    return code, [json.loads(line) for line in lines], out


def test_lines_are_one_document_per_verdict_in_the_order_of_the_inputs(predicted, demo_run, demo_videos):
    code, lines, _ = predicted
    assert code == 0
    assert [line["input"].rsplit("/", 1)[-1] for line in lines] == ["a face 0.mp4", "a face 1.mp4", "b.mp4"]
    assert [line["reason"] for line in lines][2] == "unreadable"
    alone = load_detector(demo_run).predict(demo_videos[1])
    assert lines[1]["fake_probability"] == pytest.approx(alone.fake_probability, abs=SCORE)
    assert all(
        set(line["detector"]) == {"name", "version", "sha256", "real_up_to", "fake_from", "prior"} for line in lines
    )


def test_the_table_says_what_the_lines_say(predicted):
    _, lines, out = predicted
    rows = read_csv(out / "verdicts.csv", VERDICT_COLUMNS)
    assert [(row["label"], row["reason"]) for row in rows] == [(line["label"], line["reason"]) for line in lines]
    assert rows[2]["fake_probability"] == ""
    assert float(rows[0]["fake_probability"]) == pytest.approx(lines[0]["fake_probability"], rel=1e-5)


def test_only_the_faces_of_persons_are_written(predicted, demo_run):
    _, _, out = predicted
    assert sorted(path.name for path in (out / "faces").iterdir()) == ["0000-a_face_0.mp4", "0001-a_face_1.mp4"]
    crops = sorted((out / "faces" / "0000-a_face_0.mp4" / "person-1").glob("*.png"))
    settings = load_detector(demo_run).settings.extraction
    assert len(crops) == settings.frames
    assert cv2.imread(str(crops[0])).shape == (settings.size, settings.size, 3)


@pytest.mark.parametrize(("label", "code"), [("UNDECIDED", 3), ("FAKE", 0)])
def test_the_exit_code_tells_scripts_what_was_found(demo_run, tmp_path, label, code):
    assert cli.main(["predict", str(tmp_path / "gone.mp4"), "--model", str(demo_run), "--fail-on", label]) == code


class WatchedVerdict(Verdict):
    """A verdict without slots, for weak references."""

    __hash__ = object.__hash__


class WatchedDetector:
    """Yields one verdict per input and counts how many are alive at a time."""

    settings, engine, about = SimpleNamespace(name="watched"), "openvino", {"name": "watched"}
    answer_range, prior = (0.5, 0.5), 0.5

    def __init__(self):
        self.alive, self.most_alive = weakref.WeakSet(), 0

    def examine_many(self, paths, **_):
        for number, path in enumerate(paths):
            label = Label.FAKE if number == 1 else Label.REAL
            verdict = WatchedVerdict(path, 0.5, label, Reason.OK, "", (object(),))
            self.alive.add(verdict)
            self.most_alive = max(self.most_alive, len(self.alive))
            yield verdict, None
            del verdict


def predict_watched(monkeypatch, count, *options):
    detector = WatchedDetector()
    monkeypatch.setattr("dfutils.prediction.detector.load_detector", lambda *_, **__: detector)
    monkeypatch.setattr("dfutils.prediction.outputs.plain_verdict", lambda verdict: {"input": verdict.input})
    monkeypatch.setattr("dfutils.prediction.outputs.verdict_line", lambda verdict: verdict.input)
    inputs = [f"{number}.mp4" for number in range(count)]
    code = cli.main(["predict", *inputs, "--model", "watched", "--fail-on", "FAKE", *options])
    assert code == 3
    return detector.most_alive


@pytest.mark.parametrize("options", [[], ["--json-lines"], ["--csv", "verdicts.csv"]], ids=["text", "lines", "table"])
def test_memory_holds_as_many_verdicts_of_many_inputs_as_of_few(monkeypatch, tmp_path, options):
    monkeypatch.chdir(tmp_path)
    few, many = (predict_watched(monkeypatch, count, *options) for count in (4, 400))
    assert few == many <= 3


def started(*arguments, **options):
    """Start ``dfutils predict`` as a process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "dfutils", "predict", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, **options)


def child_of(pid):
    """Wait for the decoder process of a `started` one.

    A fork that has not become that process yet does not count: stopping it would block its parent.
    """
    while True:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for one in (task / "children").read_text().split():
                if b"dfutils.extraction.child" in Path(f"/proc/{one}/cmdline").read_bytes():
                    return int(one)
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the child in /proc")
def test_an_interrupted_prediction_does_not_wait_for_its_decoder(demo_run, demo_videos):
    process = started(
        *demo_videos[:2],
        "--model",
        demo_run,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.kill(child_of(process.pid), signal.SIGSTOP)  # like a video that never ends
    assert process.stderr.readline().startswith("Detector: ")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.strip() == "dfutils predict: interrupted."


def test_a_closed_stdout_ends_the_command_with_one_line(demo_run, demo_videos, tmp_path):
    read, write = os.pipe()
    os.close(read)
    process = started(
        *demo_videos[:2], "--model", demo_run, "--json-lines", "--csv", tmp_path / "table.csv", stdout=write
    )
    os.close(write)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "dfutils predict: stdout was closed before everything was printed."
    assert not any(tmp_path.iterdir())


VERDICTS = [
    Verdict("a/sure.mp4", 1.0, Label.FAKE, Reason.OK),
    Verdict("b/fair.mp4", 0.25, Label.REAL, Reason.OK),
    Verdict("b/empty.mp4", None, Label.UNDECIDED, Reason.NO_FACE, "no face"),
]


def test_a_submission_is_a_name_and_a_probability(tmp_path):
    rows = write_submission(iter(VERDICTS), tmp_path / "submission.csv")
    text = (tmp_path / "submission.csv").read_text()
    assert text.split() == ["filename,label", "sure.mp4,0.9900", "fair.mp4,0.2500", "empty.mp4,0.5000"]
    assert [row["filename"] for row in rows] == ["sure.mp4", "fair.mp4", "empty.mp4"]


@pytest.mark.parametrize("caution", [-0.1, 0.5])
def test_impossible_caution_is_refused(tmp_path, caution):
    with pytest.raises(ValueError, match="caution"):
        write_submission(VERDICTS, tmp_path / "submission.csv", caution=caution)
