"""Cut the face clips of one file: the single cropping path that training and prediction share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfutils.errors import IncompleteError, NoFaceError, TooFewFacesError, UnreadableError
from dfutils.extraction.crops import central_square, crop_square, fill_positions, framed, square_around
from dfutils.extraction.faces import FaceDetector
from dfutils.extraction.motion import Candidate, Scan, find_faces, scan_frames
from dfutils.extraction.tracks import link_faces
from dfutils.extraction.video import is_clearly_shorter, iter_frames, probe_video
from dfutils.records import MAX_FACES, Box, Extraction, Face, FaceClip, FaceCrop, Image, MotionTrace, VideoInfo
from dfutils.settings import ExtractionSettings


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to cut a crop out of a frame: the face, and the square that the margin is measured from."""

    face: Face | None
    square: Box


def extract_clips(
    path: Path,
    settings: ExtractionSettings,
    detector: FaceDetector,
    *,
    frames: Sequence[Path] = (),
    threads: int = 1,
) -> Extraction:
    """Cut the face clips of one trusted video or image, in this process.

    Args:
        path: A video, or an image, which gives clips with T = 1; or the folder of ``frames``.
        settings: How to cut the crops; a detector saves these settings and prediction reuses them.
        detector: From `dfutils.extraction.faces.face_detector`; for ready-made crops it only supplies the landmarks.
        frames: Images that are the frames of the video; see `dfutils.records.Video`.
        threads: Decoder threads; 0 lets FFmpeg choose.

    Raises:
        MediaError: One of its subclasses, whose ``reason`` goes into ``skipped.csv`` or the verdict.
    """
    trace, searcher = MotionTrace(), detector if settings.crop == "face" else None
    info = probe_video(path, settings, frames)
    decode = functools.partial(
        iter_frames, path, frames, threads=threads, max_pixels=settings.max_pixels, start_seconds=info.start_seconds
    )
    _check_complete(path, info, settings)
    if info.duration_seconds == 0:  # an image, or a single frame without a duration
        settings = settings.model_copy(update={"frames": 1})
    scan = scan_frames(decode(), info, settings, searcher, trace)
    if not scan.candidates:
        raise UnreadableError(
            f"{path}: no frame could be decoded ({info.size_bytes:,} bytes). "
            "The download may be cut short, or the codec missing; re-encode or skip the file."
        )
    info = _as_decoded(info, trace, settings)
    _check_complete(path, info, settings)
    people = _places_of_people(scan, settings, detector)
    needed = min(settings.min_face_frames, settings.frames) if settings.crop == "face" else 1
    if people and max(map(len, people)) < needed and trace.cuts:
        # The cuts are so fast that no shot holds enough of the chosen frames: choose frames from the main shot alone.
        shot = _main_shot(scan, trace, info)
        last = shot.times_seconds[-1]
        within = itertools.takewhile(lambda frame: frame.time_seconds <= last, decode())
        scan = scan_frames(within, shot, settings, searcher)
        people = _places_of_people(scan, settings, detector)
    if not people and (too_small := max((frame.too_small for frame in scan.searched), default=0)):
        faces = "the only face is" if too_small == 1 else f"all {too_small} faces are"
        raise NoFaceError(
            f"{path}: {faces} smaller than {100 * settings.min_face_fraction:g}% of the frame's shorter side. "
            "Crop the image, or lower min_face_fraction."
        )
    if not people:
        raise NoFaceError(f"{path}: no face was found in any frame inspected. Nothing can be said about this file.")
    if (longest := max(map(len, people))) < needed:
        raise TooFewFacesError(
            f"{path}: a face was found in only {longest} frame{'' if longest == 1 else 's'}, but {needed} are needed. "
            "Use a longer or clearer video, or lower min_face_frames."
        )
    people = [places for places in people if len(places) >= needed]
    too_many = max(0, len(people) - MAX_FACES)
    people = people[:MAX_FACES]
    clips = _cut(people if settings.tracks == "all" else people[:1], scan.candidates, settings)
    width, height = scan.candidates[0].frame.size  # upright; the header's size may be wrong or not rotated
    left_out = max((frame.left_out for frame in scan.searched), default=0) + too_many
    return Extraction(replace(info, width=width, height=height), clips, trace, left_out)


def _check_complete(path: Path, info: VideoInfo, settings: ExtractionSettings) -> None:
    if info.is_truncated and settings.incomplete == "skip":
        raise IncompleteError(f"{path}: {info.cut_off}. Download or copy it again, or set incomplete='keep'.")


def _as_decoded(info: VideoInfo, trace: MotionTrace, settings: ExtractionSettings) -> VideoInfo:
    """Return the info with the times of the frames decoded if they end clearly earlier than declared."""
    if settings.sampling == "first" or len(trace.times_seconds) < 2:
        return info
    last, end = trace.times_seconds[-1], info.times_seconds[-1]
    if not 0 < last < end or not (info.is_truncated or is_clearly_shorter(last, end)):
        return info
    duration = last + last / (len(trace.times_seconds) - 1)
    return replace(
        info,
        fps=len(trace.times_seconds) / duration,
        duration_seconds=duration,
        times_seconds=tuple(trace.times_seconds),
        is_truncated=True,
        declared_seconds=info.declared_seconds if info.is_truncated else info.duration_seconds,
    )


def _places_of_people(scan: Scan, settings: ExtractionSettings, detector: FaceDetector) -> list[dict[int, _Place]]:
    """Return where to cut each person out of the chosen frames, keyed by position among them; main person first."""
    people: list[dict[int, _Place]] = []
    if settings.crop == "none":  # take the middle of ready-made crops, and find the landmarks that blending needs
        people.append({})
        for index, candidate in enumerate(scan.candidates):
            detections = find_faces(candidate, settings, detector).detections
            face = detections[0].face if detections else None
            people[0][index] = _Place(face, central_square(*candidate.frame.size))
        return people
    for track in link_faces(scan.searched):
        places: dict[int, _Place] = {}
        for index, candidate in enumerate(scan.candidates):
            time = candidate.frame.time_seconds
            if (face := track.face_at(time)) is not None:
                places[index] = _Place(face, framed(face.box, side=track.side_at(time)))
        people.append(places)
    return people


def _main_shot(scan: Scan, trace: MotionTrace, info: VideoInfo) -> VideoInfo:
    """Return the stream facts of the main shot, the one with the largest mean face area × number of frames."""
    starts = [0, *trace.cuts, len(trace.times_seconds)]
    areas: dict[int, list[float]] = {}
    for frame in scan.searched:
        if frame.detections:
            areas.setdefault(frame.shot, []).append(frame.detections[0].face.box.area)
    best = max(areas, key=lambda shot: (starts[shot + 1] - starts[shot]) * sum(areas[shot]) / len(areas[shot]))
    times = tuple(trace.times_seconds[starts[best] : starts[best + 1]])
    return replace(info, times_seconds=times, duration_seconds=times[-1] - times[0])


def _cut(
    people: Sequence[Mapping[int, _Place]], candidates: Sequence[Candidate], settings: ExtractionSettings
) -> tuple[FaceClip, ...]:
    """Cut the crops of all people frame by frame, so that only one full image is in memory at a time."""
    margin = settings.margin if settings.crop == "face" else 0.0
    cut: list[list[tuple[Image, FaceCrop]]] = [[] for _ in people]
    for index, candidate in enumerate(candidates):
        here = [(crops, places[index]) for crops, places in zip(cut, people, strict=True) if index in places]
        if not here:
            continue
        frame = candidate.frame
        image = frame.image()
        for crops, place in here:
            square = square_around(place.square, margin=margin, frame_size=(image.shape[1], image.shape[0]))
            crop = FaceCrop(frame.index, frame.time_seconds, candidate.motion, place.face, square)
            crops.append((crop_square(image, square, size=settings.size), crop))
    clips = []
    for track, crops in enumerate(cut):
        positions = fill_positions([crop.time_seconds for _, crop in crops], settings.frames)
        images, records = zip(*(crops[position] for position in positions), strict=True)
        clips.append(FaceClip(np.stack(images), records, track))
    return tuple(clips)
