"""The demo's clips: reproducible, equal except for the forgery, and with detectable faces."""

import csv

import av
import cv2
import numpy as np
import pytest

from dfutils.demo.clips import make_demo_videos, write_video
from dfutils.demo.forgery import random_forgery
from dfutils.demo.people import Pose, random_person
from dfutils.demo.rendering import DemoSettings, faceless_frames, render_clip, two_people_frames
from dfutils.errors import DatasetError
from dfutils.extraction.faces import face_detector

SETTINGS = DemoSettings(people=2, seconds=0.5)  # 4 clips of 10 frames, 320 x 240
PERSON, DONOR = (random_person(np.random.default_rng(seed)) for seed in (0, 1))


def stream(seed=5):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return make_demo_videos(tmp_path_factory.mktemp("demo"), settings=SETTINGS, progress=False)


@pytest.fixture(scope="module")
def detector():
    return face_detector(0.6)


def read_rows(labels):
    with labels.open(newline="") as file:
        return list(csv.DictReader(file))


def describe(path):
    with av.open(path) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        context = stream.codec_context
        return (context.name, context.pix_fmt, context.width, context.height, stream.average_rate, frames)


def test_same_seed_gives_the_same_frames():
    first, second = (render_clip(PERSON, donor=DONOR, rng=stream(), settings=SETTINGS) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (10, 240, 320, 3)
    assert first.dtype == np.uint8


def test_another_seed_gives_other_frames():
    first, second = (render_clip(PERSON, donor=None, rng=stream(seed), settings=SETTINGS) for seed in (1, 2))
    assert np.abs(first.astype(int) - second).mean() > 5


def test_a_face_moves_more_at_some_times_than_at_others():
    frames = render_clip(PERSON, donor=None, rng=stream(), settings=DemoSettings(seconds=2)).astype(np.int16)
    motion = np.abs(np.diff(frames[:, 60:170, 110:210], axis=0)).mean(axis=(1, 2, 3))
    assert motion.max() > 2 * motion.min()


def test_a_forgery_changes_the_inner_face_and_nothing_else():
    real = render_clip(PERSON, donor=None, rng=stream(), settings=SETTINGS)
    fake = render_clip(PERSON, donor=DONOR, rng=stream(), settings=SETTINGS)
    difference = np.abs(real.astype(int) - fake).max(axis=3)
    # The head rests at (160, 110) and is 2 x 64 pixels high; the mask reaches 0.64 of that half, the sway 0.3.
    face = np.zeros((240, 320), bool)
    face[110 - 50 : 110 + 80, 160 - 65 : 160 + 65] = True
    assert not difference[:, ~face].any()
    assert (difference[:, face] > 6).mean(axis=1).min() > 0.05


def test_a_forged_face_trembles_while_the_head_rests():
    forgery, jitter = random_forgery(PERSON, DONOR, stream()), stream()
    paints = [forgery.paint(PERSON, Pose(), scale=80, rng=jitter).pixels[60:150, 30:120] for _ in range(6)]
    grays = [cv2.cvtColor(paint, cv2.COLOR_RGB2GRAY) for paint in paints]
    moves = [np.hypot(*cv2.phaseCorrelate(grays[0], gray)[0]) for gray in grays[1:]]
    assert max(moves) > 0.3
    assert max(moves) < 8


def test_labels_list_one_real_and_one_fake_clip_of_each_person(demo):
    assert [tuple(row.values()) for row in read_rows(demo)] == [
        ("videos/person_00_real.mp4", "REAL", "person_00", "demo"),
        ("videos/person_00_fake.mp4", "FAKE", "person_00", "demo"),
        ("videos/person_01_real.mp4", "REAL", "person_01", "demo"),
        ("videos/person_01_fake.mp4", "FAKE", "person_01", "demo"),
    ]
    assert all((demo.parent / row["file"]).is_file() for row in read_rows(demo))


def test_real_and_fake_share_size_rate_length_and_codec(demo):
    described = {describe(demo.parent / row["file"]) for row in read_rows(demo)}
    assert described == {("h264", "yuv420p", 320, 240, 20, 10)}


def test_a_second_call_writes_nothing(demo):
    files = [path for path in demo.parent.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    make_demo_videos(demo.parent, settings=SETTINGS, progress=False)
    assert {path: path.stat().st_mtime_ns for path in demo.parent.rglob("*") if path.is_file()} == before


def test_a_missing_clip_is_made_again_to_the_byte(demo):
    clip = demo.parent / "videos/person_01_fake.mp4"
    before = clip.read_bytes()
    clip.unlink()
    make_demo_videos(demo.parent, settings=SETTINGS, progress=False)
    assert clip.read_bytes() == before


def test_clips_made_with_other_settings_are_not_mixed(demo):
    with pytest.raises(DatasetError, match="seed"):
        make_demo_videos(demo.parent, settings=SETTINGS.model_copy(update={"seed": 8}), progress=False)


class FramesThenPowerCut:
    shape = (20, 32, 32, 3)

    def __iter__(self):
        yield from np.random.default_rng(0).integers(0, 255, self.shape, np.uint8)
        raise RuntimeError("power cut")


def test_an_interrupted_write_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        write_video(tmp_path / "clip.mp4", FramesThenPowerCut(), fps=5, codec="mpeg4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("donor", [None, DONOR], ids=["real", "fake"])
def test_a_face_is_found_in_every_frame(detector, donor):
    frames = render_clip(PERSON, donor=donor, rng=stream(), settings=SETTINGS)
    assert sum(len(detector.detect(frame)) == 1 for frame in frames) == 10


def test_no_face_is_found_in_an_empty_room(detector):
    frames = faceless_frames(rng=stream(), settings=SETTINGS)
    assert not any(detector.detect(frame) for frame in frames)
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.5


def test_two_people_are_two_faces(detector):
    frames = two_people_frames((PERSON, DONOR), rng=stream(), settings=SETTINGS)
    assert sum(len(detector.detect(frame)) == 2 for frame in frames) == 10
