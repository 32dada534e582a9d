"""Faces in a sparse grid of frames, linked to one track a person, with smoothed boxes in between."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.records import Box, Face, Image

SIGNATURE_SIDE = 24
MIN_AFFINITY = 0.3
"""Below this two faces are taken for two people; IoU and likeness both lie in 0..1."""

SAME_PLACE_IOU, SAME_LOOKS = 0.5, 0.6
"""A face this much in place and this much alike after a supposed cut is the same person: a flash, or a jump cut.

The jump cuts of FaceForensics++ have 0.74 to 0.93 and 0.68 to 0.95; the likeness of strangers is 0.29 at the median
and 0.53 at the third quartile, and few of them stand in one place.
"""

SIZE_WINDOW_SECONDS = 1.5
"""The size of a crop is the median over the detections this near in time.

YuNet's centre is good to 0.3 % of the face on the frame it looked at, ten times better than any neighbour half a second
away (2.5 %): positions are taken as found. Sizes differ by 2.5 % over a second, mostly because heads nod: the median
keeps crops from breathing with that.
"""

MAX_GAP_SECONDS = 2.0
"""Boxes are interpolated between two detections no further apart than this."""

MAX_FACES, MAX_TRACKS, MAX_SHOTS = 16, 64, 2
"""Largest faces of a look that count, latest tracks that are compared with them, and shots that these may lie back:
linking stays linear in a video's length, whatever is in it. A flash is two supposed cuts."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One face found in one frame; its signature comes from `face_signature`."""

    face: Face
    signature: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FrameDetections:
    """A frame that was searched for faces.

    Attributes:
        time_seconds: The stream's own time of the frame.
        shot: Number of the shot, counted from 0 at every supposed cut.
        detections: What was found, largest face first.
    """

    time_seconds: float
    shot: int
    detections: tuple[Detection, ...]


@dataclass(slots=True, eq=False)
class Track:
    """One person in one shot: times of the frames in which the face was found, rising, and the face in each."""

    shot: int = 0
    times_seconds: list[float] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    signature: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def importance(self) -> float:
        """Number of detections × mean face area: the main person of a video has the most."""
        return sum(face.box.area for face in self.faces)

    def face_at(self, time_seconds: float) -> Face | None:
        """The face at a time: as found, or between two near detections with an interpolated box and no score."""
        after = bisect.bisect_left(self.times_seconds, time_seconds)
        if after < len(self.times_seconds) and self.times_seconds[after] == time_seconds:
            return self.faces[after]
        if after in (0, len(self.times_seconds)):
            return None
        start, end = self.times_seconds[after - 1], self.times_seconds[after]
        if end - start > MAX_GAP_SECONDS:
            return None
        share = (time_seconds - start) / (end - start)
        return Face(_between(self.faces[after - 1].box, self.faces[after].box, share), math.nan)

    def side_at(self, time_seconds: float) -> float:
        """Smoothed longer side of the box, in pixels."""
        near = [
            max(face.box.width, face.box.height)
            for time, face in zip(self.times_seconds, self.faces, strict=True)
            if abs(time - time_seconds) <= SIZE_WINDOW_SECONDS
        ]
        return float(np.median(near))


def link_faces(frames: Iterable[FrameDetections]) -> list[Track]:
    """Link the faces of successive frames to tracks, the main person's first.

    Faces are paired greedily, most alike first, by overlap or by likeness of a small normalised image of the face:
    frames may lie a second apart, so that overlap alone would lose a person who moved. A shot cut ends all tracks,
    but for a face that looks the same in the same place.
    """
    tracks: list[Track] = []
    active: list[Track] = []
    for frame in frames:
        active = [track for track in active if frame.shot - track.shot <= MAX_SHOTS][-MAX_TRACKS:]
        partners = _pair(active, frame)
        for index, detection in enumerate(frame.detections):
            track = partners.get(index)
            if track is None:
                track = Track()
                tracks.append(track)
            else:
                active.remove(track)
            _append(track, frame, detection)
            active.append(track)
    return sorted(tracks, key=lambda track: -track.importance)


def _pair(tracks: Sequence[Track], frame: FrameDetections) -> dict[int, Track]:
    """The track of each face that has one, by the face's place in the look."""
    pairs = sorted(
        (-_affinity(track, detection, frame.shot), number, index)
        for number, track in enumerate(tracks)
        for index, detection in enumerate(frame.detections)
    )
    partners: dict[int, int] = {}
    for negative_affinity, number, index in pairs:
        if -negative_affinity >= MIN_AFFINITY and index not in partners and number not in partners.values():
            partners[index] = number
    return {index: tracks[number] for index, number in partners.items()}


def detections_of(small: Image, faces: Sequence[Face], full_width: int) -> tuple[Detection, ...]:
    """Join faces, in pixels of the full image, with their signatures out of the reduced one."""
    factor = small.shape[1] / full_width
    return tuple(Detection(face, face_signature(small, face.box.scaled(factor))) for face in faces[:MAX_FACES])


def face_signature(image: Image, box: Box) -> npt.NDArray[np.float32]:
    """A small gray image of a face, flattened, zero mean and unit length: dot products are correlations."""
    height, width = image.shape[:2]
    top, bottom = max(0, int(box.top)), min(height, int(box.bottom))
    left, right = max(0, int(box.left)), min(width, int(box.right))
    if bottom - top < 2 or right - left < 2:
        return np.zeros(SIGNATURE_SIDE**2, np.float32)
    gray = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (SIGNATURE_SIDE, SIGNATURE_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return (small / length if length > 0 else small).astype(np.float32)


def _affinity(track: Track, detection: Detection, shot: int) -> float:
    last, box = track.faces[-1].box, detection.face.box
    overlap, likeness = last.iou(box), float(track.signature @ detection.signature)
    if shot != track.shot:
        return overlap if overlap >= SAME_PLACE_IOU and likeness >= SAME_LOOKS else 0.0
    sizes = sorted((last.area, box.area))
    size_ratio = (sizes[0] / sizes[1]) ** 0.5 if sizes[1] else 0.0
    # Likeness of two strangers' faces is often .4, so it counts only from there on, and only at a similar size.
    return max(overlap, (likeness - 0.4) / 0.6 * size_ratio)


def _append(track: Track, frame: FrameDetections, detection: Detection) -> None:
    track.shot = frame.shot
    track.times_seconds.append(frame.time_seconds)
    track.faces.append(detection.face)
    track.signature = detection.signature


def _between(before: Box, after: Box, share: float) -> Box:
    left, top, right, bottom = (
        (1 - share) * getattr(before, side) + share * getattr(after, side)
        for side in ("left", "top", "right", "bottom")
    )
    return Box(left, top, right, bottom)
