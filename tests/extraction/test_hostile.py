"""No file, however bad, ends the run, gets lost, or costs more than its limits."""

import os
import resource
import signal
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
from dfutils.extraction.child import MAX_OPEN_FILES
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.extraction.faces import face_detector
from dfutils.extraction.isolation import close_children, extract_clips_safely, start_child
from dfutils.extraction.video import iter_frames
from dfutils.settings import ExtractionSettings, MediaLimits

SETTINGS = ExtractionSettings(size=64, frames=4)


@pytest.fixture(scope="module")
def corpus(demo_videos, tmp_path_factory):
    """The corpus, its expected outcomes, and the summary of the face dataset made from it."""
    images = [frame.image() for frame in iter_frames(demo_videos[1])][:20]
    faceless = list(faceless_frames(rng=np.random.default_rng(0), settings=DemoSettings(seconds=0.5)))
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
    clips = [row.video for row in dataset.rows]
    assert clips == sorted(clips)  # in the order of the catalogue, whichever worker finished first
    for row in dataset.skipped:  # a sentence that names the file, but no folder: it is published
        assert Path(row["video"]).name in row["detail"]
        assert row["detail"].endswith(".")
        assert str(source) not in row["detail"]


def test_oddly_named_turned_and_anamorphic_copies_give_the_same_as_the_plain_video(corpus):
    dataset = read_face_dataset(corpus[2].folder)
    rows = {row.video: row for row in dataset.rows}
    good = rows["real/good.mp4"]
    for copy in ("real/really-mp4.avi", "real/two\nlines.mp4", "real/concat:a.mp4"):
        assert np.array_equal(dataset.load_clip(rows[copy]), dataset.load_clip(good))
    for odd in (rows["real/anamorphic.mp4"], rows["real/turned.mp4"]):
        assert (odd.width, odd.height) == (good.width, good.height)
    assert (good.frames, rows["real/photo.png"].frames) == (4, 1)


@pytest.fixture
def fresh_children():
    """No child is left by other tests, or for them."""
    close_children()
    yield
    close_children()


def limited(**limits):
    return SETTINGS.model_copy(update={"limits": MediaLimits(**limits)})


def test_one_child_serves_file_after_file_like_this_process_and_ends_with_it(demo_videos, fresh_children):
    start_child()
    start_child()  # does nothing: one is idle
    (child,) = isolation._idle
    there = extract_clips_safely(demo_videos[0], SETTINGS)
    here = extract_clips(demo_videos[0], SETTINGS, face_detector(SETTINGS.min_detection_score))
    assert np.array_equal(here.clips[0].images, there.clips[0].images)
    assert repr(here.clips[0].crops) == repr(there.clips[0].crops)  # by repr, since scores may be NaN
    assert (here.info, here.trace) == (there.info, there.trace)
    extract_clips_safely(demo_videos[1], SETTINGS)
    assert isolation._idle == [child]
    kinds = (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)  # it writes no files
    assert [resource.prlimit(child._process.pid, kind)[0] for kind in kinds] == [0, 0, MAX_OPEN_FILES]
    child._process.stdin.close()  # what the parent's end does
    assert child._process.wait(10) == 0


def test_a_relative_path_is_relative_to_the_caller_and_stays_so_in_messages(demo_videos, tmp_path, monkeypatch):
    extract_clips_safely(demo_videos[0], SETTINGS)  # starts a child in another folder
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes(b"text")
    with pytest.raises(UnreadableError, match=r"^a\.mp4: cannot be read as a video"):
        extract_clips_safely(Path("a.mp4"), SETTINGS)


def test_a_file_that_takes_or_computes_too_long_is_refused_in_time(tmp_path, fresh_children):
    """80 frames of 640 × 480 without a face, so that three are searched in vain for each of 64 crops."""
    write_video(tmp_path / "empty.mp4", np.zeros((80, 480, 640, 3), np.uint8), fps=4)
    started = time.monotonic()
    with pytest.raises(TooLargeError, match=r"took more than 0\.2 s"):
        extract_clips_safely(tmp_path / "empty.mp4", limited(wall_seconds=0.2))
    assert time.monotonic() - started < 5
    with pytest.raises(TooLargeError, match="took more than 1 s of CPU time"):
        extract_clips_safely(tmp_path / "empty.mp4", limited(cpu_seconds=1).model_copy(update={"frames": 64}))


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path, fresh_children):
    (tmp_path / "large.png").write_bytes(png(12_000, 12_000, rows=bytes(12_001 * 12_000)))
    settings = limited(memory_megabytes=256).model_copy(update={"max_pixels": 10**9})
    with pytest.raises(MediaError, match="memory|decoded"):
        extract_clips_safely(tmp_path / "large.png", settings)


def test_a_file_whose_child_dies_is_tried_once_more_and_one_that_kills_both_is_refused_alone(
    demo_videos, fresh_children, monkeypatch
):
    ask, signals = isolation._Child.ask, [signal.SIGKILL]

    def die(child, request, wall_seconds):
        if signals:
            os.kill(child._process.pid, signals.pop())
        return ask(child, request, wall_seconds)

    monkeypatch.setattr(isolation._Child, "ask", die)
    assert len(extract_clips_safely(demo_videos[0], SETTINGS).clips) == 1
    assert not signals
    signals += [signal.SIGSEGV] * 2
    with pytest.raises(UnreadableError, match=r"crashed twice \(SIGSEGV\)"):
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


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"3"],
        [b"["],
        [b"[" * 100_000],
        [b'{"info": {}}', b"", b"", b""],
        [b'{"error": "RunError", "message": "stop"}'],
    ],
)
def test_a_senseless_answer_costs_one_file_and_not_the_batch(demo_videos, monkeypatch, parts):
    monkeypatch.setattr(isolation, "_ask", lambda *_: parts)
    with pytest.raises(UnreadableError):
        extract_clips_safely(demo_videos[0], SETTINGS)


def test_a_child_that_timed_out_while_it_answered_or_of_another_environment_is_not_reused(
    demo_videos, fresh_children, monkeypatch
):
    start_child()
    (late,) = isolation._idle
    late.time_out()
    extract_clips_safely(demo_videos[0], SETTINGS)
    (other,) = isolation._idle
    assert other is not late
    monkeypatch.setenv("DFUTILS_WEIGHTS", "elsewhere")
    extract_clips_safely(demo_videos[0], SETTINGS)
    (last,) = isolation._idle
    assert last is not other
    assert other._process.returncode is not None
    close_children()  # ends every child at once
    assert last._process.returncode == -signal.SIGKILL


def test_a_file_whose_child_is_closed_is_not_tried_again(demo_videos, fresh_children, monkeypatch):
    asked = []

    def close_all(child, *_):
        asked.append(1)
        close_children()
        child.kill()  # as `ask` does, which this replaces
        raise isolation._ChildEndedError(-signal.SIGKILL, is_late=False, is_closed=True, was_ready=True)

    monkeypatch.setattr(isolation._Child, "ask", close_all)
    with pytest.raises(isolation._ClosedError):
        extract_clips_safely(demo_videos[0], SETTINGS)
    assert len(asked) == 1
