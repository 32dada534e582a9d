"""Core data types: arrays, boxes, faces, clips and verdicts, with their shapes, dtypes and units.

Images are RGB ``uint8`` arrays ``(height, width, 3)``; a clip's crops are ``(T, size, size, 3)``.
Sizes are ``(width, height)`` in pixels, times are seconds from the start of the stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
"""``(height, width, 3)`` uint8, RGB."""

Crops: TypeAlias = npt.NDArray[np.uint8]
"""``(T, size, size, 3)`` uint8, RGB, in temporal order."""

SplitName: TypeAlias = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


MAX_FACES = 100
"""At most this many faces per frame and people per video, largest first, so that memory and time stay bounded."""


class Result(Protocol):
    """A result that a command can print."""

    def document(self) -> Any:
        """Return plain JSON values, for ``--json``."""

    def lines(self) -> list[str]:
        """Return the lines of text to print without ``--json``."""


class Reason(StrEnum):
    """The reason for a verdict; also the ``reason`` column of ``skipped.csv``."""

    OK = "ok"
    NO_FACE = "no_face"
    TOO_FEW_FACES = "too_few_faces"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    INCOMPLETE = "incomplete"
    TOO_MANY_FACES = "too_many_faces"
    LOW_CONFIDENCE = "low_confidence"
    UNFAMILIAR = "unfamiliar"
    UNSTABLE = "unstable"


class Label(StrEnum):
    """The label of a verdict."""

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
        """Return the intersection over union, 0..1.

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
        """Return the rectangle in an image that is ``factor`` times as large."""
        return Box(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face.

    Attributes:
        box: Bounding box, as the detector found it.
        score: YuNet's confidence, 0..1; NaN for a box that was interpolated between two frames.
        landmarks: The person's right eye, left eye, nose tip, right and left mouth corner as ``(x, y)``; empty for an
            interpolated box.
    """

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] = ()

    def scaled(self, factor: float) -> Face:
        """Return the face in an image that is ``factor`` times as large."""
        landmarks = tuple((x * factor, y * factor) for x, y in self.landmarks)
        return Face(self.box.scaled(factor), self.score, landmarks)

    def moved(self, right: float, down: float) -> Face:
        """Return the face moved ``right`` pixels to the right and ``down`` pixels downwards."""
        box = Box(self.box.left + right, self.box.top + down, self.box.right + right, self.box.bottom + down)
        return Face(box, self.score, tuple((x + right, y + down) for x, y in self.landmarks))


@dataclass(frozen=True, slots=True)
class Video:
    """One labelled video of a catalogue, a file or a folder of frames; an image is a video with one frame.

    Attributes:
        path: Path of the file or folder.
        name: Path relative to the catalogue, with ``/``; unique in the catalogue.
        is_fake: The label.
        group: Videos that share a source have the same group; no group is ever in two splits.
        dataset: Data set, and the manipulation if known.
        split: The official split, if the data set has one.
        frames: Images that are the frames of the video, in order, where it is stored as such; ``path`` is their folder.
    """

    path: Path
    name: str
    is_fake: bool
    group: str
    dataset: str = "videos"
    split: SplitName | None = None
    frames: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the video consists of: its frames, or the one at ``path``."""
        return self.frames or (self.path,)


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """Origin of one crop of a clip.

    Attributes:
        frame_index: Position of the frame in display order, from 0.
        time_seconds: The stream's own time of that frame.
        motion: Mean absolute luma difference from the previous frame, per pixel, 0..1.
        face: The detected face; None if the input was a ready-made crop.
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
        track: 0 for the main person, then by decreasing importance.
    """

    images: Crops
    crops: tuple[FaceCrop, ...]
    track: int = 0

    def __post_init__(self) -> None:
        if len(self.images) != len(self.crops):
            raise ValueError(
                f"A clip needs one record per image. Received: {len(self.images)} images and {len(self.crops)} records."
            )

    @property
    def times_seconds(self) -> tuple[float, ...]:
        """Time of each crop; a short track repeats some of them."""
        return tuple(crop.time_seconds for crop in self.crops)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Facts about a video stream, from demuxing it once before anything is decoded.

    Attributes:
        width: Upright, square-pixel width in pixels.
        height: Upright, square-pixel height in pixels.
        fps: Mean number of frames per second; 0 for an image.
        duration_seconds: From the first frame to the end of the last; 0 for an image.
        times_seconds: Time of every frame in display order, from 0.
        size_bytes: Size of the file.
        start_seconds: Time of the stream that counts as 0.
        is_truncated: Whether the file ends before its container says so, or cannot be decoded to its end.
        declared_seconds: Duration that the container declares of a truncated file; None if it declares none.
    """

    width: int
    height: int
    fps: float
    duration_seconds: float
    times_seconds: tuple[float, ...]
    size_bytes: int
    start_seconds: float = 0.0
    is_truncated: bool = False
    declared_seconds: float | None = None

    @property
    def cut_off(self) -> str:
        """How much of a truncated file is present, as a clause; empty if it is complete.

        Example:
            >>> VideoInfo(640, 360, 25.0, 1.6, (0.0,), 1000, is_truncated=True, declared_seconds=4.0).cut_off
            'the file ends after 1.6 of 4.0 s'
        """
        if not self.is_truncated:
            return ""
        if self.declared_seconds is None:
            return f"the file ends early, after {self.duration_seconds:.1f} s"
        return f"the file ends after {self.duration_seconds:.1f} of {self.declared_seconds:.1f} s"


@dataclass(slots=True)
class MotionTrace:
    """Motion of every frame of a video, for plots.

    Attributes:
        times_seconds: Time of every frame.
        motion: Mean absolute luma difference from the previous frame, per pixel, 0..1; 0 for the first and at a cut.
        cuts: Indices of the first frames of new shots.
    """

    times_seconds: list[float] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """Result for one file.

    Attributes:
        info: Facts about its stream.
        clips: Its clips, the main person's first.
        trace: Motion of all frames.
        faces_left_out: Most faces beyond `MAX_FACES` in any one frame, plus people beyond it.
    """

    info: VideoInfo
    clips: tuple[FaceClip, ...]
    trace: MotionTrace
    faces_left_out: int = 0


@dataclass(frozen=True, slots=True)
class FrameScore:
    """The score of one frame of a track; ``fake_probability`` is None for a model without a frame head."""

    time_seconds: float
    box: Box
    fake_probability: float | None


@dataclass(frozen=True, slots=True)
class TrackScore:
    """The score of one person in a video.

    Attributes:
        fake_probability: Calibrated, 0..1.
        frames: Scores of the frames that were used.
        counts: Whether the face is large enough for this detector to decide by it.
        views: For a detector with views, the probability of each by its name, ``as_is`` for the crops as they are.
        distance: How unlike the training crops the face is, as a share of the limit; above 1 it is unfamiliar. None for
            a detector that cannot tell.
    """

    fake_probability: float
    frames: tuple[FrameScore, ...]
    counts: bool = True
    views: Mapping[str, float] = field(default_factory=dict)
    distance: float | None = None


class CredentialsState(StrEnum):
    """What the content credentials of a file are worth."""

    NONE = "none"
    TRUSTED = "trusted"
    UNKNOWN_SIGNER = "unknown_signer"
    ALTERED = "altered"
    INVALID = "invalid"
    REMOTE = "remote"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class ContentCredentials:
    """What a file says about its own origin, as signed statements (C2PA). Its texts are a stranger's.

    Attributes:
        state: Whether there are any, and whether the signature holds.
        signer: Name in the certificate; anybody can choose it if the signer is unknown.
        tool: Program that wrote the statements.
        claims: What was done to the file, in the order of the statements, such as ``created by a camera``.
    """

    state: CredentialsState
    signer: str = ""
    tool: str = ""
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The detector's answer for one input.

    Attributes:
        input: The input as it was given.
        fake_probability: Calibrated, 0..1, the highest of the tracks that may decide; None without a score.
        label: REAL, FAKE or UNDECIDED; never REAL or FAKE without a face.
        reason: The reason for the label.
        detail: What there is to say about the answer, as clauses; empty if nothing.
        tracks: Scores of each person.
        person: Index among ``tracks`` of the person whose score is that of the input; None without a score.
        is_incomplete: Whether the file is truncated, so that the answer is about a part of it.
        credentials: Content credentials of the file, which never change the answer; None if they were not looked for.
    """

    input: str
    fake_probability: float | None
    label: Label
    reason: Reason
    detail: str = ""
    tracks: tuple[TrackScore, ...] = ()
    person: int | None = None
    is_incomplete: bool = False
    credentials: ContentCredentials | None = None


@dataclass(frozen=True, slots=True)
class ClipRow:
    """One clip of a face dataset: a row of ``manifest.csv``.

    Attributes:
        clip_id: Unique in the dataset, and the name of the clip's folder.
        video: `Video.name`; ``is_fake``, ``dataset``, ``group`` and ``split`` are also those of the `Video`.
        track: 0 for the main person.
        frames: Number of crops (T; 1 for an image).
        width: Width of the video in pixels; ``height``, ``fps`` and ``duration_seconds`` also describe the video.
        size_bytes: Size of the video's file.
        sha256: SHA-256 of the video's file.
        note: What is missing from the file, such as ``the file ends after 1.6 of 4.0 s``; empty if nothing is.
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
    note: str = ""

    @property
    def bits_per_second(self) -> float:
        """Bit rate of the file; an image counts as one second."""
        return self.size_bytes * 8 / (self.duration_seconds or 1.0)
