"""From one file to its face clips: the one cropping that training and prediction share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfutils.errors import NoFaceError, TooFewFacesError, UnreadableError
from dfutils.extraction.crops import central_square, crop_square, fill_positions, framed, square_around
from dfutils.extraction.faces import FaceDetector
from dfutils.extraction.images import is_image, read_image
from dfutils.extraction.motion import Candidate, Scan, find_faces, scan_frames
from dfutils.extraction.tracks import FrameDetections, Track, link_faces
from dfutils.extraction.video import Frame, iter_frames, probe_video
from dfutils.records import Box, Extraction, Face, FaceClip, FaceCrop, Image, MotionTrace, VideoInfo
from dfutils.settings import ExtractionSettings


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one crop is cut: in which candidate, the face there, and the square that the margin counts from."""

    candidate: int
    face: Face | None
    box: Box


def extract_clips(path: Path, settings: ExtractionSettings, detector: FaceDetector, *, threads: int = 1) -> Extraction:
    """Cut the face clips of one video or image, in this very process: for files that are trusted.

    Args:
        path: A video, or an image, which gives clips with T = 1.
        settings: Saved with a detector and used again in prediction.
        detector: From `dfutils.extraction.faces.face_detector`; of ready-made crops it finds only the landmarks.
        threads: Decoder threads; 0 lets FFmpeg choose.

    Raises:
        MediaError: One of its kinds, whose ``reason`` goes into ``skipped.csv`` or the verdict.
    """
    if is_image(path):
        return _extract_image(path, settings, detector)
    trace = MotionTrace()
    info = probe_video(path, settings)
    frames = iter_frames(path, threads=threads, max_pixels=settings.max_pixels)
    scan = scan_frames(frames, info, settings, detector if settings.crop == "face" else None, trace)
    if not trace.times_seconds:
        raise UnreadableError(
            f"{path}: no frame could be decoded ({info.size_bytes} bytes). "
            "The download may be cut short, or the codec missing; re-encode or skip the file."
        )
    try:
        places = _place(path, scan, settings, detector, wanted=settings.frames)
    except TooFewFacesError:
        # Cut so fast that no shot holds enough of the frames chosen: frame at the longest shot alone.
        shot = _main_shot(scan, trace, info)
        if shot is None:
            raise
        scan = scan_frames(iter_frames(path, threads=threads, max_pixels=settings.max_pixels), shot, settings, detector)
        places = _place(path, scan, settings, detector, wanted=settings.frames)
    width, height = scan.candidates[0].frame.size  # upright, while the header's may be turned or wrong
    info = replace(info, width=width, height=height)
    return Extraction(info, _cut(scan.candidates, places, settings, wanted=settings.frames), trace)


def _extract_image(path: Path, settings: ExtractionSettings, detector: FaceDetector) -> Extraction:
    image = read_image(path, max_pixels=settings.max_pixels)
    height, width = image.shape[:2]
    candidate = Candidate(Frame(0, 0.0, image), 0.0, 0.0)
    if settings.crop == "face":
        candidate.detections = find_faces(candidate.frame, settings, detector)
    scan = Scan([candidate], [FrameDetections(0.0, 0, candidate.detections or ())])
    places = _place(path, scan, settings, detector, wanted=1)
    info = VideoInfo(width, height, 0.0, 0.0, (0.0,), path.stat().st_size)
    return Extraction(info, _cut(scan.candidates, places, settings, wanted=1), MotionTrace())


def _place(
    path: Path, scan: Scan, settings: ExtractionSettings, detector: FaceDetector, *, wanted: int
) -> list[list[_Place]]:
    """Where to cut, a list a track that is long enough, the main person's first."""
    if settings.crop == "none":
        return [[_as_it_is(number, candidate, settings, detector) for number, candidate in enumerate(scan.candidates)]]
    tracks = link_faces(scan.searched)
    if not tracks:
        raise NoFaceError(f"{path}: no face was found in any frame looked at. Nothing can be said about this file.")
    needed = min(settings.min_face_frames, wanted)
    places = [_follow(track, scan.candidates) for track in tracks]
    long_enough = [track_places for track_places in places if len(track_places) >= needed]
    if not long_enough:
        most = max(len(track_places) for track_places in places)
        raise TooFewFacesError(
            f"{path}: a face was found in only {most} frames, {needed} are needed. "
            "Use a longer or clearer video, or lower min_face_frames."
        )
    return long_enough if settings.tracks == "all" else long_enough[:1]


def _as_it_is(number: int, candidate: Candidate, settings: ExtractionSettings, detector: FaceDetector) -> _Place:
    """The middle of an image that is a face crop already; its landmarks are for those who blend faces."""
    detections = find_faces(candidate.frame, settings, detector)
    face = detections[0].face if detections else None
    return _Place(number, face, central_square(*candidate.frame.size))


def _follow(track: Track, candidates: Sequence[Candidate]) -> list[_Place]:
    """The chosen frames that show a track's person, found there or between two near detections."""
    places = []
    for number, candidate in enumerate(candidates):
        time = candidate.frame.time_seconds
        face = track.face_at(time)
        if face is not None:
            places.append(_Place(number, face, framed(face.box, side=track.side_at(time))))
    return places


def _main_shot(scan: Scan, trace: MotionTrace, info: VideoInfo) -> VideoInfo | None:
    """The stream facts of the shot with the largest face × duration; None where nothing was cut."""
    if not trace.cuts:
        return None
    starts = [0, *trace.cuts, len(trace.times_seconds)]
    areas: dict[int, list[float]] = {}
    for frame in scan.searched:
        if frame.detections:
            areas.setdefault(frame.shot, []).append(frame.detections[0].face.box.area)
    best = max(areas, key=lambda shot: (starts[shot + 1] - starts[shot]) * sum(areas[shot]) / len(areas[shot]))
    times = tuple(trace.times_seconds[starts[best] : starts[best + 1]])
    return replace(info, times_seconds=times, duration_seconds=times[-1] - times[0])


def _cut(
    candidates: Sequence[Candidate], tracks: Sequence[Sequence[_Place]], settings: ExtractionSettings, *, wanted: int
) -> tuple[FaceClip, ...]:
    """Cut all tracks' crops frame by frame, so that one full image at a time is in memory."""
    cut: dict[tuple[int, int], tuple[Image, FaceCrop]] = {}
    for index, candidate in enumerate(candidates):
        here = [(number, place) for number, track in enumerate(tracks) for place in track if place.candidate == index]
        if here:
            image = candidate.frame.image()
            cut.update({(number, index): _cut_one(image, place, candidate, settings) for number, place in here})
    return tuple(_fill(number, track, candidates, cut, wanted) for number, track in enumerate(tracks))


def _cut_one(image: Image, place: _Place, candidate: Candidate, settings: ExtractionSettings) -> tuple[Image, FaceCrop]:
    height, width = image.shape[:2]
    margin = settings.margin if settings.crop == "face" else 0.0
    square = square_around(place.box, margin=margin, frame_size=(width, height))
    frame = candidate.frame
    crop = FaceCrop(frame.index, frame.time_seconds, candidate.motion, place.face, square)
    return crop_square(image, square, size=settings.size), crop


def _fill(
    number: int,
    track: Sequence[_Place],
    candidates: Sequence[Candidate],
    cut: dict[tuple[int, int], tuple[Image, FaceCrop]],
    wanted: int,
) -> FaceClip:
    times = [candidates[place.candidate].frame.time_seconds for place in track]
    chosen = [cut[number, track[position].candidate] for position in fill_positions(times, wanted)]
    return FaceClip(np.stack([image for image, _ in chosen]), tuple(crop for _, crop in chosen), number)
