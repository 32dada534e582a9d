"""No file, however bad, ends the run, gets lost, or costs more than its limits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hostile_corpus import make_corpus, png

from dfutils.demo.clips import write_video
from dfutils.demo.rendering import DemoSettings, faceless_frames
from dfutils.errors import DecoderError, MediaError, TooLargeError, UnreadableError
from dfutils.extraction import isolation
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.extraction.faces import face_detector
from dfutils.extraction.isolation import close_children, extract_clips_safely
from dfutils.extraction.messages import pack_extraction, unpack_extraction
from dfutils.extraction.video import iter_frames
from dfutils.settings import ExtractionSettings, MediaLimits

SETTINGS = ExtractionSettings(size=64, frames=4)


@pytest.fixture(scope="module")
def corpus(demo_videos, tmp_path_factory):
    """The corpus, its expected outcomes, and the summary of the face dataset made from it."""
    images = [frame.image() for frame in iter_frames(demo_videos[1])]
    faceless = list(faceless_frames(rng=np.random.default_rng(0), settings=DemoSettings(seconds=1)))
    source, faces = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("faces")
    outcomes = make_corpus(source, images, faceless)
    return (
        source,
        outcomes,
        extract_dataset(read_catalogue(source), faces, settings=SETTINGS, workers=2, progress=False),
    )


def test_every_file_of_the_corpus_is_in_the_manifest_or_skipped_for_its_reason(corpus):
    source, expected, summary = corpus
    assert len(expected) >= 40
    dataset = read_face_dataset(summary.folder)
    outcomes = [(row["video"], row["reason"]) for row in dataset.skipped] + [(row.video, "ok") for row in dataset.rows]
    assert sorted(name for name, _ in outcomes) == sorted(video.name for video in read_catalogue(source).videos)
    found = dict(outcomes)
    assert {name: found.get(name) for name in expected if found.get(name) not in expected[name]} == {}
    assert summary.videos == len(outcomes) == summary.extracted + sum(summary.skipped.values())
    assert summary.skipped["no_face"] == 1
    assert summary.clips == len(dataset.rows)


def test_details_are_sentences_that_name_the_file_and_no_folder(corpus):
    source, _, summary = corpus
    for row in read_face_dataset(summary.folder).skipped:
        assert Path(row["video"]).name in row["detail"]
        assert row["detail"].endswith(".")
        assert str(source) not in row["detail"]  # it is published


def test_an_oddly_named_copy_gives_the_same_crops(corpus):
    dataset = read_face_dataset(corpus[2].folder)
    clips = {row.video: dataset.load_clip(row) for row in dataset.rows}
    for copy in ("real/really-mp4.avi", "real/two\nlines.mp4", "real/concat:a.mp4"):
        assert np.array_equal(clips[copy], clips["real/good.mp4"])


@pytest.mark.parametrize("name", ["anamorphic.mp4", "turned-90.mp4", "turned-180.mp4", "turned-270.mp4"])
def test_turned_and_anamorphic_videos_have_their_upright_size(corpus, name):
    rows = {row.video: row for row in read_face_dataset(corpus[2].folder).rows}
    good, odd = rows["real/good.mp4"], rows[f"real/{name}"]
    assert (odd.width, odd.height) == (good.width, good.height)


@pytest.fixture
def fresh_children():
    """No child is left by other tests, or for them."""
    close_children()
    yield
    close_children()


@pytest.fixture(scope="module")
def noisy_video(tmp_path_factory):
    """80 frames of noise at 640 × 480: seconds of decoding and searching."""
    path = tmp_path_factory.mktemp("noise") / "noise.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (80, 480, 640, 3), np.uint8), fps=4)
    return path


def limited(**limits):
    return SETTINGS.model_copy(update={"limits": MediaLimits(**limits)})


def test_a_child_gives_the_same_as_this_process(demo_videos):
    here = extract_clips(demo_videos[0], SETTINGS, face_detector(SETTINGS.min_detection_score))
    there = extract_clips_safely(demo_videos[0], SETTINGS)
    assert np.array_equal(here.clips[0].images, there.clips[0].images)
    assert repr(here.clips[0].crops) == repr(there.clips[0].crops)  # by repr, since scores may be NaN
    assert (here.info, here.trace) == (there.info, there.trace)


def test_one_child_serves_many_files(demo_videos, fresh_children):
    pids = set()
    for video in demo_videos[:3]:
        extract_clips_safely(video, SETTINGS)
        pids |= {child._process.pid for child in isolation._idle}
    assert len(pids) == 1


def test_a_child_started_ahead_serves_the_first_file(demo_videos, fresh_children):
    isolation.start_child()
    isolation.start_child()  # does nothing: one is idle
    (ahead,) = isolation._idle
    extract_clips_safely(demo_videos[0], ExtractionSettings())
    assert isolation._idle == [ahead]


def test_a_relative_path_is_relative_to_the_caller_and_stays_so_in_messages(demo_videos, tmp_path, monkeypatch):
    extract_clips_safely(demo_videos[0], SETTINGS)  # starts a child in another folder
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes(b"text")
    with pytest.raises(UnreadableError, match=r"^a\.mp4: cannot be read as a video"):
        extract_clips_safely(Path("a.mp4"), SETTINGS)


def test_a_file_that_takes_too_long_is_refused_in_time(noisy_video, fresh_children):
    started = time.monotonic()
    with pytest.raises(TooLargeError, match=r"took more than 0\.2 s"):
        extract_clips_safely(noisy_video, limited(wall_seconds=0.2))
    assert time.monotonic() - started < 5


def test_a_file_that_computes_too_long_is_refused(noisy_video, fresh_children):
    with pytest.raises(TooLargeError, match="took more than 1 s of CPU time"):
        extract_clips_safely(
            noisy_video, limited(cpu_seconds=1).model_copy(update={"frames": 64, "min_face_frames": 1})
        )


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path, fresh_children):
    (tmp_path / "large.png").write_bytes(png(12_000, 12_000, rows=bytes(12_001 * 12_000)))
    settings = limited(memory_megabytes=256).model_copy(update={"max_pixels": 10**9})
    with pytest.raises(MediaError, match="memory|decoded"):
        extract_clips_safely(tmp_path / "large.png", settings)


def test_too_many_frames_are_refused(demo_videos):
    with pytest.raises(TooLargeError, match="more than 5 frames"):
        extract_clips_safely(demo_videos[0], limited(frames=5))


def test_a_file_whose_child_was_killed_is_tried_once_more(demo_videos, fresh_children, monkeypatch):
    victims = []
    ask = isolation._Child.ask

    def kill_the_first(child, request, wall_seconds):
        if not victims:
            victims.append(child._process.pid)
            os.kill(child._process.pid, signal.SIGKILL)
        return ask(child, request, wall_seconds)

    monkeypatch.setattr(isolation._Child, "ask", kill_the_first)
    assert len(extract_clips_safely(demo_videos[0], SETTINGS).clips) == 1
    assert victims


def test_a_file_that_kills_every_child_is_refused_and_the_next_one_is_not(demo_videos, fresh_children, monkeypatch):
    ask = isolation._Child.ask

    def crash(child, request, wall_seconds):
        os.kill(child._process.pid, signal.SIGSEGV)
        return ask(child, request, wall_seconds)

    with monkeypatch.context() as patched:
        patched.setattr(isolation._Child, "ask", crash)
        with pytest.raises(UnreadableError, match="crashed twice \\(SIGSEGV\\)"):
            extract_clips_safely(demo_videos[0], SETTINGS)
    assert len(extract_clips_safely(demo_videos[0], SETTINGS).clips) == 1


def test_a_child_that_does_not_start_is_no_fault_of_the_file(demo_videos, fresh_children, monkeypatch):
    program = "import sys; sys.exit('ImportError: libavcodec.so: cannot open shared object file')"
    monkeypatch.setattr(isolation, "COMMAND", [sys.executable, "-c", program])
    with pytest.raises(
        DecoderError, match=r"does not start \(ImportError: libavcodec\.so: .*\)\. Install the package again"
    ):
        extract_clips_safely(demo_videos[0], SETTINGS)
    assert isolation._idle == []


def test_a_child_ends_with_its_parent(demo_videos, fresh_children):
    extract_clips_safely(demo_videos[0], SETTINGS)
    (child,) = isolation._idle
    child._process.stdin.close()  # what the parent's end does
    assert child._process.wait(10) == 0


def test_a_child_cannot_write_files(tmp_path):
    program = (
        "from pathlib import Path; from dfutils.extraction.child import set_limits;"
        "from dfutils.settings import MediaLimits; set_limits(MediaLimits());"
        f"Path({str(tmp_path / 'out')!r}).write_bytes(b'x')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr


def test_an_answer_is_data_and_never_code(demo_videos):
    parts = pack_extraction(extract_clips(demo_videos[0], SETTINGS, face_detector(SETTINGS.min_detection_score)))
    assert parts[0].startswith(b"{")
    with pytest.raises(ValueError, match="damaged"):
        unpack_extraction([b'{"info": {}}', *parts[1:]])


@pytest.mark.parametrize("parts", [[], [b"3"], [b"["], [b"[" * 100_000], [b'{"error": "RunError", "message": "stop"}']])
def test_a_senseless_answer_costs_one_file_and_not_the_batch(demo_videos, fresh_children, monkeypatch, parts):
    monkeypatch.setattr(isolation._Child, "ask", lambda *_: parts)
    with pytest.raises(UnreadableError):
        extract_clips_safely(demo_videos[0], SETTINGS)


def test_a_child_that_timed_out_while_it_answered_is_not_reused(demo_videos, fresh_children):
    extract_clips_safely(demo_videos[0], SETTINGS)
    (child,) = isolation._idle
    child.time_out()
    extract_clips_safely(demo_videos[0], SETTINGS)
    assert child not in isolation._idle


def test_a_file_whose_child_is_closed_is_not_tried_again(demo_videos, fresh_children, monkeypatch):
    asked = []

    def close_all(child, *_):
        asked.append(1)
        close_children()
        child.kill()  # as `ask` does, which this replaces
        raise isolation._ChildEndedError(-signal.SIGKILL, is_late=False, is_closed=True, was_ready=True)

    monkeypatch.setattr(isolation._Child, "ask", close_all)
    with pytest.raises(UnreadableError):
        extract_clips_safely(demo_videos[0], SETTINGS)
    assert len(asked) == 1


def test_closing_ends_every_child_at_once(demo_videos, fresh_children):
    extract_clips_safely(demo_videos[0], SETTINGS)
    (process,) = [child._process for child in isolation._idle]
    close_children()
    assert process.returncode == -signal.SIGKILL


def test_a_child_of_another_environment_is_not_used(demo_videos, fresh_children, monkeypatch):
    extract_clips_safely(demo_videos[0], SETTINGS)
    (before,) = [child._process for child in isolation._idle]
    monkeypatch.setenv("DFUTILS_WEIGHTS", "elsewhere")
    extract_clips_safely(demo_videos[0], SETTINGS)
    assert before.returncode is not None
