import cv2
import numpy as np

from dfutils.extraction.tracks import link_faces
from dfutils.records import Box, Face


def pattern(seed, size=40):
    """A smooth random picture that stands for one person's looks."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def scene(*people):
    """A frame with ``(seed, x, y, size)`` people on gray, and their faces."""
    picture = np.full((200, 400, 3), 128, np.uint8)
    faces = []
    for seed, x, y, size in people:
        picture[y : y + size, x : x + size] = pattern(seed, size)
        faces.append(Face(Box(x, y, x + size, y + size), 0.9))
    return picture, faces


def link(*scenes):
    pictures, faces = zip(*scenes, strict=True)
    return link_faces(pictures, faces)


def test_one_person_who_moves_far_between_frames_stays_one_track():
    tracks = link(scene((1, 0, 0, 60)), scene((1, 300, 100, 60)), scene((1, 150, 20, 60)))
    assert [track.positions for track in tracks] == [[0, 1, 2]]


def test_two_people_stay_two_tracks_even_when_they_change_places():
    tracks = link(scene((1, 0, 0, 60), (2, 300, 0, 50)), scene((2, 10, 0, 50), (1, 290, 0, 60)))
    assert [track.positions for track in tracks] == [[0, 1], [0, 1]]
    assert [[face.box.width for face in track.faces] for track in tracks] == [[60, 60], [50, 50]]


def test_the_main_person_has_most_frames_times_area():
    tracks = link(
        scene((1, 0, 0, 80)),
        scene((1, 0, 0, 80), (2, 200, 0, 90)),
        scene((1, 0, 0, 80)),
    )
    assert [len(track.positions) for track in tracks] == [3, 1]


def test_someone_else_in_another_place_starts_a_new_track():
    tracks = link(scene((1, 0, 0, 60)), scene((2, 300, 100, 60)))
    assert [track.positions for track in tracks] == [[0], [1]]


def test_a_frame_without_faces_ends_nothing():
    picture, _ = scene()
    tracks = link(scene((1, 0, 0, 60)), (picture, []), scene((1, 10, 0, 60)))
    assert [track.positions for track in tracks] == [[0, 2]]
