"""From one file to its face clips: the one cropping that training and prediction share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dfutils.errors import NoFaceError, TooFewFacesError, UnreadableError
from dfutils.extraction.faces import FaceDetector
from dfutils.extraction.motion import Candidate, MotionTrace, choose_frames, find_faces
from dfutils.extraction.tracks import Track, link_faces
from dfutils.extraction.video import Frame, is_image, iter_frames, probe_video, read_image
from dfutils.records import Box, FaceClip, FaceCrop, Picture, VideoInfo
from dfutils.settings import ExtractionSettings


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """What one file gave: its stream facts, its clips (main person first) and the motion of all its frames."""

    info: VideoInfo
    clips: tuple[FaceClip, ...]
    trace: MotionTrace


def extract_clips(
    path: Path, settings: ExtractionSettings, detector: FaceDetector | None, *, threads: int = 1
) -> Extraction:
    """Cut the face clips of one video or image.

    Args:
        path: A video, or an image, which gives clips with T = 1.
        settings: Saved with a detector and used again in prediction.
        detector: From `dfutils.extraction.faces.build_detector`; None with ``settings.crop == "none"``.
        threads: Decoder threads; 0 lets FFmpeg choose.

    Raises:
        MediaError: One of its kinds, whose ``reason`` goes into ``skipped.csv`` or the verdict.
    """
    trace = MotionTrace()
    if is_image(path):
        picture = read_image(path, max_pixels=settings.max_pixels)
        height, width = picture.shape[:2]
        info = VideoInfo(width, height, 0.0, 0.0, (0.0,), path.stat().st_size)
        candidates = [_image_candidate(picture, settings, detector)]
    else:
        info = probe_video(path, settings)
        candidates = choose_frames(iter_frames(path, threads=threads), info, settings, detector, trace)
        if not trace.times_seconds:
            raise UnreadableError(
                f"{path}: no frame could be decoded ({info.size_bytes} bytes). "
                "The download may be cut short, or the codec missing; re-encode or skip the file."
            )
    clips = _cut_clips(path, candidates, settings, is_video=info.duration_seconds > 0 or len(info.times_seconds) > 1)
    return Extraction(info, clips, trace)


def square_around(box: Box, *, margin: float, frame_size: tuple[int, int]) -> Box:
    """Grow a face box to a square that stays inside the frame.

    Near an edge the square is moved rather than cut, so that resizing never stretches a face; only a face larger
    than the frame is cut.

    Args:
        box: Face as the detector found it.
        margin: Room on each side as a fraction of the longer side; 0.3 adds 30 %.
        frame_size: ``(width, height)`` of the frame in pixels.

    Raises:
        ValueError: ``margin`` would leave nothing of the box.

    Example:
        >>> square_around(Box(10, 20, 30, 40), margin=0.5, frame_size=(100, 100))
        Box(left=0, top=10, right=40, bottom=50)
    """
    if margin <= -0.5:
        raise ValueError(f"margin must be above −0.5. Received: {margin}")
    width, height = frame_size
    side = max(1, min(round(max(box.width, box.height) * (1 + 2 * margin)), width, height))
    center_x, center_y = box.center
    left = min(max(round(center_x - side / 2), 0), width - side)
    top = min(max(round(center_y - side / 2), 0), height - side)
    return Box(left, top, left + side, top + side)


def crop_square(picture: Picture, square: Box, *, size: int) -> Picture:
    """Cut ``square`` (whole pixels) out of an RGB picture and resize it to ``(size, size, 3)``."""
    part = picture[int(square.top) : int(square.bottom), int(square.left) : int(square.right)]
    interpolation = cv2.INTER_AREA if part.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(part, (size, size), interpolation=interpolation).astype(np.uint8, copy=False)


def fill_positions(times_seconds: Sequence[float], wanted: int) -> list[int]:
    """Which of the frames at hand represent each of ``wanted`` places, in the order of time.

    A shorter track is filled by repeating its nearest frames in time, never with black frames.

    Args:
        times_seconds: Times of the frames at hand, rising.
        wanted: T.

    Example:
        >>> fill_positions([0.0, 1.0, 9.0], 5)
        [0, 1, 1, 2, 2]
    """
    if len(times_seconds) >= wanted:
        return list(range(wanted))
    first, last = times_seconds[0], times_seconds[-1]
    places = np.linspace(first, last, wanted)
    nearest = [int(np.argmin([abs(time - place) for time in times_seconds])) for place in places]
    return _with_every_frame(nearest, len(times_seconds))


def _with_every_frame(nearest: list[int], count: int) -> list[int]:
    """Make sure that no frame at hand is lost: bunched frames would else all fall to one neighbour."""
    result = nearest[:]
    for missing in sorted(set(range(count)) - set(result)):
        repeated = [place for place, index in enumerate(result) if result.count(index) > 1]
        place = min(repeated, key=lambda one: abs(result[one] - missing))
        result[place] = missing
        result.sort()
    return result


def _image_candidate(picture: Picture, settings: ExtractionSettings, detector: FaceDetector | None) -> Candidate:
    frame = Frame(0, 0.0, picture)
    faces = None if detector is None else find_faces(frame, settings, detector)
    return Candidate(frame, 0.0, 0.0, faces)


def _cut_clips(
    path: Path, candidates: list[Candidate], settings: ExtractionSettings, *, is_video: bool
) -> tuple[FaceClip, ...]:
    wanted = settings.frames if is_video else 1
    pictures = [candidate.frame.picture() for candidate in candidates]
    if settings.crop == "none":
        return (_cut_track(_whole_pictures(pictures), candidates, pictures, settings, wanted, number=0),)
    tracks = link_faces(pictures, [candidate.faces or [] for candidate in candidates])
    if not tracks:
        raise NoFaceError(f"{path}: no face was found in any frame looked at. Nothing can be said about this file.")
    needed = min(settings.min_face_frames, wanted)
    long_enough = [track for track in tracks if len(track.positions) >= needed]
    if not long_enough:
        most = max(len(track.positions) for track in tracks)
        raise TooFewFacesError(
            f"{path}: a face was found in only {most} frames, {needed} are needed. "
            "Use a longer or clearer video, or lower min_face_frames."
        )
    kept = long_enough if settings.tracks == "all" else long_enough[:1]
    return tuple(
        _cut_track(track, candidates, pictures, settings, wanted, number=number) for number, track in enumerate(kept)
    )


def _whole_pictures(pictures: Sequence[Picture]) -> Track:
    return Track(positions=list(range(len(pictures))))


def _cut_track(
    track: Track,
    candidates: Sequence[Candidate],
    pictures: Sequence[Picture],
    settings: ExtractionSettings,
    wanted: int,
    *,
    number: int,
) -> FaceClip:
    times = [candidates[position].frame.time_seconds for position in track.positions]
    crops: list[FaceCrop] = []
    cut: list[Picture] = []
    for chosen in fill_positions(times, wanted):
        position = track.positions[chosen]
        face = track.faces[chosen] if track.faces else None
        height, width = pictures[position].shape[:2]
        box = face.box if face else Box((width - height) / 2, 0, (width + height) / 2, height)
        square = square_around(box, margin=settings.margin if face else 0.0, frame_size=(width, height))
        cut.append(crop_square(pictures[position], square, size=settings.size))
        frame = candidates[position].frame
        crops.append(FaceCrop(frame.index, frame.time_seconds, candidates[position].motion, face, square))
    return FaceClip(np.stack(cut), tuple(crops), number)
