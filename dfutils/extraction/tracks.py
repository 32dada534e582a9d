"""Link faces that were found in a sparse grid of frames to one track per person, and interpolate between them."""

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
"""Faces with a lower affinity, in 0..1, belong to different people."""

SAME_PLACE_IOU, SAME_LOOKS = 0.5, 0.6
"""Minimum overlap and similarity of a person before and after an apparent cut that is only a flash or a jump cut.

At jump cuts in FaceForensics++, the overlap is 0.74 to 0.93 and the similarity 0.68 to 0.95. Between strangers, the
similarity is 0.29 at the median and 0.53 at the third quartile, and few of them are in the same place.
"""

SIZE_WINDOW_SECONDS = 1.5
"""The size of a crop is the median over the detections within this time.

The centre of a YuNet box is off by 0.3 % of the face in the frame that was searched, but by 2.5 % half a second away:
positions are taken as found. Sizes vary by 2.5 % within a second, mostly because heads nod; the median keeps the crops
from pulsating.
"""

MAX_GAP_SECONDS = 2.0
"""Boxes are interpolated only between detections that are at most this far apart."""

MAX_TRACKS, MAX_SHOTS = 128, 2
"""Limits that keep linking linear in the video's length: each face is compared with the latest `MAX_TRACKS` tracks, at
most `MAX_SHOTS` shots back. A flash looks like two cuts."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One face found in one frame, with its `face_signature`."""

    face: Face
    signature: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FrameDetections:
    """A frame that was searched for faces.

    Attributes:
        time_seconds: Time on the video's clock, from 0.
        shot: Number of the shot, from 0; every apparent cut starts another.
        detections: The largest faces found, largest first.
        left_out: Number of smaller ones, beyond `dfutils.records.MAX_FACES`.
        too_small: Number of faces below ``min_face_fraction``.
    """

    time_seconds: float
    shot: int
    detections: tuple[Detection, ...]
    left_out: int = 0
    too_small: int = 0


@dataclass(slots=True, eq=False)
class Track:
    """One person in one shot: ascending times of the frames in which the face was found, and the face in each."""

    shot: int = 0
    times_seconds: list[float] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    signature: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def importance(self) -> float:
        """Number of detections × mean face area: the main person of a video has the highest value."""
        return sum(face.box.area for face in self.faces)

    def face_at(self, time_seconds: float) -> Face | None:
        """Return the face at a time: as found, or interpolated between two close detections, with the score NaN."""
        after = bisect.bisect_left(self.times_seconds, time_seconds)
        if after < len(self.times_seconds) and self.times_seconds[after] == time_seconds:
            return self.faces[after]
        if after in (0, len(self.times_seconds)):
            return None
        start, end = self.times_seconds[after - 1], self.times_seconds[after]
        if end - start > MAX_GAP_SECONDS:
            return None
        share = (time_seconds - start) / (end - start)
        before, behind = self.faces[after - 1].box, self.faces[after].box
        sides = ("left", "top", "right", "bottom")
        box = Box(*((1 - share) * getattr(before, side) + share * getattr(behind, side) for side in sides))
        return Face(box, math.nan)

    def side_at(self, time_seconds: float) -> float:
        """Return the smoothed longer side of the box in pixels."""
        near = [
            max(face.box.width, face.box.height)
            for time, face in zip(self.times_seconds, self.faces, strict=True)
            if abs(time - time_seconds) <= SIZE_WINDOW_SECONDS
        ]
        return float(np.median(near))


def link_faces(frames: Iterable[FrameDetections]) -> list[Track]:
    """Link the faces of successive frames to tracks, the main person's first.

    Faces are paired greedily, the most similar first, by overlap or by the similarity of a small normalised image of
    the face: frames may be a second apart, and overlap alone would lose a person who moved. A cut ends all tracks
    except that of a face that looks the same in the same place.
    """
    tracks: list[Track] = []
    active: list[Track] = []
    for frame in frames:
        active = [track for track in active if frame.shot - track.shot <= MAX_SHOTS][-MAX_TRACKS:]
        pairs = sorted(
            (-_affinity(track, detection, frame.shot), number, index)
            for number, track in enumerate(active)
            for index, detection in enumerate(frame.detections)
        )
        partners: dict[int, Track] = {}
        taken: set[int] = set()
        for negative_affinity, number, index in pairs:
            if -negative_affinity < MIN_AFFINITY:
                break
            if index not in partners and number not in taken:
                partners[index] = active[number]
                taken.add(number)
        for index, detection in enumerate(frame.detections):
            track = partners.get(index)
            if track is None:
                track = Track()
                tracks.append(track)
            else:
                active.remove(track)
            track.shot, track.signature = frame.shot, detection.signature
            track.times_seconds.append(frame.time_seconds)
            track.faces.append(detection.face)
            active.append(track)
    return sorted(tracks, key=lambda track: -track.importance)


def detections_of(small: Image, faces: Sequence[Face], full_width: int) -> tuple[Detection, ...]:
    """Combine faces, in pixels of the full image, with their signatures from the reduced one."""
    factor = small.shape[1] / full_width
    return tuple(Detection(face, face_signature(small, face.box.scaled(factor))) for face in faces)


def face_signature(image: Image, box: Box) -> npt.NDArray[np.float32]:
    """Return a small gray image of a face, flattened, with zero mean and unit length: dot products are correlations."""
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
    overlap, similarity = last.iou(box), float(track.signature @ detection.signature)
    if shot != track.shot:
        return overlap if overlap >= SAME_PLACE_IOU and similarity >= SAME_LOOKS else 0.0
    sizes = sorted((last.area, box.area))
    size_ratio = (sizes[0] / sizes[1]) ** 0.5 if sizes[1] else 0.0
    # Strangers often have a similarity of 0.4, so only the excess over it counts, and only at a similar size.
    return max(overlap, (similarity - 0.4) / 0.6 * size_ratio)
