import itertools
import math

import cv2
import numpy as np
import pytest

from dfutils.demo.clips import write_video
from dfutils.errors import NoFaceError, TooFewFacesError, UnreadableError
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.crops import crop_square, fill_positions, framed, square_around
from dfutils.extraction.faces import face_detector
from dfutils.extraction.video import iter_frames
from dfutils.records import Box, Face
from dfutils.settings import ExtractionSettings

SETTINGS = ExtractionSettings(size=96)


@pytest.fixture(scope="module")
def detector():
    return face_detector(SETTINGS.min_detection_score)


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        pytest.param(Box(40, 40, 60, 60), 0.0, (40, 40, 60, 60), id="a square stays"),
        pytest.param(Box(40, 30, 60, 70), 0.0, (30, 30, 70, 70), id="the longer side counts"),
        pytest.param(Box(40, 40, 60, 60), 0.5, (30, 30, 70, 70), id="margin is a fraction of the longer side"),
        pytest.param(Box(40, 40, 60, 60), -0.1, (42, 42, 58, 58), id="a negative margin cuts into the face"),
        pytest.param(Box(0, 0, 20, 20), 0.5, (0, 0, 40, 40), id="moved, not cut, at the edge"),
        pytest.param(Box(90, 90, 110, 110), 0.0, (80, 80, 100, 100), id="moved back from outside"),
        pytest.param(Box(-50, -50, 250, 250), 0.0, (0, 0, 100, 100), id="a face larger than the frame is cut"),
    ],
)
def test_squares_stay_inside_the_frame_and_keep_their_shape(box, margin, expected):
    assert square_around(box, margin=margin, frame_size=(100, 100)) == Box(*expected)


@pytest.mark.parametrize(
    ("times", "wanted", "expected"),
    [
        ([0, 1, 2], 3, [0, 1, 2]),
        ([0], 3, [0, 0, 0]),
        ([0, 10], 4, [0, 0, 1, 1]),
        ([0, 1, 9], 5, [0, 1, 1, 2, 2]),
        ([0, 0.1, 0.2, 10], 5, [0, 1, 2, 3, 3]),
    ],
)
def test_short_tracks_are_filled_by_their_nearest_frames_in_time(times, wanted, expected):
    assert fill_positions(times, wanted) == expected


def test_filling_loses_no_frame_and_keeps_the_order():
    for count in range(1, 11):
        positions = fill_positions(np.sort(np.random.default_rng(count).random(count)).tolist(), 10)
        assert positions == sorted(positions)
        assert set(positions) == set(range(count))


def test_a_clip_has_t_square_crops_of_the_frames_they_name_in_the_order_of_time(demo_videos, detector):
    (clip,) = extract_clips(demo_videos[0], SETTINGS, detector).clips
    assert (clip.images.shape, clip.images.dtype) == ((10, 96, 96, 3), np.uint8)
    times = [crop.time_seconds for crop in clip.crops]
    assert times == sorted(times)
    assert times[-1] - times[0] > 1.4  # of 2 seconds
    frames = {frame.index: frame.image() for frame in iter_frames(demo_videos[0])}
    for crop, image in zip(clip.crops, clip.images, strict=True):
        assert np.array_equal(crop_square(frames[crop.frame_index], crop.square, size=96), image)


def test_a_file_without_a_usable_face_says_what_is_wrong_with_it(demo_videos, detector, tmp_path):
    images = [frame.image() for frame in itertools.islice(iter_frames(demo_videos[0]), 2)]
    empty, far = np.full((2, 480, 640, 3), 90, np.uint8)
    far[200:260, 300:380] = cv2.resize(images[0], (80, 60), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "empty.png"), empty)
    cv2.imwrite(str(tmp_path / "far.png"), far[..., ::-1])
    write_video(tmp_path / "short.mp4", np.stack(images), fps=20)
    with pytest.raises(NoFaceError, match="no face was found"):
        extract_clips(tmp_path / "empty.png", SETTINGS, detector)
    with pytest.raises(NoFaceError, match=r"the only face is smaller than 40% of the frame"):
        extract_clips(tmp_path / "far.png", SETTINGS.model_copy(update={"min_face_fraction": 0.4}), detector)
    with pytest.raises(TooFewFacesError, match="only 2 frames, but 3 are needed"):
        extract_clips(tmp_path / "short.mp4", SETTINGS, detector)


class HeadDetector:
    """Finds the white face only if the image leaves room around it, as real detectors do."""

    def __init__(self, needed):
        self.needed, self.seen = needed, []

    def detect(self, image):
        self.seen.append(image.shape)
        rows, columns = np.nonzero(image[..., 0] == 255)
        if image.shape[1] < (1 + self.needed) * 60:
            return []
        box = Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return [Face(box, 0.9, ((box.left, box.top),) * 5)]


@pytest.mark.parametrize(("needed", "searches"), [(0.0, 2), (0.9, 2), (1.5, 3), (5.0, 3)])
def test_ready_made_crops_are_kept_and_their_landmarks_found_with_a_border_around_them(tmp_path, needed, searches):
    image = np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8)
    image[4:58, 50:80] = 255
    cv2.imwrite(str(tmp_path / "crop.png"), image[..., ::-1])
    heads = HeadDetector(needed)
    (clip,) = extract_clips(tmp_path / "crop.png", ExtractionSettings(size=60, crop="none", margin=-0.2), heads).clips
    (crop,) = clip.crops
    assert (crop.square.left, crop.square.width) == (20, 60)
    assert np.array_equal(clip.images, image[None, :, 20:80])
    assert len(heads.seen) == searches
    assert crop.face is None if needed == 5.0 else crop.face.box == Box(50, 4, 80, 58)
    assert crop.face is None or crop.face.landmarks == ((50, 4),) * 5


def test_a_face_fills_the_part_of_the_crop_that_it_fills_in_published_crops():
    # Eyes at (80, 90) and mouth at (80, 110); YuNet's box as measured on real faces, in shares of its longer side.
    longer_side, below = 56.5, 0.052
    top = 100 - below * longer_side - longer_side / 2
    box = Box(80 - 20, top, 80 + 20, top + longer_side)
    square = square_around(framed(box), margin=0, frame_size=(160, 200))
    assert square.center == pytest.approx((80, 100), abs=1)
    assert 20 / square.width == pytest.approx(0.446, abs=0.01)


class FaceByBrightness:
    """Finds one face, unless the image's corner is black; ``sides`` gives its size by the corner's brightness."""

    def __init__(self, sides):
        self.sides = sides

    def detect(self, image):
        side = self.sides.get(round(image[0, 0].mean() / 20), 0)
        return [Face(Box(80 - side / 2, 60 - side / 2, 80 + side / 2, 60 + side / 2), 0.9)] if side else []


def lossless(path, levels, *, fps=10, body=None):
    """Frame k is gray; its left half has the brightness 20 × levels[k], its right half ``body[k]``."""
    frames = np.full((len(levels), 120, 160, 3), 128, np.uint8)
    for frame, level, bright in zip(frames, levels, body or [128] * len(levels), strict=True):
        frame[:, 80:] = bright
        frame[:20, :20] = 20 * level
    write_video(path, frames, fps=fps)
    return path


def test_the_size_of_crops_does_not_follow_single_detections_and_gaps_are_interpolated(tmp_path):
    path = lossless(tmp_path / "clip.mp4", [3, 3, 4, 3, 0, 3, 5, 3, 3, 3])
    detector = FaceByBrightness({3: 60, 4: 75, 5: 50})
    (clip,) = extract_clips(path, ExtractionSettings(size=96, frames=10), detector).clips
    assert [crop.frame_index for crop in clip.crops] == list(range(10))
    assert {crop.square.width for crop in clip.crops} == {47}  # 0.79 of the median box
    assert [crop.frame_index for crop in clip.crops if math.isnan(crop.face.score)] == [4]


def test_crops_of_a_video_with_many_cuts_come_from_its_main_shot(tmp_path):
    shots = [8, 8, 25, 8]  # frames; the body's brightness jumps at every cut, and the face changes its size
    levels = [3 + number for number, length in enumerate(shots) for _ in range(length)]
    body = [250 * (number % 2) for number, length in enumerate(shots) for _ in range(length)]
    path = lossless(tmp_path / "cuts.mp4", levels, body=body)
    settings = ExtractionSettings(size=96, frames=4, min_face_frames=4)
    (clip,) = extract_clips(path, settings, FaceByBrightness({3: 30, 4: 50, 5: 90, 6: 30})).clips
    assert [16 <= crop.frame_index < 41 for crop in clip.crops] == [True] * 4
    assert len({crop.frame_index for crop in clip.crops}) == 4


def test_every_face_of_a_crowd_is_cut_up_to_a_bound_that_is_told(demo_videos, detector, tmp_path, monkeypatch):
    """25 people, of whom the smallest may be the forged one; then more people than are looked at."""
    head = cv2.resize(next(iter_frames(demo_videos[0])).image(), (240, 180), interpolation=cv2.INTER_AREA)
    settings = SETTINGS.model_copy(update={"tracks": "all", "min_face_fraction": 0.01})
    cv2.imwrite(str(tmp_path / "crowd.png"), np.tile(head, (5, 5, 1))[..., ::-1])
    for bound, expected in ((100, (25, 0)), (20, (20, 5))):
        monkeypatch.setattr("dfutils.extraction.motion.MAX_FACES", bound)
        found = extract_clips(tmp_path / "crowd.png", settings, detector)
        assert (len(found.clips), found.faces_left_out) == expected


def test_a_video_whose_frames_are_all_damaged_says_so(detector, tmp_path):
    path = tmp_path / "blank.mp4"
    write_video(path, np.zeros((5, 48, 64, 3), np.uint8), fps=5)
    content = bytearray(path.read_bytes())
    start, stop = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[start:stop] = bytes(stop - start)  # the index is whole, and so are the times of the frames
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=rf"no frame could be decoded \({len(content):,} bytes\)"):
        extract_clips(path, SETTINGS, detector)
