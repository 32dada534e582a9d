"""Streaming video decoder on PyAV: the main stream on one continuous clock, upright, in sRGB."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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
from dfutils.extraction.images import JPEG_SIGNATURE, MAX_IMAGE_PIXELS, is_image, iter_images, measure_image
from dfutils.records import VideoInfo
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)
# FFmpeg's complaints about broken files become our own typed errors. Any other level installs a callback that needs the
# GIL; closing a decoder whose threads are logging would deadlock.
av.logging.set_level(None)

# Only container formats: a playlist or script that claims to be a video could make FFmpeg open other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,h264,hevc,dv,mxf,ivf,obu,m4v,vc1,rm,nut,"
    "yuv4mpegpipe,mjpeg"
)

MAX_FORWARD_JUMP_SECONDS, MAX_BACKWARD_JUMP_SECONDS = 10.0, 0.25
"""A timestamp that jumps further than this starts a recording that was appended to the previous one. FFmpeg uses the
same 10 s (``dts_delta_threshold``)."""

MAX_REORDERED_FRAMES = 16
"""Without decoding timestamps, a packet may be displayed up to this many frames earlier or later than its neighbours in
the file."""

MAX_LOST_SECONDS, MAX_LOST_FRACTION = 0.5, 0.02
"""A file counts as truncated only if it is shorter than declared by more than both; containers round durations."""

_WITHOUT_DISPLAY_TIMES = ("avi", "asf")
"""Containers that store decoding times only. The display times that FFmpeg guesses from them scramble B-frames."""

_WITH_OWN_DURATION, _WITH_ONE_DURATION = ("mxf", "rm"), ("flv", "asf", "ivf")
"""Containers that declare a reliable duration, of each stream or of all of them together."""

MIN_FILM_SHARE = 0.1
"""A video stream with fewer packets, as a share of those of the longest one, is cover art or a preview."""

_MAY_JUMP = 0x0200
"""FFmpeg's ``AVFMT_TS_DISCONT``, the flag of MPEG-TS, MPEG-PS and Ogg."""

_SIDE_STREAMS = ("attached_pic", "timed_thumbnails", "still_image")
"""FFmpeg's dispositions of images that are stored beside a video."""


class _Clock:
    """Rewrites timestamps so that concatenated recordings follow each other without jumps.

    Only the formats in which recordings are simply appended may have such jumps; elsewhere a long step is a frame that
    is shown for long.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.has_no_display_times = container.format.name in _WITHOUT_DISPLAY_TIMES
        flags = container.format.flags
        self._may_jump = bool(getattr(flags, "value", flags) & _MAY_JUMP)
        self._base = float(stream.time_base or 0)
        self._default_duration = max(1, round(1 / (_rate(stream) * self._base))) if self._base else 1
        self._offset = 0
        self._end: int | None = None
        self._latest = -(1 << 63)  # of the display times so far
        self._had_dts = False

    def correct(self, packet: Any) -> None:
        """Shift one packet's timestamps; call in file order."""
        if self.has_no_display_times:
            packet.pts = packet.dts
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or not self._base or not self._may_jump:
            return
        duration = packet.duration or self._default_duration
        has_dts = packet.dts is not None
        if self._end is not None:
            jump = stamp + self._offset - self._end
            reordered = 1 if has_dts and self._had_dts else MAX_REORDERED_FRAMES
            is_back = -jump * self._base > MAX_BACKWARD_JUMP_SECONDS + reordered * duration * self._base
            # With B-frames, a packet before a held frame may already have a display time after it.
            unexplained = stamp + self._offset - max(self._end, self._latest)
            if is_back or unexplained * self._base > MAX_FORWARD_JUMP_SECONDS:
                self._offset -= jump
                self._latest = self._end
        end = stamp + self._offset + duration
        self._end = end if has_dts or self._end is None else max(end, self._end)
        self._latest = max(self._latest, stamp + self._offset if packet.pts is None else packet.pts + self._offset)
        self._had_dts = has_dts
        if self._offset:
            packet.pts = None if packet.pts is None else packet.pts + self._offset
            packet.dts = None if packet.dts is None else packet.dts + self._offset


def probe_video(path: Path, settings: ExtractionSettings) -> VideoInfo:
    """Demux the whole stream without decoding: exact frame times for about 3 % of the cost of decoding.

    Packets that no player shows are left out: those hidden by an edit list, and those before the first keyframe. Header
    fields such as the frame count may be wrong or negative and are not used. Width and height are as stored;
    `dfutils.extraction.clips.extract_clips` replaces them by the upright size.

    Raises:
        UnreadableError: The file is not a video, was cut short before its index, or has no video stream.
        TooLargeError: The video has more pixels, frames or seconds than ``settings`` allow.
    """
    if is_image(path):
        return _probe_image(path, settings)
    with _opened_container(path) as (container, stream):
        width, height = round(stream.codec_context.width * _pixel_aspect(stream)), stream.codec_context.height
        if width * height > settings.max_pixels:
            raise TooLargeError(
                f"{path}: {width} × {height} pixels are more than the limit of {settings.max_pixels:,}. "
                "Scale it down, or raise max_pixels."
            )
        shown, last_decoded = _shown_packets(path, container, stream, settings)
        declared, is_exact = _declared_seconds(container, stream), _is_reliable(container)
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
    is_truncated = not is_long_enough and (is_cut or (is_exact and declared is not None))
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
    path: Path, *, threads: int = 1, max_pixels: int = 0, start_seconds: float | None = None
) -> Iterator[Frame]:
    """Decode frame by frame in the order of display; skip damaged packets and log their number.

    Args:
        path: A video or an image.
        threads: Decoder threads; 0 lets FFmpeg choose.
        max_pixels: Limit for each frame of a video, since larger ones may come in the middle of a stream; images are
            reduced to it. 0 for no limit.
        start_seconds: From `probe_video`: stream time that counts as 0; earlier frames are dropped. By default that of
            the first keyframe.

    Raises:
        UnreadableError: The file cannot be opened as a video.
    """
    if is_image(path):
        time = 0.0
        for index, (image, seconds) in enumerate(iter_images(path, max_pixels=max_pixels or MAX_IMAGE_PIXELS)):
            yield Frame(index, time, image)
            time += seconds
        return
    with _opened_container(path) as (container, stream):
        if max_pixels:
            stream.codec_context.options = {"max_pixels": str(max_pixels)}
        stream.codec_context.thread_count = threads
        stream.thread_type = "NONE" if threads == 1 else "AUTO"
        pixel_aspect, rate = _pixel_aspect(stream), _rate(stream)
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
                pixel_aspect = _plausible(coded_aspect)
            colours = colour_transform(
                _specified(getattr(frame, "color_trc", 0), transfer),
                _specified(getattr(frame, "color_primaries", 0), primaries),
            )
            shown_at = max(shown_at, time - start_seconds)  # frames left over where recordings were joined step back
            one = Frame(index, shown_at, frame, pixel_aspect, orientation, colours)
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
    last_decoded, number, untimed, rate, clock = 0.0, 0, 0, _rate(stream), _Clock(container, stream)
    for packet in _packets(path, container, stream):
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


def _packets(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream, the last one empty; an error in the middle of the file ends it."""
    try:
        yield from container.demux(stream)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        logger.warning("%s: cannot be read any further (%s)", path, error)


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """Yield frames from the first keyframe on; players do not show anything before it."""
    clock, damaged = _Clock(container, stream), 0
    has_key, first_time = False, None
    pending: list[int] = []  # decoding times of frames not yet output; sorted, they are the display times
    for packet in _packets(path, container, stream):
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
                    while sum(time < frame.pts for time in pending) > _most_reordered(stream.codec_context):
                        heapq.heappop(pending)
                    frame.pts = heapq.heappop(pending) if pending else frame.pts
                yield frame
        except MemoryError:
            raise
        except av.error.FFmpegError:
            damaged += 1
    if damaged:
        logger.warning("%s: %d packets could not be decoded and were skipped", path, damaged)


def _most_reordered(context: Any) -> int:
    """Return how many frames may be decoded before one and displayed after it."""
    if not context.has_b_frames:
        return 0
    return MAX_REORDERED_FRAMES if context.name in ("h264", "hevc") else 1


def _upright(frames: Iterable[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, Orientation]]:
    """Yield upright, deinterlaced frames with their orientation.

    FFmpeg's filters deinterlace and rotate by odd angles; they are set up only for frames that need it.
    """
    graph: Graph | None = None
    built_for: tuple[Any, ...] = ()
    is_interlaced, orientation, seen = False, UPRIGHT, None
    for frame in frames:
        before = orientation
        # Reading the matrix costs a fifth of decoding a small frame, and only a keyframe may bring another.
        if frame.key_frame or seen is None:
            matrix = _display_matrix(frame)
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
            graph, built_for = _graph(frame, is_interlaced=is_interlaced, degrees=orientation.degrees), wanted
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


def _graph(frame: av.VideoFrame, *, is_interlaced: bool, degrees: float) -> Graph:
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        *([graph.add("bwdif", "mode=send_frame:deint=interlaced")] if is_interlaced else []),
        *([graph.add("rotate", f"{degrees}*PI/180")] if degrees else []),
        graph.add("buffersink"),
    ).configure()
    return graph


def _display_matrix(frame: av.VideoFrame) -> bytes:
    try:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know all kinds of side data that FFmpeg has, such as EXIF in Motion JPEG
        return rotation_matrix(frame.rotation) if frame.rotation else b""
    return b"" if data is None else bytes(data)


def _declared_seconds(container: Any, stream: Any) -> float | None:
    """Return the stream duration that the container declares, in seconds; None if it declares none."""
    start = max(0.0, (container.start_time or 0) / 1e6)
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # FFmpeg estimates an AVI's duration from its size
    if stream.duration and stream.time_base:
        # ASF counts from zero, wherever its first frame is.
        return float(stream.duration * stream.time_base) - (start if container.format.name == "asf" else 0.0)
    if written := stream.metadata.get("DURATION"):
        try:
            hours, minutes, seconds = written.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start
        except ValueError:
            pass
    is_flv = container.format.name == "flv"
    if not container.duration or (_has_audio(container) and not is_flv):
        return None
    return float(container.duration / 1e6) - (start if is_flv else 0.0)


def _is_reliable(container: Any) -> bool:
    """Return whether a shorter stream alone proves that the file is truncated."""
    name = container.format.name
    return name in _WITH_OWN_DURATION or (name in _WITH_ONE_DURATION and not _has_audio(container))


def _has_audio(container: Any) -> bool:
    """Return whether the container has audio; its declared duration may then be that of the audio."""
    return any(one.type == "audio" for one in container.streams)


def _probe_image(path: Path, settings: ExtractionSettings) -> VideoInfo:
    size, seconds = measure_image(path, max_frames=settings.limits.frames)
    # As in `iter_frames`, so that both give the same times to the last bit.
    times = tuple(itertools.accumulate(seconds[:-1], initial=0.0))
    duration = times[-1] + seconds[-1] if seconds else 0.0
    if duration > settings.max_seconds:
        raise TooLargeError(_too_long(path, settings))
    fps = len(times) / duration if duration else 0.0
    return VideoInfo(*size, fps, duration, times, path.stat().st_size)


def _too_long(path: Path, settings: ExtractionSettings) -> str:
    return f"{path}: is longer than {settings.max_seconds:g} s. Cut it, or raise max_seconds."


@contextmanager
def _opened_container(path: Path) -> Iterator[tuple[Any, Any]]:
    # "file:" keeps FFmpeg from reading a name such as "http:…" or "concat:…" as a protocol.
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    size_bytes = path.stat().st_size if path.is_file() else 0
    with path.open("rb") as file:
        demuxer = "mjpeg" if file.read(3) == JPEG_SIGNATURE else None  # FFmpeg may take the first frame for an image
    advice = "The download may be cut short, or this is not a video; re-encode or skip the file."
    try:
        with av.open(f"file:{path.absolute()}", format=demuxer, options=options, metadata_errors="ignore") as container:
            yield container, _main_stream(path, container)
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        is_unknown = isinstance(error, av.error.ArgumentError)  # of the formats above
        reason = "unknown format" if is_unknown else getattr(error, "strerror", None) or str(error)
        raise UnreadableError(
            f"{path}: cannot be read as a video ({size_bytes:,} bytes; {reason}). {advice}"
        ) from error


def _main_stream(path: Path, container: Any) -> Any:
    """Return the main video stream: no cover art or thumbnails; default streams first, then the largest.

    In containers without such marks, such as AVI, cover art is a stream of few frames.
    """
    if not container.streams.video:
        raise UnreadableError(f"{path}: has no video stream (audio only?). Skip the file.")
    main = [one for one in container.streams.video if not any(_has_disposition(one, name) for name in _SIDE_STREAMS)]
    if not main:
        raise UnreadableError(f"{path}: has no video stream, only cover art. Skip the file.")
    known = [one for one in main if one.codec_context is not None]
    if not known:
        raise UnreadableError(f"{path}: no decoder is known for its video codec. Re-encode it as H.264.")

    if len(known) == 1:
        return known[0]
    counts = _packet_counts(path)

    def rank(stream: Any) -> tuple[bool, bool, int]:
        is_film = counts[stream.index] >= MIN_FILM_SHARE * max(counts.values())
        area = stream.codec_context.width * stream.codec_context.height
        return is_film, _has_disposition(stream, "default"), area

    return max(known, key=rank)


def _packet_counts(path: Path) -> Counter[int]:
    """Return the number of packets of each video stream, by index."""
    counts: Counter[int] = Counter()
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    with (
        suppress(av.error.FFmpegError),
        av.open(f"file:{path.absolute()}", options=options, metadata_errors="ignore") as container,
    ):
        for packet in container.demux(*container.streams.video):
            counts[packet.stream.index] += bool(packet.size)
    return counts


def _has_disposition(stream: Any, disposition: str) -> bool:
    return bool(stream.disposition & getattr(av.stream.Disposition, disposition))


def _specified(of_frame: Any, of_stream: int) -> int:
    """Return a colour property of a frame, or of the stream if the frame does not specify it (0 or 2 in FFmpeg)."""
    value = int(of_frame or 0)
    return of_stream if value in (0, 2) else value


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _pixel_aspect(stream: Any) -> float:
    return _plausible(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)


def _plausible(aspect: Fraction | None) -> float:
    return float(aspect) if aspect and 0.1 < aspect < 10 else 1.0
