"""The nouns that flow through the package: shapes, dtypes and units stated once.

Images are RGB ``uint8`` arrays ``(height, width, 3)``; a clip's crops are ``(T, size, size, 3)``.
Sizes are ``(width, height)`` in pixels, times are seconds from the start of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
"""``(height, width, 3)`` uint8, RGB."""

Crops: TypeAlias = npt.NDArray[np.uint8]
"""``(T, size, size, 3)`` uint8, RGB, in the order of time."""

SplitName: TypeAlias = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


class Reason(StrEnum):
    """Why a verdict is what it is; also the ``reason`` column of ``skipped.csv``."""

    OK = "ok"
    NO_FACE = "no_face"
    TOO_FEW_FACES = "too_few_faces"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    LOW_CONFIDENCE = "low_confidence"


class Label(StrEnum):
    """What a verdict says."""

    REAL = "REAL"
    FAKE = "FAKE"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright, square-pixel image; ``right`` and ``bottom`` are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def center(self) -> tuple[float, float]:
        """Centre as ``(x, y)``."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union, 0..1.

        Example:
            >>> Box(0, 0, 10, 10).iou(Box(5, 0, 15, 10))
            0.3333333333333333
        """
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / (self.area + other.area - shared)

    def scaled(self, factor: float) -> Box:
        """The same rectangle in an image that is ``factor`` times as large."""
        return Box(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face.

    Attributes:
        box: As the detector found it.
        score: YuNet's own confidence, 0..1; NaN for a box that was interpolated between two frames.
        landmarks: Right eye, left eye, nose tip, right and left mouth corner (of the person) as ``(x, y)``,
            or empty where the box was interpolated.
    """

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] = ()

    def scaled(self, factor: float) -> Face:
        """The face in an image ``factor`` times as large."""
        landmarks = tuple((x * factor, y * factor) for x, y in self.landmarks)
        return Face(self.box.scaled(factor), self.score, landmarks)

    def moved(self, right: float, down: float) -> Face:
        """The face in an image whose origin lies elsewhere."""
        box = Box(self.box.left + right, self.box.top + down, self.box.right + right, self.box.bottom + down)
        return Face(box, self.score, tuple((x + right, y + down) for x, y in self.landmarks))


@dataclass(frozen=True, slots=True)
class Video:
    """One labelled file of a catalogue; an image is a video of one frame.

    Attributes:
        path: Where the file is.
        name: Its path relative to the catalogue, with ``/``; unique in the catalogue.
        is_fake: The label.
        group: Videos that share a source have the same group; no group is ever on two sides of a split.
        dataset: Data set, and manipulation where it is known.
        split: The official split, where the data set has one.
    """

    path: Path
    name: str
    is_fake: bool
    group: str
    dataset: str = "videos"
    split: SplitName | None = None


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """Where one crop of a clip comes from.

    Attributes:
        frame_index: Position of the frame in the order of display, from 0.
        time_seconds: The stream's own time of that frame.
        motion: Mean absolute luma difference to the frame before, per pixel, 0..1.
        face: The detected face, or None where the input was a crop already.
        square: The part of the frame that was cut out, before resizing.
    """

    frame_index: int
    time_seconds: float
    motion: float
    face: Face | None
    square: Box


@dataclass(frozen=True, slots=True, eq=False)
class FaceClip:
    """The T face crops of one person's track through one video.

    Attributes:
        images: ``(T, size, size, 3)`` uint8 RGB.
        crops: T records, in the order of ``images``.
        track: 0 for the main person, then by falling importance.
    """

    images: Crops
    crops: tuple[FaceCrop, ...]
    track: int = 0

    def __post_init__(self) -> None:
        if len(self.images) != len(self.crops):
            raise ValueError(
                f"A clip has one record for each of its images. Received: {len(self.images)} images and "
                f"{len(self.crops)} records."
            )

    @property
    def times_seconds(self) -> tuple[float, ...]:
        """Time of each crop; a short track has some of them twice."""
        return tuple(crop.time_seconds for crop in self.crops)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a stream says of itself after being demuxed once, before anything is decoded.

    Attributes:
        width: Upright, square-pixel width in pixels.
        height: The same for the height.
        fps: Frames per second on average; 0 for an image.
        duration_seconds: From the first frame to the end of the last; 0 for an image.
        times_seconds: Time of every frame in the order of display, from 0.
        size_bytes: Size of the file.
    """

    width: int
    height: int
    fps: float
    duration_seconds: float
    times_seconds: tuple[float, ...]
    size_bytes: int


@dataclass(slots=True)
class MotionTrace:
    """The motion of every frame of a clip, for plots.

    Attributes:
        times_seconds: Time of every frame seen.
        motion: Mean absolute luma difference to the frame before, per pixel, 0..1; 0 for the first and at a cut.
        cuts: Indices of the first frames of new shots.
    """

    times_seconds: list[float] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """What one file gave: its stream facts, its clips (main person first) and the motion of all its frames."""

    info: VideoInfo
    clips: tuple[FaceClip, ...]
    trace: MotionTrace


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One frame of a track; ``fake_probability`` is None for a model without a frame head."""

    time_seconds: float
    box: Box
    fake_probability: float | None


@dataclass(frozen=True, slots=True)
class TrackScore:
    """One person in a video."""

    fake_probability: float
    frames: tuple[FrameScore, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the detector says of one input.

    Attributes:
        input: The input as it was given.
        fake_probability: Calibrated, 0..1, the highest of the tracks that decide; None where no score could be given.
        label: REAL, FAKE or UNDECIDED; never REAL or FAKE without a face.
        reason: Why.
        detail: One sentence for a person; empty when ``reason`` is ``ok``.
        tracks: Scores of each person.
    """

    input: str
    fake_probability: float | None
    label: Label
    reason: Reason
    detail: str = ""
    tracks: tuple[TrackScore, ...] = ()


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One clip of a face dataset: a row of ``manifest.csv``.

    Attributes:
        clip_id: Unique in the dataset, and the name of the clip's folder.
        video: `Video.name` of the file it was cut from.
        is_fake: The label of the video.
        dataset: `Video.dataset`.
        group: `Video.group`.
        split: The official split, where the data set has one.
        track: 0 for the main person.
        frames: Number of crops (T; 1 for an image).
        width: Of the video, in pixels.
        height: Of the video, in pixels.
        fps: Of the video; 0 for an image.
        duration_seconds: Of the video; 0 for an image.
        size_bytes: Of the video's file.
        sha256: Of the video's file.
    """

    clip_id: str
    video: str
    is_fake: bool
    dataset: str
    group: str
    split: SplitName | None
    track: int
    frames: int
    width: int
    height: int
    fps: float
    duration_seconds: float
    size_bytes: int
    sha256: str

    @property
    def bits_per_second(self) -> float:
        """Of the file; an image counts as one second."""
        return self.size_bytes * 8 / (self.duration_seconds or 1.0)
