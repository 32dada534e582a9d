import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dfutils.extraction.frames import Frame
from dfutils.extraction.motion import CUT_DIFFERENCE, GRID_SECONDS, MotionMeter, scan_frames
from dfutils.records import Box, Face, MotionTrace, VideoInfo
from dfutils.settings import ExtractionSettings


class FaceEverywhere:
    """Finds one face in every image whose top-left pixel is not black."""

    def __init__(self, box=Box(8, 8, 24, 24)):
        self.box = box
        self.searches = 0

    def detect(self, image):
        self.searches += 1
        return [] if image[0, 0, 0] == 0 else [Face(self.box, 0.9)]


def make_frames(levels, *, fps=10):
    """Gray frames; frame k is as bright as levels[k] and differs from the one before by their difference."""
    return [Frame(k, k / fps, np.full((32, 32, 3), level, np.uint8)) for k, level in enumerate(levels)]


def info_of(frames, fps=10):
    times = tuple(frame.time_seconds for frame in frames)
    return VideoInfo(32, 32, fps, len(frames) / fps, times, 1000)


def chosen(clip, detector=None, *, info=None, trace=None, **settings):
    """Indices of the chosen frames that show a face."""
    searcher = detector or FaceEverywhere()
    scan = scan_frames(clip, info or info_of(clip), ExtractionSettings(**settings), searcher, trace)
    return [candidate.frame.index for candidate in scan.candidates if candidate.detections]


def test_the_most_moving_frame_of_each_segment_is_chosen():
    levels = [100] * 40
    levels[7:] = [104] * 33  # the only motion of segment 0 happens at frame 7, and so on
    levels[13:] = [109] * 27
    levels[29:] = [104] * 11
    levels[30:] = [112] * 10
    assert chosen(make_frames(levels), frames=4) == [7, 13, 29, 30]


def motion_between(before, after, region=None):
    meter = MotionMeter()
    meter.measure(Frame(0, 0, before), None)
    return meter.measure(Frame(1, 0.1, after), region)[0]


def test_motion_is_normalised_per_pixel_and_measured_on_the_face_where_one_is_known():
    for size in (32, 64):
        before, after = (np.full((size, size, 3), level, np.uint8) for level in (100, 110))
        assert motion_between(before, after) == pytest.approx(10 / 255, abs=1e-3)
    after = before.copy()
    after[20:, 20:] = 120  # moves outside the face
    assert motion_between(before, after, Box(0, 0, 12, 12)) == 0
    assert motion_between(before, after) > 0


def test_a_shot_cut_is_not_motion():
    levels = [100] * 20
    levels[4:] = [103] * 16
    levels[8:] = [103 + math.ceil(255 * CUT_DIFFERENCE) + 2] * 12
    trace = MotionTrace()
    frames = make_frames(levels)
    assert chosen(frames, trace=trace, frames=2)[0] == 4
    assert trace.cuts == [8]
    assert trace.motion[8] == 0


def test_a_frame_without_a_face_is_not_usable():
    frames = make_frames([100, 110, 104, 104, 104, 104, 106, 106])
    frames[1].decoded[0, 0] = 0  # the most moving frame of segment 0 has no face; frame 2 is the next best
    assert chosen(frames, frames=2) == [2, 6]


def test_a_segment_without_a_face_gives_nothing():
    frames = make_frames([100] * 20)
    for frame in frames[10:]:
        frame.decoded[0, 0] = 0
    assert all(index < 10 for index in chosen(frames, frames=4))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("uniform", [5, 15, 25, 35]), ("uniform", [20]), ("first", [0, 1, 2, 3])],
)
def test_uniform_and_first_sampling_ignore_motion(sampling, expected):
    frames = make_frames([100 + (k * 7) % 11 for k in range(40)])
    assert chosen(frames, frames=len(expected), sampling=sampling) == pytest.approx(expected, abs=1)


def test_frames_are_spread_by_time_where_the_frame_rate_varies():
    times = [*np.arange(0, 1, 0.01), *np.arange(1, 10, 1.0)]  # 100 frames in the first second, 9 in the rest
    frames = [Frame(k, time, np.full((32, 32, 3), 100 + k % 3, np.uint8)) for k, time in enumerate(times)]
    info = VideoInfo(32, 32, 11, 10.0, tuple(times), 1000)
    assert [int(times[index]) for index in chosen(frames, info=info, frames=10)] == list(range(10))


def test_a_long_held_frame_leaves_no_segment_empty():
    frames = make_frames(list(range(100, 150)))
    held = [frame if frame.index < 25 else replace(frame, time_seconds=frame.time_seconds + 12) for frame in frames]
    info = replace(info_of(held), duration_seconds=17.0)
    for sampling in ("motion", "uniform"):
        assert [index // 5 for index in chosen(held, info=info, frames=10, sampling=sampling)] == [*range(10)]


def test_a_clip_shorter_than_asked_for_gives_every_frame():
    assert chosen(make_frames([100, 101, 102]), frames=10) == [0, 1, 2]


@pytest.mark.parametrize(
    ("levels", "fps", "frames", "most"),
    [
        ([100 + k % 5 for k in range(400)], 10, 10, 40 + 10),  # 40 seconds
        ([50 + 150 * (k % 2) for k in range(400)], 100, 2, 4 / 0.2 + 2 + 2),  # an apparent cut at every frame of 4 s
    ],
    ids=["a calm video", "flicker"],
)
def test_few_frames_are_searched_for_faces(levels, fps, frames, most):
    detector = FaceEverywhere()
    chosen(make_frames(levels, fps=fps), detector, frames=frames)
    assert detector.searches <= most


class BrightSquares:
    """Finds white squares, and records the sizes of the searched images."""

    def __init__(self):
        self.shown = []

    def detect(self, image):
        self.shown.append(image.shape[:2])
        count, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] == 255).astype(np.uint8))
        boxes = [Box(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:count].tolist()]
        return [Face(box, 0.9) for box in sorted(boxes, key=lambda box: -box.area)]


def scene(squares, *, frames=80, fps=10):
    """``squares(k)`` gives the places (left, top, side) of the faces in frame k."""
    images = np.full((frames, 360, 640, 3), 245, np.uint8)  # so similar to a face that a leap is not a cut
    for k, image in enumerate(images):
        for left, top, side in squares(k):
            image[top : top + side, left : left + side] = 255
    return [Frame(k, k / fps, image) for k, image in enumerate(images)]


def searched_in(frames, detector):
    info = VideoInfo(640, 360, 10, len(frames) / 10, tuple(frame.time_seconds for frame in frames), 1000)
    return scan_frames(frames, info, ExtractionSettings(frames=8), detector).searched


def boxes_of(frame):
    return [detection.face.box for detection in frame.detections]


def test_searches_are_near_the_known_face_and_find_what_a_whole_search_finds():
    squares = BrightSquares()
    searched = searched_in(scene(lambda k: [(200 + k, 100 + k // 2, 60)]), squares)
    nearby = [shape for shape in squares.shown if shape != (360, 640)]
    assert 4 <= len(nearby) < len(squares.shown)
    assert all(height % 32 == 0 and width % 32 == 0 for height, width in nearby)
    for frame in searched:
        k = round(frame.time_seconds * 10)
        assert boxes_of(frame) == [Box(200 + k, 100 + k // 2, 260 + k, 160 + k // 2)]


def test_a_face_that_left_its_place_is_searched_everywhere():
    searched = searched_in(scene(lambda k: [(20 if k // 10 % 2 else 500, 100, 60)]), BrightSquares())
    assert all(len(frame.detections) == 1 for frame in searched)


def test_a_face_that_is_cut_by_the_part_searched_is_measured_whole():
    # Moved by more than the room around it: the part shows only an edge of the face.
    searched = searched_in(scene(lambda k: [(200 + 55 * (k // 10 % 2), 100, 60)]), BrightSquares())
    assert {box.width for frame in searched for box in boxes_of(frame)} == {60}


def test_a_newcomer_is_found_within_two_steps_of_the_grid():
    searched = searched_in(scene(lambda k: [(100, 100, 60), *([(400, 100, 50)] if k >= 25 else [])]), BrightSquares())
    first = min(frame.time_seconds for frame in searched if len(frame.detections) == 2)
    assert 2.5 <= first <= 2.5 + 2 * GRID_SECONDS
