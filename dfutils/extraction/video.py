"""Streaming video decoder on PyAV: frame times by demuxing alone, and frames upright and in sRGB."""

from __future__ import annotations

import gc
import heapq
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.filter import Graph

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction.colour import colour_transform
from dfutils.extraction.containers import ends_early, is_fragmented
from dfutils.extraction.frames import UPRIGHT, Frame, Orientation, orientation_of, rotation_matrix
from dfutils.extraction.images import MAX_IMAGE_PIXELS, iter_images, measure_image
from dfutils.extraction.recognition import is_image
from dfutils.extraction.streams import (
    Clock,
    declared_seconds,
    frame_rate,
    is_duration_reliable,
    iter_packets,
    most_reordered,
    opened_video,
    pixel_aspect,
    plausible_aspect,
)
from dfutils.records import VideoInfo
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)
MAX_LOST_SECONDS, MAX_LOST_FRACTION = 0.5, 0.02
"""A file counts as truncated only if it is shorter than declared by more than both; containers round durations."""


READS_BETWEEN_COLLECTIONS = 8
"""Frames whose side data were read are in reference cycles of PyAV; a video of keyframes alone would keep hundreds."""

FRAME_LIST_FPS = 25.0
"""Frame rate that is assumed of a video that is stored as images, which do not say it."""


def probe_video(path: Path, settings: ExtractionSettings, frames: Sequence[Path] = ()) -> VideoInfo:
    """Demux the whole stream without decoding: exact frame times for about 3 % of the cost of decoding.

    Packets that no player shows are left out: those hidden by an edit list, and those before the first keyframe. Header
    fields such as the frame count may be wrong or negative and are not used. Width and height are as stored;
    `dfutils.extraction.clips.extract_clips` replaces them by the upright size.

    Args:
        path: A video or an image, or the folder of ``frames``.
        settings: Limits of pixels, frames and seconds.
        frames: Images that are the frames of the video.

    Raises:
        UnreadableError: The file is not a video, was cut short before its index, or has no video stream.
        TooLargeError: The video has more pixels, frames or seconds than ``settings`` allow.
    """
    if frames:
        return _probe_frames(path, frames, settings)
    if is_image(path):
        return _probe_image(path, settings)
    with opened_video(path) as (container, stream):
        width, height = round(stream.codec_context.width * pixel_aspect(stream)), stream.codec_context.height
        if width * height > settings.max_pixels:
            raise TooLargeError(
                f"{path}: {width} × {height} pixels are more than the limit of {settings.max_pixels:,}. "
                "Scale it down, or raise max_pixels."
            )
        shown, last_decoded = _shown_packets(path, container, stream, settings)
        declared, is_reliable = declared_seconds(container, stream), is_duration_reliable(container)
        name = container.format.name
    if not shown:
        raise UnreadableError(f"{path}: the video stream is empty. The download may be cut short; skip the file.")
    start = shown[0][0]
    times = tuple(time - start for time, _ in shown)
    mean_interval = times[-1] / (len(times) - 1) if len(times) > 1 else 0.0
    # MP4 stores durations in decoding order, so the last frame displayed may carry another frame's duration. Their sum
    # is right.
    last_duration = sum(seconds for _, seconds in shown) - times[-1]
    if not 0 < last_duration <= max(shown[-1][1], last_decoded) + 1e-6:
        last_duration = shown[-1][1] or mean_interval
    duration = times[-1] + last_duration
    is_cut = ends_early(path)
    if is_cut and (name == "ogg" or is_fragmented(path)):
        declared = None  # FFmpeg only knows what is present
    is_long_enough = declared is not None and not is_clearly_shorter(duration, declared)
    is_truncated = not is_long_enough and (is_cut or (is_reliable and declared is not None))
    return VideoInfo(
        width=width,
        height=height,
        fps=len(times) / duration if duration > 0 else 0.0,
        duration_seconds=duration,
        times_seconds=times,
        size_bytes=path.stat().st_size,
        start_seconds=start,
        is_truncated=is_truncated,
        declared_seconds=declared if is_truncated else None,
    )


def is_clearly_shorter(seconds: float, declared: float) -> bool:
    """Return whether a duration is so far below the declared one that rounding cannot be the reason."""
    return declared - seconds > max(MAX_LOST_SECONDS, MAX_LOST_FRACTION * declared)


def iter_frames(
    path: Path,
    frames: Sequence[Path] = (),
    *,
    threads: int = 1,
    max_pixels: int = 0,
    start_seconds: float | None = None,
) -> Iterator[Frame]:
    """Decode frame by frame in the order of display; skip damaged packets and log their number.

    Args:
        path: A video or an image, or the folder of ``frames``.
        frames: Images that are the frames of the video.
        threads: Decoder threads; 0 lets FFmpeg choose.
        max_pixels: Limit for each frame of a video, since larger ones may come in the middle of a stream; images are
            reduced to it. 0 for no limit.
        start_seconds: From `probe_video`: stream time that counts as 0; earlier frames are dropped. By default that of
            the first keyframe.

    Raises:
        UnreadableError: The file cannot be opened as a video.
    """
    if frames:
        for index, (file, time) in enumerate(zip(frames, _times_of_frames(frames), strict=True)):
            image, _ = next(iter_images(file, max_pixels=max_pixels or MAX_IMAGE_PIXELS))
            yield Frame(index, time, image)
        return
    if is_image(path):
        time = 0.0
        for index, (image, seconds) in enumerate(iter_images(path, max_pixels=max_pixels or MAX_IMAGE_PIXELS)):
            yield Frame(index, time, image)
            time += seconds
        return
    with opened_video(path) as (container, stream):
        if max_pixels:
            stream.codec_context.options = {"max_pixels": str(max_pixels)}
        stream.codec_context.thread_count = threads
        stream.thread_type = "NONE" if threads == 1 else "AUTO"
        aspect, rate = pixel_aspect(stream), frame_rate(stream)
        context = stream.codec_context
        transfer, primaries = int(context.color_trc or 0), int(context.color_primaries or 0)
        canvas: tuple[int, int] | None = None
        coded_aspect: Fraction | None = None
        index, number, shown_at = 0, 0, 0.0
        for frame, orientation in _upright(_decoded(path, container, stream)):
            time = frame.time if frame.time is not None else number / rate
            number += 1
            start_seconds = time if start_seconds is None else start_seconds
            if time < start_seconds - 1e-6:
                continue
            if index == 0:
                coded_aspect = context.sample_aspect_ratio
            elif frame.key_frame and context.sample_aspect_ratio != coded_aspect:
                # Broadcasts switch between 4:3 and 16:9 at a keyframe; the container only declares the first.
                coded_aspect = context.sample_aspect_ratio
                aspect = plausible_aspect(coded_aspect)
            colours = colour_transform(
                _specified(getattr(frame, "color_trc", 0), transfer),
                _specified(getattr(frame, "color_primaries", 0), primaries),
            )
            shown_at = max(shown_at, time - start_seconds)  # frames left over where recordings were joined step back
            one = Frame(index, shown_at, frame, aspect, orientation, colours)
            canvas = canvas or one.size
            yield one if one.size == canvas else replace(one, canvas=canvas)
            index += 1


def _shown_packets(
    path: Path, container: Any, stream: Any, settings: ExtractionSettings
) -> tuple[list[tuple[float, float]], float]:
    """Return time and duration of each packet shown, in order of display, and the last duration in the file."""
    shown: list[tuple[float, float]] = []
    before_key: list[tuple[float, float]] = []
    first_key: float | None = None
    last_decoded, number, untimed, rate, clock = 0.0, 0, 0, frame_rate(stream), Clock(container, stream)
    for packet in iter_packets(path, container, stream):
        if not packet.size:
            continue
        clock.correct(packet)
        stamp = packet.pts if packet.pts is not None else packet.dts
        base = float(packet.time_base or 0)
        is_first_key = first_key is None and packet.is_keyframe
        untimed = 0 if is_first_key else untimed  # as for the decoder, which gives no frame before
        time = stamp * base if stamp is not None and base else untimed / rate
        number, untimed = number + 1, untimed + 1
        first_key = time if is_first_key else first_key
        if not packet.is_discard:
            last_decoded = (packet.duration or 0) * base
            target = shown if first_key is not None and time >= first_key else before_key
            target.append((time, last_decoded))
        if shown and abs(time - shown[0][0]) > settings.max_seconds:
            raise TooLargeError(_too_long(path, settings))
        if number > settings.limits.frames:
            raise TooLargeError(
                f"{path}: has more than {settings.limits.frames:,} frames. Cut it, or raise limits.frames."
            )
    return sorted(shown or before_key), last_decoded


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """Yield frames from the first keyframe on; players do not show anything before it."""
    clock, damaged = Clock(container, stream), 0
    has_key, first_time = False, None
    pending: list[int] = []  # decoding times of frames not yet output; sorted, they are the display times
    for packet in iter_packets(path, container, stream):
        if packet.size:
            clock.correct(packet)
            if packet.is_keyframe and not has_key:
                has_key, first_time = True, packet.pts
            if clock.has_no_display_times and has_key and packet.pts is not None:
                heapq.heappush(pending, packet.pts)
        try:
            for frame in packet.decode():
                if not has_key or (first_time is not None and frame.pts is not None and frame.pts < first_time):
                    continue
                if pending and frame.pts is not None:
                    # At most the reference frames still to be displayed were decoded before this one; a packet whose
                    # time is left over beyond them gave no frame.
                    while sum(time < frame.pts for time in pending) > most_reordered(stream.codec_context):
                        heapq.heappop(pending)
                    frame.pts = heapq.heappop(pending) if pending else frame.pts
                yield frame
        except MemoryError:
            raise
        except av.error.FFmpegError:
            damaged += 1
    if damaged:
        logger.warning("%s: %d packets could not be decoded and were skipped", path, damaged)


def _upright(frames: Iterable[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, Orientation]]:
    """Yield upright, deinterlaced frames with their orientation.

    FFmpeg's filters deinterlace and rotate by odd angles; they are set up only for frames that need it.
    """
    graph: Graph | None = None
    built_for: tuple[Any, ...] = ()
    is_interlaced, orientation, seen, reads = False, UPRIGHT, None, 0
    for frame in frames:
        before = orientation
        # Reading the matrix costs a fifth of decoding a small frame, and only a keyframe may bring another.
        if frame.key_frame or seen is None:
            matrix = _display_matrix(frame)
            reads += 1
            if reads % READS_BETWEEN_COLLECTIONS == 0:
                gc.collect()
            if matrix and matrix != seen:
                orientation = orientation_of(matrix)
            seen = matrix or seen or b""
        is_interlaced = is_interlaced or frame.interlaced_frame
        wanted = (is_interlaced, orientation, frame.width, frame.height, frame.format.name)
        if graph is not None and wanted != built_for:
            yield from _filtered(graph, None, before)
            graph = None
        if not is_interlaced and not orientation.degrees:
            yield frame, orientation
            continue
        if graph is None:
            graph, built_for = Graph(), wanted
            graph.link_nodes(
                graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
                ),
                *([graph.add("bwdif", "mode=send_frame:deint=interlaced")] if is_interlaced else []),
                *([graph.add("rotate", f"{orientation.degrees}*PI/180")] if orientation.degrees else []),
                graph.add("buffersink"),
            ).configure()
        yield from _filtered(graph, frame, orientation)
    if graph is not None:
        yield from _filtered(graph, None, orientation)


def _filtered(
    graph: Graph, frame: av.VideoFrame | None, orientation: Orientation
) -> Iterator[tuple[av.VideoFrame, Orientation]]:
    """Push a frame, or None to flush; yield what comes out."""
    graph.push(frame)
    while True:
        try:
            one = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(one, av.VideoFrame)
        yield one, orientation


def _display_matrix(frame: av.VideoFrame) -> bytes:
    try:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know all kinds of side data that FFmpeg has, such as EXIF in Motion JPEG
        return rotation_matrix(frame.rotation) if frame.rotation else b""
    return b"" if data is None else bytes(data)


def _probe_image(path: Path, settings: ExtractionSettings) -> VideoInfo:
    size, seconds = measure_image(path, max_frames=settings.limits.frames)
    # As in `iter_frames`, so that both give the same times to the last bit.
    times = tuple(itertools.accumulate(seconds[:-1], initial=0.0))
    duration = times[-1] + seconds[-1] if seconds else 0.0
    if duration > settings.max_seconds:
        raise TooLargeError(_too_long(path, settings))
    fps = len(times) / duration if duration else 0.0
    return VideoInfo(*size, fps, duration, times, path.stat().st_size)


def _probe_frames(path: Path, frames: Sequence[Path], settings: ExtractionSettings) -> VideoInfo:
    if len(frames) > settings.limits.frames:
        raise TooLargeError(
            f"{path}: has {len(frames):,} frames, more than {settings.limits.frames:,}. Cut it, or raise limits.frames."
        )
    for file in frames:
        if not is_image(file):
            raise UnreadableError(f"{file}: is not an image, but listed as a frame. Correct the list.")
    size, _ = measure_image(frames[0], max_frames=settings.limits.frames)
    times = _times_of_frames(frames)
    duration = times[-1] + times[-1] / (len(times) - 1) if len(times) > 1 else 0.0
    fps = len(times) / duration if duration else 0.0
    return VideoInfo(*size, fps, duration, times, sum(file.stat().st_size for file in frames))


def _times_of_frames(frames: Sequence[Path]) -> tuple[float, ...]:
    """Return the times of frames by the numbers that their names end with; at equal distances if these do not rise."""
    endings = [re.search(r"\d+$", file.stem) for file in frames]
    numbers = [int(ending.group()) if ending else -1 for ending in endings]
    if any(after <= before for before, after in itertools.pairwise([-1, *numbers])):
        numbers = [*range(len(frames))]
    return tuple((number - numbers[0]) / FRAME_LIST_FPS for number in numbers)


def _too_long(path: Path, settings: ExtractionSettings) -> str:
    return f"{path}: is longer than {settings.max_seconds:g} s. Cut it, or raise max_seconds."


def _specified(of_frame: Any, of_stream: int) -> int:
    """Return a colour property of a frame, or of the stream if the frame does not specify it (0 or 2 in FFmpeg)."""
    value = int(of_frame or 0)
    return of_stream if value in (0, 2) else value
