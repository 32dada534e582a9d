"""Streaming video decoder on PyAV that sees what a player shows: the film, on one clock, upright, in true colours."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
from av.filter import Graph

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction.colour import colour_map
from dfutils.extraction.containers import ends_early
from dfutils.extraction.frames import UPRIGHT, Frame, Orientation, orientation_of
from dfutils.extraction.images import MAX_IMAGE_PIXELS, frame_seconds, image_size, is_image, iter_images
from dfutils.records import VideoInfo
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)
av.logging.set_level(av.logging.PANIC)  # FFmpeg's complaints about broken files become our own typed errors

# Only container formats: a playlist or script that claims to be a video could make FFmpeg open other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,gif,ogg,h264,hevc,mjpeg,dv,mxf,ivf,obu,"
    "av1,m4v,vc1,rm,nut"
)

GAP_SECONDS, BACK_SECONDS = 10.0, 0.25
"""A clock that jumps forward by more than the first, or back by more than the second, belongs to another recording that
was joined to the one before; FFmpeg's own threshold for the former is the same."""

REORDERED_FRAMES = 16
"""Without decoding times, packets may be displayed this many frames before or after those that come next to them."""

LOST_SECONDS, LOST_SHARE = 0.5, 0.02
"""A file that is shorter than it says by less than either of these does not count as cut off: containers round."""

_ATTACHED = 0x0400 | 0x0800 | 0x1000
"""FFmpeg's dispositions of pictures that come with a film: covers, thumbnails at times, still images."""
_DEFAULT = 0x0001


class _Clock:
    """One clock for a stream, which never jumps: joined recordings follow each other without a gap.

    Args:
        stream: PyAV's video stream.
    """

    def __init__(self, stream: Any) -> None:
        self._base = float(stream.time_base or 0)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        self._usual = max(1, round(1 / (rate * self._base))) if self._base else 1
        self._offset = 0
        self._end: int | None = None
        self._had_dts = False

    def set(self, packet: Any) -> None:
        """Correct the times of a packet; packets are given in the order of the file."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or not self._base:
            return
        duration = packet.duration or self._usual
        has_dts = packet.dts is not None
        if self._end is not None:
            jump = stamp + self._offset - self._end
            reordered = 1 if has_dts and self._had_dts else REORDERED_FRAMES
            if not -BACK_SECONDS - reordered * duration * self._base <= jump * self._base <= GAP_SECONDS:
                self._offset -= jump
        end = stamp + self._offset + duration
        self._end = end if has_dts or self._end is None else max(end, self._end)
        self._had_dts = has_dts
        if self._offset:
            packet.pts = None if packet.pts is None else packet.pts + self._offset
            packet.dts = None if packet.dts is None else packet.dts + self._offset


def probe_video(path: Path, settings: ExtractionSettings) -> VideoInfo:
    """Demux the whole stream without decoding: exact frame times for about 3 % of the cost of decoding.

    Packets that no player shows do not count: those that an edit list hides, and those before the first frame that can
    be decoded by itself. Header fields such as the frame count may be wrong or negative and are not used. Width and
    height are those of the stored images; only the frames say how they are rotated.

    Raises:
        UnreadableError: The file is not a video, was cut short before its index, or has no video stream.
        TooLargeError: The video has more pixels, frames or seconds than ``settings`` allow.
    """
    if is_image(path):
        return _probe_moving_picture(path, settings)
    shown: list[tuple[float, float]] = []
    skipped: list[tuple[float, float]] = []
    first_key: float | None = None
    last_decoded = 0.0
    with _opened(path) as (container, stream):
        width, height = round(stream.codec_context.width * _pixel_aspect(stream)), stream.codec_context.height
        if width * height > settings.max_pixels:
            raise TooLargeError(
                f"{path}: {width} × {height} pixels are more than the limit of {settings.max_pixels:,}. "
                "Scale it down, or raise max_pixels."
            )
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        clock, number = _Clock(stream), 0
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            clock.set(packet)
            number += 1
            stamp, base = packet.pts if packet.pts is not None else packet.dts, float(packet.time_base or 0)
            time = stamp * base if stamp is not None and base else (number - 1) / rate
            if first_key is None and packet.is_keyframe:
                first_key = time
            if not packet.is_discard:
                known = shown if first_key is not None and time >= first_key else skipped
                last_decoded = (packet.duration or 0) * base
                known.append((time, last_decoded))
            if shown and abs(time - shown[0][0]) > settings.max_seconds:
                raise TooLargeError(f"{path}: is longer than {settings.max_seconds:g} s. Cut it, or raise max_seconds.")
            if number > settings.limits.frames:
                raise TooLargeError(
                    f"{path}: has more than {settings.limits.frames:,} frames. Cut it, or raise the limit."
                )
        promised = _promised_seconds(container, stream)
    shown = sorted(shown or skipped)
    if not shown:
        raise UnreadableError(f"{path}: the video stream is empty. The download may be cut short; skip the file.")
    start = shown[0][0]
    times = tuple(time - start for time, _ in shown)
    usual = times[-1] / (len(times) - 1) if len(times) > 1 else 0.0
    # In MP4, the durations add up in the order of decoding: the last frame to be shown need not have its own.
    held = sum(seconds for _, seconds in shown) - times[-1]
    duration = times[-1] + (held if 0 < held <= max(shown[-1][1], last_decoded) + 1e-6 else shown[-1][1] or usual)
    fps = len(times) / duration if duration > 0 else 0.0
    is_cut = ends_early(path) or (promised is not None and container.format.name in ("flv", "asf"))
    if promised is not None and promised - duration <= max(LOST_SECONDS, LOST_SHARE * promised):
        is_cut = False
    return VideoInfo(
        *(width, height, fps, duration, times, path.stat().st_size),
        start_seconds=start,
        promised_seconds=(promised or 0.0) if is_cut else None,
    )


def iter_frames(
    path: Path, *, threads: int = 1, max_pixels: int = 0, start_seconds: float | None = None
) -> Iterator[Frame]:
    """Decode frame by frame in the order of display; skip damaged packets and log their number.

    Args:
        path: The video, or a moving picture.
        threads: Decoder threads; 0 lets FFmpeg choose.
        max_pixels: Limit for each frame, since larger ones may come in the middle of a stream; 0 for no limit.
        start_seconds: From `probe_video`: the time of the stream that is 0 here, and before which nothing is shown; by
            default that of the first frame.

    Raises:
        UnreadableError: The file cannot be opened as a video.
    """
    if is_image(path):
        yield from _moving_frames(path, max_pixels)
        return
    with _opened(path) as (container, stream):
        if max_pixels:
            stream.codec_context.options = {"max_pixels": str(max_pixels)}
        stream.codec_context.thread_count = threads
        stream.thread_type = "NONE" if threads == 1 else "AUTO"
        pixel_aspect, rate = _pixel_aspect(stream), float(stream.average_rate or 25)
        colours = colour_map(int(stream.codec_context.color_trc or 0), int(stream.codec_context.color_primaries or 0))
        canvas: tuple[int, int] | None = None
        index, number = 0, 0
        for frame, orientation in _as_shown(_decoded(path, container, stream)):
            time = frame.time if frame.time is not None else number / rate
            number += 1
            start_seconds = time if start_seconds is None else start_seconds
            if time < start_seconds - 1e-6:
                continue
            one = Frame(index, max(0.0, time - start_seconds), frame, pixel_aspect, orientation, colours)
            canvas = canvas or one.size
            yield one if one.size == canvas else replace(one, canvas=canvas)
            index += 1


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    clock, damaged = _Clock(stream), 0
    for packet in container.demux(stream):
        if packet.size:
            clock.set(packet)
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            damaged += 1
    if damaged:
        logger.warning("%s: %d packets could not be decoded and were skipped", path, damaged)


def _as_shown(frames: Iterable[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, Orientation]]:
    """Yield each frame with its orientation, after removing the comb of interlaced ones and turning odd angles.

    FFmpeg's filters do both, once a frame wants it; most videos never meet them.
    """
    graph, kind = None, None
    orientation, seen = UPRIGHT, b""
    for frame in frames:
        matrix = _display_matrix(frame)
        if matrix and matrix != seen:
            orientation, seen = orientation_of(matrix), matrix
        is_combed = frame.interlaced_frame or (kind is not None and kind[0])
        wanted = (is_combed, orientation.degrees, frame.width, frame.height, frame.format.name)
        if wanted != kind and graph is not None:
            graph.push(None)
            yield from ((one, orientation) for one in _pulled(graph))
            graph = None
        if is_combed or orientation.degrees:
            if graph is None:
                graph, kind = _graph(frame, is_combed=is_combed, degrees=orientation.degrees), wanted
            graph.push(frame)
            yield from ((one, orientation) for one in _pulled(graph))
        else:
            yield frame, orientation
    if graph is not None:
        graph.push(None)
        yield from ((one, orientation) for one in _pulled(graph))


def _display_matrix(frame: av.VideoFrame) -> bytes:
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return b"" if data is None else bytes(data)


def _graph(frame: av.VideoFrame, *, is_combed: bool, degrees: float) -> Graph:
    graph = Graph()
    chain = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        *([graph.add("bwdif", "mode=send_frame:deint=interlaced")] if is_combed else []),
        *([graph.add("rotate", f"{degrees}*PI/180")] if degrees else []),
        graph.add("buffersink"),
    ]
    for before, behind in itertools.pairwise(chain):
        before.link_to(behind)
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield frame


def _promised_seconds(container: Any, stream: Any) -> float | None:
    """Return how long the container says that the film is, in seconds; None if it does not say."""
    start = max(0.0, (container.start_time or 0) / 1e6)
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # its duration is guessed from the size of the file
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if written := stream.metadata.get("DURATION"):
        try:
            hours, minutes, seconds = written.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start
        except ValueError:
            pass
    has_sound = any(one.type == "audio" for one in container.streams)
    return container.duration / 1e6 if container.duration and not has_sound else None


def _probe_moving_picture(path: Path, settings: ExtractionSettings) -> VideoInfo:
    seconds = frame_seconds(path, most=settings.limits.frames)
    if sum(seconds) > settings.max_seconds:
        raise TooLargeError(f"{path}: is longer than {settings.max_seconds:g} s. Cut it, or raise max_seconds.")
    times = tuple(sum(seconds[:number]) for number in range(len(seconds))) or (0.0,)
    duration = sum(seconds)
    fps = len(times) / duration if duration else 0.0
    return VideoInfo(*image_size(path), fps, duration, times, path.stat().st_size)


def _moving_frames(path: Path, max_pixels: int) -> Iterator[Frame]:
    time = 0.0
    for index, (image, seconds) in enumerate(iter_images(path, max_pixels=max_pixels or MAX_IMAGE_PIXELS)):
        yield Frame(index, time, image)
        time += seconds


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    # "file:" keeps FFmpeg from reading a name such as "http:…" or "concat:…" as a protocol.
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    size_bytes = path.stat().st_size if path.is_file() else 0
    advice = "The download may be cut short, or this is not a video; re-encode or skip the file."
    try:
        with av.open(f"file:{path.absolute()}", options=options, metadata_errors="ignore") as container:
            yield container, _film(path, container)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(
            f"{path}: cannot be opened as a video ({size_bytes} bytes; {reason}). {advice}"
        ) from error


def _film(path: Path, container: Any) -> Any:
    """Return the stream that a player shows: no cover or thumbnail; the default one, of several the largest."""
    if not container.streams.video:
        raise UnreadableError(f"{path}: has no video stream (audio only?). Skip the file.")
    films = [one for one in container.streams.video if not int(one.disposition) & _ATTACHED]
    if not films:
        raise UnreadableError(f"{path}: has no video stream, only a cover picture. Skip the file.")
    return max(
        films,
        key=lambda one: (bool(int(one.disposition) & _DEFAULT), one.codec_context.width * one.codec_context.height),
    )


def _pixel_aspect(stream: Any) -> float:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return float(aspect) if aspect and 0.1 < aspect < 10 else 1.0
