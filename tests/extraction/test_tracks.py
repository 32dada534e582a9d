import math

import cv2
import numpy as np
import pytest

from dfutils.extraction.tracks import MAX_GAP_SECONDS, FrameDetections, Track, detections_of, link_faces
from dfutils.records import Box, Face


def pattern(seed, size=40):
    """A smooth random image that stands for one person's face."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def scene(*people, shot=0):
    """Faces of people ``(seed, x, y, size)`` on gray, and the number of the shot."""
    image = np.full((200, 400, 3), 128, np.uint8)
    faces = []
    for seed, x, y, size in people:
        image[y : y + size, x : x + size] = pattern(seed, size)
        faces.append(Face(Box(x, y, x + size, y + size), 0.9))
    return detections_of(image, faces, full_width=400), shot


def link(*scenes):
    """Link scenes one second apart."""
    return link_faces(FrameDetections(float(time), shot, detections) for time, (detections, shot) in enumerate(scenes))


def times(tracks):
    return [track.times_seconds for track in tracks]


def test_one_person_who_moves_far_between_frames_stays_one_track():
    assert times(link(scene((1, 0, 0, 60)), scene((1, 300, 100, 60)), scene((1, 150, 20, 60)))) == [[0, 1, 2]]


def test_two_people_stay_two_tracks_even_when_they_change_places():
    tracks = link(scene((1, 0, 0, 60), (2, 300, 0, 50)), scene((2, 10, 0, 50), (1, 290, 0, 60)))
    assert times(tracks) == [[0, 1], [0, 1]]
    assert [[face.box.width for face in track.faces] for track in tracks] == [[60, 60], [50, 50]]


def test_the_main_person_has_most_frames_times_area():
    tracks = link(scene((1, 0, 0, 80)), scene((1, 0, 0, 80), (2, 200, 0, 90)), scene((1, 0, 0, 80)))
    assert [len(track.faces) for track in tracks] == [3, 1]


def test_someone_else_in_another_place_starts_a_new_track():
    assert times(link(scene((1, 0, 0, 60)), scene((2, 300, 100, 60)))) == [[0], [1]]


def test_a_frame_without_faces_ends_nothing():
    assert times(link(scene((1, 0, 0, 60)), scene(), scene((1, 10, 0, 60)))) == [[0, 2]]


@pytest.mark.parametrize("after", [(2, 0, 0, 60), (1, 300, 100, 60)], ids=["someone else", "another place"])
def test_a_shot_cut_ends_a_track(after):
    assert times(link(scene((1, 0, 0, 60)), scene(after, shot=1))) == [[0], [1]]


def test_a_flash_does_not_end_a_track():
    assert times(link(scene((1, 0, 0, 60)), scene((1, 2, 0, 60), shot=1), scene((1, 4, 0, 60), shot=2))) == [[0, 1, 2]]


def track_of(*sides, step=0.5):
    """Square boxes with these sides around a centre that moves by 10 pixels per frame."""
    boxes = [Box(10 * k - side / 2, -side / 2, 10 * k + side / 2, side / 2) for k, side in enumerate(sides)]
    return Track(0, [step * k for k in range(len(sides))], [Face(box, 0.9) for box in boxes])


def test_a_face_is_where_it_was_found_and_interpolated_in_between():
    track = track_of(40, 60)
    assert track.face_at(0.5).box == Box(-20, -30, 40, 30)
    between = track.face_at(0.25)
    assert between.box == Box(-20, -25, 30, 25)
    assert math.isnan(between.score)


def test_a_track_has_no_face_before_its_start_after_its_end_and_in_a_long_gap():
    assert track_of(40, 40).face_at(-0.1) is None
    assert track_of(40, 40).face_at(0.6) is None
    assert track_of(40, 40, step=MAX_GAP_SECONDS + 0.1).face_at(1.0) is None


def test_a_size_that_grows_steadily_is_followed():
    track = track_of(*range(40, 60))
    assert [track.side_at(0.5 * k) for k in range(4, 16)] == [40 + k for k in range(4, 16)]


def test_linking_stays_linear_however_many_faces_there_are(monkeypatch):
    compared = []
    original = Box.iou
    monkeypatch.setattr(Box, "iou", lambda self, other: compared.append(1) or original(self, other))
    # Sixteen strangers per frame, each in a place of their own, so that nearly every one starts a track.
    crowds = [
        [(p, 10 * (p % 40), 10 * (p // 40), 10) for p in range(16 * frame, 16 * frame + 16)] for frame in range(30)
    ]
    link(*(scene(*crowd) for crowd in crowds))
    assert len(compared) <= 30 * 128 * 16
