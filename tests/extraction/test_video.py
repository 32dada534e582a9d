import gc
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hostile_corpus import turn

from dfutils.demo.clips import write_video
from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction.video import iter_frames, probe_video
from dfutils.settings import ExtractionSettings, MediaLimits

SETTINGS = ExtractionSettings()


def numbered_frames(count=30, width=64, height=48):
    """Frame k is gray of brightness 4k, with a white top-left corner."""
    frames = np.stack([np.full((height, width, 3), 4 * k, np.uint8) for k in range(count)])
    frames[:, : height // 4, : width // 4] = 255
    return frames


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4")


def write_clip(path, **kwargs):
    write_video(path, numbered_frames(**kwargs), fps=10)
    return path


def write_at_times(path, times_ms):
    """Write a video with a variable frame rate: frame k is at times_ms[k]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(times_ms, numbered_frames(len(times_ms)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_frames_come_in_order_with_the_streams_times(clip):
    frames = list(iter_frames(clip))
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.time_seconds for frame in frames] == pytest.approx([k / 10 for k in range(30)])
    brightness = [float(frame.image()[-1, -1].mean()) for frame in frames]
    assert brightness == pytest.approx([4 * k for k in range(30)], abs=4)


def test_probing_gives_the_times_that_decoding_gives(tmp_path):
    path = write_at_times(tmp_path / "vfr.mp4", [0, 10, 400, 410, 1000, 1700])
    info = probe_video(path, SETTINGS)
    assert info.times_seconds == pytest.approx([0, 0.01, 0.4, 0.41, 1.0, 1.7])
    assert [frame.time_seconds for frame in iter_frames(path)] == pytest.approx(info.times_seconds)


def test_few_frames_wait_for_the_garbage_collector(tmp_path):
    path = tmp_path / "keyframes.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 1
        for image in numbered_frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    gc.collect()
    gc.disable()
    try:
        kept = [sum(isinstance(one, av.VideoFrame) for one in gc.get_objects()) for _ in iter_frames(path)]
    finally:
        gc.enable()
    assert len(kept) == 30
    assert max(kept) < 12  # reading the side data of a frame puts it into a reference cycle of PyAV's


def test_luma_is_the_brightness_of_the_image(clip):
    frame = list(iter_frames(clip))[20]
    gray = cv2.cvtColor(frame.image(), cv2.COLOR_RGB2GRAY).astype(float)
    # The stored plane has the video range 16..235.
    assert np.abs((frame.luma().astype(float) - 16) * 255 / 219 - gray).mean() < 2


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_rotated_phone_video_comes_upright(tmp_path, degrees, corner):
    path = write_clip(tmp_path / "phone.mp4", count=5)
    turn(path, degrees)
    frame = next(iter_frames(path))
    image = frame.image()
    assert image.shape == ((48, 64, 3) if degrees == 180 else (64, 48, 3))
    bright = {place: image[place].mean() > 128 for place in [(0, 0), (0, -1), (-1, 0), (-1, -1)]}
    assert [place for place, is_bright in bright.items() if is_bright] == [corner]
    assert frame.luma().shape == image.shape[:2]


def test_a_smaller_image_keeps_its_aspect(clip):
    assert next(iter_frames(clip)).image(longest_side=32).shape == (24, 32, 3)
    assert next(iter_frames(clip)).image(longest_side=999).shape == (48, 64, 3)


def test_a_truncated_video_gives_the_frames_that_are_there(tmp_path):
    path = tmp_path / "clip.mkv"  # Matroska has no index at the end that a cut would remove
    rng = np.random.default_rng(0)
    write_video(path, rng.integers(0, 255, (60, 48, 64, 3), np.uint8), fps=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 10 < len(list(iter_frames(path))) < 60


def test_a_file_with_sound_only_is_refused(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnreadableError, match="no video stream"):
        probe_video(path, SETTINGS)


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


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(UnreadableError, match="is empty"):
        probe_video(tmp_path / "empty.mp4", SETTINGS)


@pytest.mark.parametrize(
    ("whole", "kept", "message"),
    [
        (
            "cut.mp4",
            4000,
            r"cannot be read as a video \(4,000 bytes; Invalid data found .*\)\. The download may be cut short",
        ),
        ("cut.mkv", 600, r"the video stream is empty\. The download may be cut short; skip the file"),
    ],
    ids=["before the index", "after the header"],
)
def test_a_video_that_is_cut_off_too_early_is_refused(tmp_path, whole, kept, message):
    path = tmp_path / whole
    write_video(path, np.random.default_rng(0).integers(0, 255, (10, 48, 64, 3), np.uint8), fps=10)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnreadableError, match=rf"{whole}: {message}"):
        probe_video(path, SETTINGS)
