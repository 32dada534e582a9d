import math

import cv2
import numpy as np
import pytest

from dfutils.demo.clips import write_video
from dfutils.demo.people import random_person
from dfutils.demo.rendering import DemoSettings, faceless_frames, two_people_frames
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


def test_resizing_never_stretches_a_face():
    image = np.zeros((100, 200, 3), np.uint8)
    cv2.circle(image, (20, 50), 15, (255, 255, 255), -1)
    crop = crop_square(image, square_around(Box(5, 30, 35, 70), margin=0.1, frame_size=(200, 100)), size=96)
    rows, columns = np.nonzero(crop[..., 0] > 128)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)


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


@pytest.mark.parametrize("count", range(1, 11))
def test_filling_loses_no_frame_and_keeps_the_order(count):
    times = np.sort(np.random.default_rng(count).random(count)).tolist()
    positions = fill_positions(times, 10)
    assert positions == sorted(positions)
    assert set(positions) == set(range(count))


def test_a_clip_has_t_square_crops_in_the_order_of_time(demo_videos, detector):
    (clip,) = extract_clips(demo_videos[0], SETTINGS, detector).clips
    assert clip.images.shape == (10, 96, 96, 3)
    assert clip.images.dtype == np.uint8
    times = [crop.time_seconds for crop in clip.crops]
    assert times == sorted(times)
    assert times[-1] - times[0] > 1.4  # of 2 seconds


def test_crops_are_cut_from_the_frames_they_name(demo_videos, detector):
    (clip,) = extract_clips(demo_videos[0], SETTINGS, detector).clips
    frames = {frame.index: frame.image() for frame in iter_frames(demo_videos[0])}
    for crop, image in zip(clip.crops, clip.images, strict=True):
        assert np.array_equal(crop_square(frames[crop.frame_index], crop.square, size=96), image)


def test_a_still_image_is_a_clip_of_one_frame(demo_videos, detector, tmp_path):
    frame = next(iter_frames(demo_videos[0])).image()
    cv2.imwrite(str(tmp_path / "photo.png"), frame[..., ::-1])
    (clip,) = extract_clips(tmp_path / "photo.png", SETTINGS, detector).clips
    assert clip.images.shape == (1, 96, 96, 3)


def test_a_video_without_a_face_says_so(detector, tmp_path):
    frames = faceless_frames(rng=np.random.default_rng(0), settings=DemoSettings(seconds=1.0))
    write_video(tmp_path / "room.mp4", frames, fps=20)
    with pytest.raises(NoFaceError):
        extract_clips(tmp_path / "room.mp4", SETTINGS, detector)


def test_faces_that_are_too_small_are_not_called_missing(demo_videos, detector, tmp_path):
    frames = [frame.image() for frame in iter_frames(demo_videos[0])][:5]
    small = []
    for image in frames:
        canvas = np.full((480, 640, 3), 90, np.uint8)
        canvas[200:260, 300:380] = cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA)
        small.append(canvas)
    path = tmp_path / "far.mp4"
    write_video(path, np.stack(small), fps=5)
    settings = SETTINGS.model_copy(update={"min_face_fraction": 0.4})
    with pytest.raises(NoFaceError, match=r"the only face is smaller than 40% of the frame"):
        extract_clips(path, settings, detector)


def test_a_face_in_too_few_frames_says_how_many_are_needed(demo_videos, detector, tmp_path):
    images = [frame.image() for frame in iter_frames(demo_videos[0])][:2]
    write_video(tmp_path / "short.mp4", np.stack(images), fps=20)
    with pytest.raises(TooFewFacesError, match="only 2 frames, but 3 are needed"):
        extract_clips(tmp_path / "short.mp4", SETTINGS, detector)


def test_tracks_all_gives_every_person_a_clip(detector, tmp_path):
    rng = np.random.default_rng(3)
    people = (random_person(rng), random_person(rng))
    write_video(tmp_path / "two.mp4", two_people_frames(people, rng=rng, settings=DemoSettings(seconds=2.0)), fps=20)
    everyone = extract_clips(tmp_path / "two.mp4", SETTINGS.model_copy(update={"tracks": "all"}), detector).clips
    assert [clip.track for clip in everyone] == [0, 1]
    sides = [clip.crops[0].square.center[0] < 160 for clip in everyone]
    assert sorted(sides) == [False, True]
    assert len(extract_clips(tmp_path / "two.mp4", SETTINGS, detector).clips) == 1


def test_ready_made_crops_are_kept_as_they_are(detector, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "crop.png"), image[..., ::-1])
    settings = ExtractionSettings(size=60, crop="none")
    (clip,) = extract_clips(tmp_path / "crop.png", settings, detector).clips
    assert np.array_equal(clip.images[0], image)
    assert clip.crops[0].face is None


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
def test_landmarks_of_ready_made_crops_are_found_with_a_border_around_them(tmp_path, needed, searches):
    image = np.zeros((60, 100, 3), np.uint8)
    image[4:58, 50:80] = 255
    cv2.imwrite(str(tmp_path / "crop.png"), image)
    heads = HeadDetector(needed)
    (clip,) = extract_clips(tmp_path / "crop.png", ExtractionSettings(size=60, crop="none", margin=-0.2), heads).clips
    (crop,) = clip.crops
    assert (crop.square.left, crop.square.width, clip.images.shape) == (20, 60, (1, 60, 60, 3))
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


def test_the_size_of_crops_does_not_follow_single_detections(tmp_path):
    path = lossless(tmp_path / "clip.mp4", [3, 3, 4, 3, 3, 3, 5, 3, 3, 3])
    detector = FaceByBrightness({3: 60, 4: 75, 5: 50})
    (clip,) = extract_clips(path, ExtractionSettings(size=96, frames=10), detector).clips
    assert {crop.square.width for crop in clip.crops} == {47}  # 0.79 of the median box


def test_a_frame_without_a_face_between_two_with_one_gets_an_interpolated_crop(tmp_path):
    path = lossless(tmp_path / "clip.mp4", [3, 3, 3, 0, 3, 3])
    (clip,) = extract_clips(path, ExtractionSettings(size=96, frames=6), FaceByBrightness({3: 60})).clips
    assert [crop.frame_index for crop in clip.crops] == list(range(6))
    assert [math.isnan(crop.face.score) for crop in clip.crops] == [False, False, False, True, False, False]


def test_crops_of_a_video_with_many_cuts_come_from_its_main_shot(tmp_path):
    shots = [8, 8, 25, 8]  # frames; the body's brightness jumps at every cut, and the face changes its size
    levels = [3 + number for number, length in enumerate(shots) for _ in range(length)]
    body = [250 * (number % 2) for number, length in enumerate(shots) for _ in range(length)]
    path = lossless(tmp_path / "cuts.mp4", levels, body=body)
    settings = ExtractionSettings(size=96, frames=4, min_face_frames=4)
    (clip,) = extract_clips(path, settings, FaceByBrightness({3: 30, 4: 50, 5: 90, 6: 30})).clips
    assert [16 <= crop.frame_index < 41 for crop in clip.crops] == [True] * 4
    assert len({crop.frame_index for crop in clip.crops}) == 4


def test_every_face_of_a_crowd_is_cut_up_to_a_bound_that_is_told(demo_videos, tmp_path, monkeypatch):
    """25 people, of whom the smallest may be the forged one; then more people than are looked at."""
    detector = face_detector(SETTINGS.min_detection_score)
    head = cv2.resize(next(iter_frames(demo_videos[0])).image(), (240, 180), interpolation=cv2.INTER_AREA)
    settings = SETTINGS.model_copy(update={"tracks": "all", "min_face_fraction": 0.01})

    def crowd(rows, columns):
        path = tmp_path / f"{rows}-{columns}.png"
        cv2.imwrite(str(path), np.tile(head, (rows, columns, 1))[..., ::-1])
        return extract_clips(path, settings, detector)

    whole = crowd(5, 5)
    assert (len(whole.clips), whole.faces_left_out) == (25, 0)
    monkeypatch.setattr("dfutils.extraction.motion.MAX_FACES", 20)
    part = crowd(5, 5)
    assert (len(part.clips), part.faces_left_out) == (20, 5)


def test_a_video_whose_frames_are_all_damaged_says_so(detector, tmp_path):
    path = tmp_path / "blank.mp4"
    write_video(path, np.zeros((5, 48, 64, 3), np.uint8), fps=5)
    content = bytearray(path.read_bytes())
    start, stop = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[start:stop] = bytes(stop - start)  # the index is whole, and so are the times of the frames
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=rf"no frame could be decoded \({len(content):,} bytes\)"):
        extract_clips(path, SETTINGS, detector)
