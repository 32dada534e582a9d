"""Probing and decoding agree on an ordinary video, and limits and broken files are errors that say what to do."""

import gc

import av
import cv2
import numpy as np
import pytest

from dfutils.demo.clips import write_video
from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction.video import iter_frames, probe_video
from dfutils.settings import ExtractionSettings, MediaLimits

SETTINGS = ExtractionSettings()


@pytest.fixture
def clip(tmp_path):
    """Thirty frames at 10 per second: frame k is gray of brightness 4k."""
    write_video(tmp_path / "clip.mp4", np.stack([np.full((48, 64, 3), 4 * k, np.uint8) for k in range(30)]), fps=10)
    return tmp_path / "clip.mp4"


def test_frames_come_in_order_with_the_streams_times_in_any_size(clip):
    frames = list(iter_frames(clip))
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.time_seconds for frame in frames] == pytest.approx([k / 10 for k in range(30)])
    assert [frame.image().mean() for frame in frames] == pytest.approx([4 * k for k in range(30)], abs=4)
    assert frames[0].image(longest_side=32).shape == (24, 32, 3)
    assert frames[0].image(longest_side=999).shape == (48, 64, 3)


def test_luma_is_the_brightness_of_the_image(demo_videos):
    frame = next(iter_frames(demo_videos[0]))
    gray = cv2.cvtColor(frame.image(), cv2.COLOR_RGB2GRAY).astype(float)
    # The stored plane has the video range 16..235.
    assert np.abs((frame.luma().astype(float) - 16) * 255 / 219 - gray).mean() < 2


def test_few_frames_wait_for_the_garbage_collector(tmp_path):
    path = tmp_path / "keyframes.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 1
        for _ in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        container.mux(stream.encode())
    gc.collect()
    gc.freeze()  # what other tests have left is not looked through for every frame
    gc.disable()
    try:
        kept = [sum(isinstance(one, av.VideoFrame) for one in gc.get_objects()) for _ in iter_frames(path)]
    finally:
        gc.enable()
        gc.unfreeze()
    assert len(kept) == 30
    assert max(kept) < 12  # reading the side data of a frame puts it into a reference cycle of PyAV's


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_pixels": 64 * 48 - 1}, "64 × 48 pixels are more than the limit of 3,071"),
        ({"max_seconds": 2.0}, "is longer than 2 s"),
        ({"limits": MediaLimits(frames=29)}, r"has more than 29 frames\. Cut it, or raise limits\.frames"),
    ],
    ids=["pixels", "seconds", "frames"],
)
def test_limits_are_kept(clip, limits, message):
    with pytest.raises(TooLargeError, match=rf"clip\.mp4: {message}"):
        probe_video(clip, SETTINGS.model_copy(update=limits))


@pytest.mark.parametrize(
    ("name", "kept", "message"),
    [
        ("cut.mp4", 4000, r"cannot be read as a video \(4,000 bytes; Invalid .*\)\. The download may be cut short"),
        ("cut.mkv", 600, r"the video stream is empty\. The download may be cut short; skip the file"),
    ],
    ids=["before the index", "after the header"],
)
def test_a_video_that_is_cut_off_too_early_is_refused(tmp_path, name, kept, message):
    write_video(tmp_path / name, np.random.default_rng(0).integers(0, 255, (10, 48, 64, 3), np.uint8), fps=10)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:kept])
    with pytest.raises(UnreadableError, match=rf"{name}: {message}"):
        probe_video(tmp_path / name, SETTINGS)
