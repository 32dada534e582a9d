"""`dfutils predict`: tables, lines, faces and exit codes."""

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

import dfutils
from dfutils import cli
from dfutils.files import read_csv
from dfutils.prediction.detector import load_detector
from dfutils.prediction.outputs import VERDICT_COLUMNS, write_verdicts
from dfutils.records import Label, Reason, Verdict


@pytest.fixture(scope="module")
def predicted(demo_run, demo_videos, tmp_path_factory):
    """One call with every output: a folder of three files, one of them no video."""
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


def test_lines_are_one_document_a_verdict_in_the_order_of_the_inputs(predicted, demo_run, demo_videos):
    code, lines, _ = predicted
    assert code == 0
    assert [line["input"].rsplit("/", 1)[-1] for line in lines] == ["a face 0.mp4", "a face 1.mp4", "b.mp4"]
    assert [line["reason"] for line in lines][2] == "unreadable"
    alone = load_detector(demo_run).predict(demo_videos[1])
    assert lines[1]["fake_probability"] == pytest.approx(alone.fake_probability, abs=SCORE)
    assert all(set(line["detector"]) == {"name", "version", "sha256"} for line in lines)


def test_the_table_says_what_the_lines_say(predicted):
    _, lines, out = predicted
    rows = read_csv(out / "verdicts.csv", VERDICT_COLUMNS)
    assert [(row["label"], row["reason"]) for row in rows] == [(line["label"], line["reason"]) for line in lines]
    assert rows[2]["fake_probability"] == ""
    assert float(rows[0]["fake_probability"]) == pytest.approx(lines[0]["fake_probability"], rel=1e-5)


def test_the_faces_of_every_person_are_written_and_of_nothing_else(predicted, demo_run):
    _, _, out = predicted
    assert sorted(path.name for path in (out / "faces").iterdir()) == ["0000-a_face_0.mp4", "0001-a_face_1.mp4"]
    crops = sorted((out / "faces" / "0000-a_face_0.mp4" / "person-0").glob("*.png"))
    settings = load_detector(demo_run).settings.extraction
    assert len(crops) == settings.frames
    assert cv2.imread(str(crops[0])).shape == (settings.size, settings.size, 3)


@pytest.mark.parametrize(("label", "code"), [("UNDECIDED", 3), ("FAKE", 0)])
def test_the_exit_code_tells_scripts_what_was_found(demo_run, tmp_path, label, code):
    assert cli.main(["predict", str(tmp_path / "gone.mp4"), "--model", str(demo_run), "--fail-on", label]) == code


class WatchedVerdict(Verdict):
    """A verdict that can be referred to weakly: it has no slots of its own."""

    __hash__ = object.__hash__


class WatchedDetector:
    """Gives a verdict an input and counts those of them that are alive at a time."""

    settings, engine, about = SimpleNamespace(name="watched"), "openvino", {"name": "watched"}

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
    monkeypatch.setattr("dfutils.prediction.wording.verdict_line", lambda verdict: verdict.input)
    inputs = [f"{number}.mp4" for number in range(count)]
    code = cli.main(["predict", *inputs, "--model", "watched", "--fail-on", "FAKE", *options])
    assert code == 3
    return detector.most_alive


@pytest.mark.parametrize("options", [[], ["--json-lines"], ["--csv", "verdicts.csv"]], ids=["text", "lines", "table"])
def test_many_inputs_hold_no_more_verdicts_in_memory_than_few(monkeypatch, tmp_path, options):
    monkeypatch.chdir(tmp_path)
    few, many = (predict_watched(monkeypatch, count, *options) for count in (4, 400))
    assert few == many <= 3


def test_fewer_workers_than_one_are_wrong_use(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["predict", "a.mp4", "--model", "run", "--workers", "0"])
    assert "1 or more" in capsys.readouterr().err


def test_a_table_that_is_interrupted_is_not_written(tmp_path):
    def verdicts():
        yield Verdict("a.mp4", 0.5, Label.REAL, Reason.OK)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_verdicts(tmp_path / "verdicts.csv", verdicts())
    assert not list(tmp_path.iterdir())


def test_the_package_itself_offers_load_detector(demo_run):
    assert dfutils.load_detector(demo_run).settings.name == "inception_mean"
    with pytest.raises(AttributeError, match="load_detektor"):
        dfutils.load_detektor()


def started(*arguments, **options):
    """``dfutils predict`` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "dfutils", "predict", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, **options)


def child_of(pid):
    """The decoding process of a `started` one, once it is there.

    A fork that has not become that process yet does not count: where it is stopped, the one that forked waits for ever.
    """
    while True:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for one in (task / "children").read_text().split():
                if b"dfutils.extraction.child" in Path(f"/proc/{one}/cmdline").read_bytes():
                    return int(one)
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the child as Linux tells it")
def test_an_interrupted_prediction_does_not_wait_for_the_video_that_is_being_decoded(demo_run, demo_videos):
    process = started(
        *demo_videos[:2],
        "--model",
        demo_run,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.kill(child_of(process.pid), signal.SIGSTOP)  # as a video that takes for ever
    assert process.stderr.readline().startswith("Detector: ")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.strip() == "dfutils predict: interrupted."


def test_a_reader_that_goes_away_is_told_as_such(demo_run, demo_videos, tmp_path):
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


def test_a_name_that_is_no_unicode_does_not_end_the_others(demo_run, demo_videos, tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name in (b"a.mp4", b"b\xe9.mp4", b"c.mp4"):
        (inputs / os.fsdecode(name)).symlink_to(demo_videos[0])
    for kind in ([], ["--json"]):
        process = started(inputs, "--model", demo_run, "--csv", tmp_path / "table.csv", *kind, stdout=subprocess.PIPE)
        printed, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    odd = json.loads(printed)["verdicts"][1]
    assert os.fsencode(odd["input"]).endswith(b"b\xe9.mp4")
    assert [row["input"].rsplit("/")[-1] for row in read_csv(tmp_path / "table.csv", VERDICT_COLUMNS)] == [
        "a.mp4", "b\\udce9.mp4", "c.mp4"
    ]  # fmt: skip


def test_two_kinds_of_json_are_not_printed_at_once(demo_run, demo_videos, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", str(demo_videos[0]), "--model", str(demo_run), "--json", "--json-lines"])
    assert end.value.code == 2
    assert "leave one out" in capsys.readouterr().err
