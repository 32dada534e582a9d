"""One streaming pass that looks for faces on a sparse grid and keeps the most moving usable frame of each segment."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.extraction.faces import DETECTION_SIDE, FaceDetector, detect_faces
from dfutils.extraction.tracks import Detection, FrameDetections, detections_of
from dfutils.extraction.video import Frame
from dfutils.records import Box, Face, Image, MotionTrace, VideoInfo
from dfutils.settings import ExtractionSettings

CUT_DIFFERENCE = 0.1
"""A mean luma difference above this, of image or face, is supposed to be a cut: people in motion stay below 0.06."""

CUT_ROWS = 4
"""Of the whole image every fourth row is compared: all of them would cost 4 % of decoding at 1080p."""

REGION_MARGIN = 0.2
"""Room around the last known face, as a fraction of its size, within which motion is measured."""

CANDIDATES = 2
"""Frames kept per segment beside the one that was searched for faces at its start."""

GRID_PIXELS = 32
"""YuNet's coarsest cell. A part cut at other places gives boxes that differ by 1 % of the face, and up to 6 %."""

GRID_SECONDS, MIN_GRID_SECONDS = 1.0, 0.2
"""Longest and, after supposed cuts, shortest time between two searches for faces."""

NEARBY, WHOLE_SEARCHES = 0.5, 2
"""Room around the faces of the last search, as a fraction of each, in which a frame is searched first; every second
search on the grid is of the whole image, so that nobody who comes in is missed for longer than two grid steps."""


@dataclass(slots=True)
class Candidate:
    """A frame that may represent its segment; ``detections`` is None until it was searched for faces."""

    frame: Frame
    motion: float
    priority: float
    shot: int = 0
    detections: tuple[Detection, ...] | None = None

    @property
    def faces(self) -> list[Face]:
        """The faces found, largest first."""
        return [detection.face for detection in self.detections or ()]


class MotionMeter:
    """Luma difference to the frame before, on the face where one is known; tells shot cuts from motion."""

    def __init__(self) -> None:
        self._before: npt.NDArray[np.uint8] | None = None
        self._kept: Frame | None = None  # holds the buffer that the plane above is a view of

    def measure(self, frame: Frame, region: Box | None) -> tuple[float, bool]:
        """Return ``(motion, is_cut)``; motion is the mean absolute difference per pixel, 0..1."""
        luma, before = frame.luma(), self._before
        self._before, self._kept = luma, frame
        if before is None:
            return 0.0, False
        if before.shape != luma.shape:
            return 0.0, True
        rows = slice(None, None, CUT_ROWS)
        overall = _mean_difference(before[rows], luma[rows])
        place = _slices(region, luma.shape)
        motion = overall if region is None else _mean_difference(before[place], luma[place])
        return (0.0, True) if max(overall, motion) > CUT_DIFFERENCE else (motion, False)


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over a video gives.

    Attributes:
        candidates: The best frame of each segment, in the order of time; where none with a face was found, the most
            moving one.
        searched: Every frame that was searched for faces, in the order of time.
    """

    candidates: list[Candidate]
    searched: list[FrameDetections]


def scan_frames(
    frames: Iterable[Frame],
    info: VideoInfo,
    settings: ExtractionSettings,
    detector: FaceDetector | None,
    trace: MotionTrace | None = None,
) -> Scan:
    """Choose the frames that represent a video, and look for faces all along it.

    The video is cut into T segments of equal time. Of each segment the best frame by ``settings.sampling`` in which a
    face is found is kept. Memory holds T frames, however long the video is.

    Args:
        frames: From `dfutils.extraction.video.iter_frames`.
        info: Its exact frame times decide the segments; frames before the first of them are passed over.
        settings: T, sampling and face limits.
        detector: None takes every frame as usable (crops are not faces to be found).
        trace: Filled with the motion of every frame if given.
    """
    selector = _FrameSelector(settings, info, detector)
    end = info.times_seconds[0] + info.duration_seconds
    for number, frame in enumerate(frames):
        if (settings.sampling == "first" and number >= settings.frames) or frame.time_seconds > end + 1:
            break
        if frame.time_seconds >= info.times_seconds[0]:
            selector.see(frame, trace)
    return selector.finish()


def choose_frames(
    frames: Iterable[Frame],
    info: VideoInfo,
    settings: ExtractionSettings,
    detector: FaceDetector | None,
    trace: MotionTrace | None = None,
) -> list[Candidate]:
    """`scan_frames`, but only the chosen frames in which a face was found: at most T, in the order of time."""
    candidates = scan_frames(frames, info, settings, detector, trace).candidates
    return [candidate for candidate in candidates if detector is None or candidate.faces]


class _FrameSelector:
    def __init__(self, settings: ExtractionSettings, info: VideoInfo, detector: FaceDetector | None) -> None:
        self._settings, self._detector = settings, detector
        self._starts = _segment_starts(info, settings)
        self._segment = -1
        self._shot = 0
        self._meter = MotionMeter()
        self._region: Box | None = None
        self._known: tuple[Box, ...] = ()
        self._searches = 0
        self._last_search = -GRID_SECONDS
        self._next_search = 0.0
        self._open: list[Candidate] = []
        self._chosen: list[Candidate] = []
        self._searched: list[FrameDetections] = []

    def see(self, frame: Frame, trace: MotionTrace | None) -> None:
        segment = max(0, bisect.bisect_right(self._starts, frame.time_seconds + 1e-9) - 1)
        motion, is_cut = self._meter.measure(frame, self._region)
        if is_cut:
            self._start_shot()
        candidate = Candidate(frame, motion, self._priority(frame, motion, segment), self._shot)
        if segment > self._segment or frame.time_seconds >= self._next_search:
            self._search(candidate)
        if segment > self._segment:
            self._close_segment()
            self._segment = segment
            self._open = [candidate]
        else:
            self._keep_best(candidate)
        if trace is not None:
            trace.times_seconds.append(frame.time_seconds)
            trace.motion.append(motion)
            if is_cut:
                trace.cuts.append(frame.index)

    def finish(self) -> Scan:
        self._close_segment()
        return Scan(self._chosen, sorted(self._searched, key=lambda frame: frame.time_seconds))

    def _start_shot(self) -> None:
        self._shot += 1
        self._region, self._known = None, ()
        self._next_search = min(self._next_search, self._last_search + MIN_GRID_SECONDS)

    def _priority(self, frame: Frame, motion: float, segment: int) -> float:
        if self._settings.sampling != "uniform":
            return motion
        bounds = [*self._starts, 2 * self._starts[-1] - self._starts[-2] if len(self._starts) > 1 else 0.0]
        return -abs(frame.time_seconds - (bounds[segment] + bounds[segment + 1]) / 2)

    def _search(self, candidate: Candidate) -> None:
        """Look for faces: motion is from here on measured on the main one."""
        self._searches += 1
        if self._searches % WHOLE_SEARCHES == 0:
            self._known = ()
        faces = self._faces_of(candidate)
        self._region = _grown(faces[0].box, REGION_MARGIN) if faces else None
        self._known = tuple(face.box for face in faces)
        self._last_search = candidate.frame.time_seconds
        self._next_search = self._last_search + GRID_SECONDS

    def _keep_best(self, candidate: Candidate) -> None:
        first, *others = self._open
        others = sorted([*others, candidate], key=lambda one: -one.priority)[:CANDIDATES]
        self._open = [first, *others]

    def _close_segment(self) -> None:
        by_priority = sorted(self._open, key=lambda one: -one.priority)
        usable = (one for one in by_priority if self._detector is None or self._faces_of(one))
        self._chosen += by_priority and [next(usable, by_priority[0])]
        self._open = []

    def _faces_of(self, candidate: Candidate) -> list[Face]:
        if candidate.detections is None and self._detector is not None:
            known = self._known if candidate.shot == self._shot else ()
            candidate.detections = find_faces(candidate.frame, self._settings, self._detector, known=known)
            self._searched.append(FrameDetections(candidate.frame.time_seconds, candidate.shot, candidate.detections))
        return candidate.faces


def find_faces(
    frame: Frame, settings: ExtractionSettings, detector: FaceDetector, *, known: Sequence[Box] = ()
) -> tuple[Detection, ...]:
    """Faces of one frame in its own pixels, largest first, found in a reduced image.

    Args:
        frame: Any.
        settings: Smallest face.
        detector: Any.
        known: Where faces were a moment ago. If as many are found near there, the rest of the image is passed over:
            it is most of a detector's work.
    """
    width, height = frame.size
    small = frame.image(longest_side=DETECTION_SIDE)
    factor = width / small.shape[1]
    found = _detect_nearby(detector, small, [box.scaled(1 / factor) for box in known]) if known else None
    faces = [face.scaled(factor) for face in (detect_faces(detector, small) if found is None else found)]
    smallest = settings.min_face_fraction * min(width, height)
    faces = [face for face in faces if max(face.box.width, face.box.height) >= smallest]
    return detections_of(small, faces, width)


def _detect_nearby(detector: FaceDetector, image: Image, known: Sequence[Box]) -> list[Face] | None:
    """Faces in the part of an image that holds ``known``; None where that part does not settle the matter."""
    near = [_grown(box, NEARBY) for box in known]
    around = Box(*(pick(getattr(box, side) for box in near) for side, pick in _OUTER))
    rows, columns = (_aligned(one) for one in _slices(around, image.shape))
    part = image[rows, columns]
    if 2 * part.shape[0] * part.shape[1] > image.shape[0] * image.shape[1]:
        return None
    faces = detector.detect(np.ascontiguousarray(part))
    is_cut = any(_touches_edge(face.box, part.shape) for face in faces)
    return None if is_cut or len(faces) < len(known) else [face.moved(columns.start, rows.start) for face in faces]


def _aligned(places: slice) -> slice:
    """Widened to the detector's grid, so that it sees the very pixels in the very cells as in the whole image."""
    return slice(places.start // GRID_PIXELS * GRID_PIXELS, -(-places.stop // GRID_PIXELS) * GRID_PIXELS)


def _touches_edge(box: Box, shape: tuple[int, ...]) -> bool:
    return min(box.left, box.top, shape[1] - box.right, shape[0] - box.bottom) < 1


_OUTER = (("left", min), ("top", min), ("right", max), ("bottom", max))


def _segment_starts(info: VideoInfo, settings: ExtractionSettings) -> list[float]:
    """Start time of each segment; a clip of fewer frames than T has one segment a frame."""
    if settings.sampling == "first":
        return list(info.times_seconds[: settings.frames])
    if len(info.times_seconds) <= settings.frames:
        return list(info.times_seconds)
    return [info.times_seconds[0] + info.duration_seconds * k / settings.frames for k in range(settings.frames)]


def _grown(box: Box, share: float) -> Box:
    x, y = share * box.width, share * box.height
    return Box(box.left - x, box.top - y, box.right + x, box.bottom + y)


def _slices(region: Box | None, shape: tuple[int, ...]) -> tuple[slice, slice]:
    if region is None:
        return slice(None), slice(None)
    top, bottom = (int(min(max(value, 0), shape[0])) for value in (region.top, region.bottom))
    left, right = (int(min(max(value, 0), shape[1])) for value in (region.left, region.right))
    if bottom - top < 2 or right - left < 2:
        return slice(None), slice(None)
    return slice(top, bottom), slice(left, right)


def _mean_difference(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> float:
    return cv2.norm(before, after, cv2.NORM_L1) / (255 * after.size)
