"""Containers on PyAV: which stream is the video, how long it is said to be, and its packets on one continuous clock."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from dfutils.errors import UnreadableError
from dfutils.extraction.recognition import JPEG_SIGNATURE

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


@contextmanager
def opened_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file, and yield its container and main video stream.

    Raises:
        UnreadableError: It cannot be read as a video, also if that turns out while it is read.
    """
    size_bytes = path.stat().st_size if path.is_file() else 0
    advice = "The download may be cut short, or this is not a video; re-encode or skip the file."
    try:
        with _container(path) as container:
            yield container, _main_stream(path, container)
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        is_unknown = isinstance(error, av.error.ArgumentError)  # of the formats above
        reason = "unknown format" if is_unknown else getattr(error, "strerror", None) or str(error)
        raise UnreadableError(
            f"{path}: cannot be read as a video ({size_bytes:,} bytes; {reason}). {advice}"
        ) from error


def _container(path: Path) -> Any:
    # "file:" keeps FFmpeg from reading a name such as "http:…" or "concat:…" as a protocol.
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    with path.open("rb") as file:
        demuxer = "mjpeg" if file.read(3) == JPEG_SIGNATURE else None  # FFmpeg may take the first frame for an image
    return av.open(f"file:{path.absolute()}", format=demuxer, options=options, metadata_errors="ignore")


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
    counts: Counter[int] = Counter()  # packets of each stream
    with suppress(av.error.FFmpegError), _container(path) as again:
        for packet in again.demux(*again.streams.video):
            counts[packet.stream.index] += bool(packet.size)

    def rank(stream: Any) -> tuple[bool, bool, int]:
        is_film = counts[stream.index] >= MIN_FILM_SHARE * max(counts.values())
        area = stream.codec_context.width * stream.codec_context.height
        return is_film, _has_disposition(stream, "default"), area

    return max(known, key=rank)


def _has_disposition(stream: Any, disposition: str) -> bool:
    return bool(stream.disposition & getattr(av.stream.Disposition, disposition))


class Clock:
    """Rewrites timestamps so that concatenated recordings follow each other without jumps.

    Only the formats in which recordings are simply appended may have such jumps; elsewhere a long step is a frame that
    is shown for long.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.has_no_display_times = container.format.name in _WITHOUT_DISPLAY_TIMES
        flags = container.format.flags
        self._may_jump = bool(getattr(flags, "value", flags) & _MAY_JUMP)
        self._base = float(stream.time_base or 0)
        self._default_duration = max(1, round(1 / (frame_rate(stream) * self._base))) if self._base else 1
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


def iter_packets(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream, the last one empty; an error in the middle of the file ends it."""
    try:
        yield from container.demux(stream)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        logger.warning("%s: cannot be read any further (%s)", path, error)


def declared_seconds(container: Any, stream: Any) -> float | None:
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


def is_duration_reliable(container: Any) -> bool:
    """Return whether a shorter stream alone proves that the file is truncated."""
    name = container.format.name
    return name in _WITH_OWN_DURATION or (name in _WITH_ONE_DURATION and not _has_audio(container))


def _has_audio(container: Any) -> bool:
    """Return whether the container has audio; its declared duration may then be that of the audio."""
    return any(one.type == "audio" for one in container.streams)


def most_reordered(context: Any) -> int:
    """Return how many frames may be decoded before one and displayed after it."""
    if not context.has_b_frames:
        return 0
    return MAX_REORDERED_FRAMES if context.name in ("h264", "hevc") else 1


def frame_rate(stream: Any) -> float:
    """Return the declared frames per second; 25, as in FFmpeg, if there is no such declaration."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def pixel_aspect(stream: Any) -> float:
    """Return the declared width of a stored pixel over its height."""
    return plausible_aspect(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)


def plausible_aspect(aspect: Fraction | None) -> float:
    """Return a pixel aspect as a float; 1 if it is missing or cannot be meant."""
    return float(aspect) if aspect and 0.1 < aspect < 10 else 1.0
