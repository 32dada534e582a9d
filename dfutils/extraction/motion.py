"""One streaming pass that searches a sparse grid of frames for faces and keeps the best frame of each segment."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.extraction.faces import DETECTION_SIDE, FaceDetector, detect_faces
from dfutils.extraction.frames import Frame
from dfutils.extraction.tracks import Detection, FrameDetections, detections_of
from dfutils.records import MAX_FACES, Box, Face, Image, MotionTrace, VideoInfo
from dfutils.settings import ExtractionSettings

CUT_DIFFERENCE = 0.1
"""A mean luma difference above this, over the image or the face, counts as a cut; moving people stay below 0.06."""

CUT_ROWS = 4
"""Every fourth row of the whole image is compared: all rows would cost 4 % of the decoding time at 1080p."""

REGION_MARGIN = 0.2
"""Motion is measured within this margin around the last known face, as a fraction of its size."""

CANDIDATES = 2
"""Frames kept per segment in addition to the first, which is always searched for faces."""

GRID_PIXELS = 32
"""Side of YuNet's coarsest cell. Boxes from a part that is not aligned with it differ by 1 % to 6 % of the face."""

GRID_SECONDS, MIN_GRID_SECONDS = 1.0, 0.2
"""Longest time between two searches for faces, and the shortest time, which applies after an apparent cut."""

NEARBY, WHOLE_SEARCHES = 0.5, 2
"""A frame is first searched within this margin around the faces of the last search, as a fraction of each; every second
search on the grid covers the whole image, so that a newcomer is found within two grid steps."""


@dataclass(slots=True)
class Candidate:
    """A frame that may represent its segment; ``detections`` is None until it has been searched for faces."""

    frame: Frame
    motion: float
    priority: float
    shot: int = 0
    detections: tuple[Detection, ...] | None = None


class MotionMeter:
    """Measures the luma difference from the previous frame, on the face if one is known, and tells cuts from motion."""

    def __init__(self) -> None:
        self._before: npt.NDArray[np.uint8] | None = None
        self._kept: Frame | None = None  # keeps alive the buffer that the plane above is a view of

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
    """Result of one pass over a video, in temporal order.

    Attributes:
        candidates: The best frame of each segment, with a face if one was found.
        searched: Every frame that was searched for faces.
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
    """Choose the frames that represent a video, and search it for faces at regular intervals.

    The video is divided into T segments of equal time. From each segment, the best frame with a face among the first
    and the two best by ``settings.sampling`` is kept. Memory holds T frames, however long the video is.

    Args:
        frames: From `dfutils.extraction.video.iter_frames`.
        info: Its exact frame times determine the segments; frames before the first of these times are skipped.
        settings: T, sampling and face limits.
        detector: None to accept every frame, for ready-made crops.
        trace: Receives the motion of every frame.
    """
    selector = _FrameSelector(settings, info, detector)
    end = info.times_seconds[0] + info.duration_seconds
    for number, frame in enumerate(frames):
        if (settings.sampling == "first" and number >= settings.frames) or frame.time_seconds > end + 1:
            break
        if frame.time_seconds >= info.times_seconds[0]:
            selector.see(frame, trace)
    return selector.finish()


class _FrameSelector:
    def __init__(self, settings: ExtractionSettings, info: VideoInfo, detector: FaceDetector | None) -> None:
        self._settings, self._detector = settings, detector
        times = info.times_seconds
        self._end = times[0] + info.duration_seconds
        if settings.sampling == "first" or len(times) <= settings.frames:
            self._starts = list(times[: settings.frames])  # one segment per frame
        else:
            count = settings.frames
            self._starts = [times[0] + info.duration_seconds * k / count for k in range(count)]
            firsts = [bisect.bisect_left(times, start - 1e-9) for start in self._starts]
            if len(set(firsts)) < count or firsts[-1] == len(times):  # a segment without a frame: divide their number
                self._starts = [times[len(times) * k // count] for k in range(count)]
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
            self._shot += 1
            self._region, self._known = None, ()
            self._next_search = min(self._next_search, self._last_search + MIN_GRID_SECONDS)
        priority = motion
        if self._settings.sampling == "uniform":  # the nearer to the middle of its segment, the better
            bounds = [*self._starts, self._end]
            priority = -abs(frame.time_seconds - (bounds[segment] + bounds[segment + 1]) / 2)
        candidate = Candidate(frame, motion, priority, self._shot)
        if segment > self._segment or frame.time_seconds >= self._next_search:
            self._searches += 1
            if self._searches % WHOLE_SEARCHES == 0:
                self._known = ()
            self._known = tuple(detection.face.box for detection in self._detections_of(candidate))
            self._region = _grown(self._known[0], REGION_MARGIN) if self._known else None
            self._last_search = frame.time_seconds
            self._next_search = frame.time_seconds + GRID_SECONDS
        if segment > self._segment:
            self._close_segment()
            self._segment = segment
            self._open = [candidate]
        else:
            first, *others = self._open
            self._open = [first, *sorted([*others, candidate], key=lambda one: -one.priority)[:CANDIDATES]]
        if trace is not None:
            trace.times_seconds.append(frame.time_seconds)
            trace.motion.append(motion)
            if is_cut:
                trace.cuts.append(frame.index)

    def finish(self) -> Scan:
        self._close_segment()
        return Scan(self._chosen, sorted(self._searched, key=lambda frame: frame.time_seconds))

    def _close_segment(self) -> None:
        by_priority = sorted(self._open, key=lambda one: -one.priority)
        usable = (one for one in by_priority if self._detector is None or self._detections_of(one))
        self._chosen += by_priority and [next(usable, by_priority[0])]
        self._open = []

    def _detections_of(self, candidate: Candidate) -> tuple[Detection, ...]:
        if candidate.detections is None and self._detector is not None:
            known = self._known if candidate.shot == self._shot else ()
            found = find_faces(candidate, self._settings, self._detector, known=known)
            candidate.detections = found.detections
            self._searched.append(found)
        return candidate.detections or ()


def find_faces(
    candidate: Candidate, settings: ExtractionSettings, detector: FaceDetector, *, known: Sequence[Box] = ()
) -> FrameDetections:
    """Find the faces of one frame in a reduced image, at most `MAX_FACES`, in pixels of the frame.

    If at least as many faces are found near the ``known`` boxes as there are boxes, the rest of the image is not
    searched, which saves most of the detector's work.
    """
    frame = candidate.frame
    width, height = frame.size
    small = frame.image(longest_side=DETECTION_SIDE)
    factor = width / small.shape[1]
    found = _detect_nearby(detector, small, [box.scaled(1 / factor) for box in known]) if known else None
    faces = [face.scaled(factor) for face in (detect_faces(detector, small) if found is None else found)]
    smallest = settings.min_face_fraction * min(width, height)
    large = [face for face in faces if max(face.box.width, face.box.height) >= smallest]
    return FrameDetections(
        frame.time_seconds,
        candidate.shot,
        detections_of(small, large[:MAX_FACES], width),
        left_out=max(0, len(large) - MAX_FACES),
        too_small=len(faces) - len(large),
    )


def _detect_nearby(detector: FaceDetector, image: Image, known: Sequence[Box]) -> list[Face] | None:
    """Find faces in the part of an image that holds ``known``; None if the whole image must be searched."""
    near = [_grown(box, NEARBY) for box in known]
    around = Box(
        min(box.left for box in near),
        min(box.top for box in near),
        max(box.right for box in near),
        max(box.bottom for box in near),
    )
    # Aligned with the detector's grid, so that each cell sees the same pixels as in the whole image.
    step = GRID_PIXELS
    parts = _slices(around, image.shape)
    if parts[0].start is None:  # the faces have left the image
        return None
    rows, columns = (slice(one.start // step * step, -(-one.stop // step) * step) for one in parts)
    part = image[rows, columns]
    if 2 * part.shape[0] * part.shape[1] > image.shape[0] * image.shape[1]:
        return None
    faces = detector.detect(np.ascontiguousarray(part))
    height, width = part.shape[:2]
    boxes = [face.box for face in faces]
    is_cut_off = any(min(box.left, box.top, width - box.right, height - box.bottom) < 1 for box in boxes)
    return None if is_cut_off or len(faces) < len(known) else [face.moved(columns.start, rows.start) for face in faces]


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
