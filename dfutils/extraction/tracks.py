"""Faces in chosen frames, linked to one track a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.records import Box, Face, Picture

SIGNATURE_SIDE = 24
MIN_AFFINITY = 0.3
"""Below this two faces are taken for two people; IoU and likeness both lie in 0..1."""


@dataclass(slots=True)
class Track:
    """One person: positions in the list of chosen frames, and the face in each."""

    positions: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    signature: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def importance(self) -> float:
        """Number of frames × mean face area: the main person of a video has the most."""
        return sum(face.box.area for face in self.faces)


def link_faces(pictures: Sequence[Picture], faces: Sequence[Sequence[Face]]) -> list[Track]:
    """Link the faces of successive frames to tracks, the main person's first.

    Faces are paired greedily, most alike first, by overlap or by likeness of a small normalised picture of the face:
    chosen frames may lie seconds apart, so that overlap alone would lose a person who moved.

    Args:
        pictures: The chosen frames, RGB, in the order of time.
        faces: The faces found in each, in its pixels.
    """
    tracks: list[Track] = []
    for position, (picture, found) in enumerate(zip(pictures, faces, strict=True)):
        signatures = [face_signature(picture, face.box) for face in found]
        pairs = sorted(
            (
                (-_affinity(track, face, signature), number, index)
                for number, track in enumerate(tracks)
                for index, (face, signature) in enumerate(zip(found, signatures, strict=True))
            ),
        )
        used_tracks: set[int] = set()
        used_faces: set[int] = set()
        for negative_affinity, number, index in pairs:
            if -negative_affinity < MIN_AFFINITY or number in used_tracks or index in used_faces:
                continue
            _append(tracks[number], position, found[index], signatures[index])
            used_tracks.add(number)
            used_faces.add(index)
        for index, face in enumerate(found):
            if index not in used_faces:
                tracks.append(Track())
                _append(tracks[-1], position, face, signatures[index])
    return sorted(tracks, key=lambda track: -track.importance)


def face_signature(picture: Picture, box: Box) -> npt.NDArray[np.float32]:
    """A small gray picture of a face, flattened, zero mean and unit length: dot products are correlations."""
    height, width = picture.shape[:2]
    top, bottom = max(0, int(box.top)), min(height, int(box.bottom))
    left, right = max(0, int(box.left)), min(width, int(box.right))
    if bottom - top < 2 or right - left < 2:
        return np.zeros(SIGNATURE_SIDE**2, np.float32)
    gray = cv2.cvtColor(picture[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (SIGNATURE_SIDE, SIGNATURE_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return (small / length if length > 0 else small).astype(np.float32)


def _affinity(track: Track, face: Face, signature: npt.NDArray[np.float32]) -> float:
    last = track.faces[-1].box
    likeness = float(track.signature @ signature)
    sizes = sorted((last.area, face.box.area))
    size_ratio = (sizes[0] / sizes[1]) ** 0.5 if sizes[1] else 0.0
    # Likeness of two strangers' faces is often .4, so it counts only from there on, and only at a similar size.
    return max(last.iou(face.box), (likeness - 0.4) / 0.6 * size_ratio)


def _append(track: Track, position: int, face: Face, signature: npt.NDArray[np.float32]) -> None:
    track.positions.append(position)
    track.faces.append(face)
    track.signature = signature
