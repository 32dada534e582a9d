"""Streaming video decoder on PyAV: upright images with square pixels, at the stream's own times."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction.images import check_pixels
from dfutils.records import Image, VideoInfo
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)
av.logging.set_level(av.logging.PANIC)  # FFmpeg's complaints about broken files become our own typed errors

# Only container formats: a playlist or script that claims to be a video could make FFmpeg open other files.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,gif,ogg,h264,hevc,mjpeg,dv,mxf"
LUMA_FIRST_FORMATS = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame, converted on demand.

    Attributes:
        index: Position in the order of display, from 0.
        time_seconds: The stream's own time, from 0.
        decoded: The decoder's frame, or the upright RGB image of an image file.
        pixel_aspect: Width of a stored pixel over its height; 1 for nearly all videos.
    """

    index: int
    time_seconds: float
    decoded: av.VideoFrame | Image
    pixel_aspect: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Upright, square-pixel ``(width, height)``."""
        if isinstance(self.decoded, np.ndarray):
            return self.decoded.shape[1], self.decoded.shape[0]
        width, height = max(1, round(self.decoded.width * self.pixel_aspect)), self.decoded.height
        return (height, width) if round(self.decoded.rotation / 90) % 2 else (width, height)

    def image(self, *, longest_side: int | None = None) -> Image:
        """Return upright RGB with square pixels, reduced (never enlarged) to ``longest_side`` pixels if given."""
        if isinstance(self.decoded, np.ndarray):
            height, width = self.decoded.shape[:2]
            if longest_side is None or max(height, width) <= longest_side:
                return self.decoded
            scale = longest_side / max(height, width)
            reduced = (max(1, round(width * scale)), max(1, round(height * scale)))
            return cv2.resize(self.decoded, reduced, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        width, height = max(1, round(self.decoded.width * self.pixel_aspect)), self.decoded.height
        scale = min(1.0, (longest_side or max(width, height)) / max(width, height))
        size = {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}
        converted = self.decoded.reformat(**size, format="rgb24", interpolation="AREA" if scale < 1 else "BILINEAR")
        image = np.asarray(converted.to_ndarray(), np.uint8)
        turns = round(self.decoded.rotation / 90) % 4  # from the display matrix, counted counter-clockwise
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def luma(self) -> npt.NDArray[np.uint8]:
        """Return the upright brightness ``(height, width)`` uint8, if possible as a view of the decoder's own plane."""
        if isinstance(self.decoded, np.ndarray):
            return cv2.cvtColor(self.decoded, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        is_upright = self.decoded.rotation == 0 and self.pixel_aspect == 1
        if is_upright and self.decoded.format.name in LUMA_FIRST_FORMATS:
            plane = self.decoded.planes[0]
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            return rows[: self.decoded.height, : self.decoded.width]
        return cv2.cvtColor(self.image(), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def probe_video(path: Path, settings: ExtractionSettings) -> VideoInfo:
    """Demux the whole stream without decoding: exact frame times for about 3 % of the cost of decoding.

    Header fields such as the frame count may be wrong or negative and are not used. Width and height are those of the
    stored images; only the frames say how they are rotated.

    Raises:
        UnreadableError: The file is not a video, was cut short before its index, or has no video stream.
        TooLargeError: The video has more pixels, frames or seconds than ``settings`` allow.
    """
    stamps: list[float] = []
    longest = 0.0
    with _opened(path) as (container, stream):
        width, height = round(stream.codec_context.width * _pixel_aspect(stream)), stream.codec_context.height
        check_pixels(path, width, height, settings.max_pixels)
        default_rate = float(stream.average_rate or stream.guessed_rate or 25)
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            stamp = packet.pts if packet.pts is not None else packet.dts
            time_base = float(packet.time_base or 0)
            stamps.append(stamp * time_base if stamp is not None and time_base else len(stamps) / default_rate)
            longest = max(longest, (packet.duration or 0) * time_base)
            if abs(stamps[-1] - stamps[0]) > settings.max_seconds:
                raise TooLargeError(f"{path}: is longer than {settings.max_seconds:g} s. Cut it, or raise max_seconds.")
            if len(stamps) > settings.limits.frames:
                raise TooLargeError(
                    f"{path}: has more than {settings.limits.frames:,} frames. Cut it, or raise the limit."
                )
    if not stamps:
        raise UnreadableError(f"{path}: the video stream is empty. The download may be cut short; skip the file.")
    stamps.sort()
    times = tuple(stamp - stamps[0] for stamp in stamps)
    last_frame = times[-1] / (len(times) - 1) if len(times) > 1 else min(longest, 1.0)
    duration = times[-1] + last_frame
    fps = len(times) / duration if duration > 0 else 0.0
    return VideoInfo(width, height, fps, duration, times, path.stat().st_size)


def iter_frames(path: Path, *, threads: int = 1, max_pixels: int = 0) -> Iterator[Frame]:
    """Decode frame by frame in the order of display; skip damaged packets and log their number.

    Args:
        path: The video.
        threads: Decoder threads; 0 lets FFmpeg choose.
        max_pixels: Limit for each frame, since larger ones may come in the middle of a stream; 0 for no limit.

    Raises:
        UnreadableError: The file cannot be opened as a video.
    """
    with _opened(path) as (container, stream):
        if max_pixels:
            stream.codec_context.options = {"max_pixels": str(max_pixels)}
        stream.codec_context.thread_count = threads
        stream.thread_type = "NONE" if threads == 1 else "AUTO"
        pixel_aspect = _pixel_aspect(stream)
        first_time: float | None = None
        index = damaged = 0
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in decoded:
                time = frame.time if frame.time is not None else index / float(stream.average_rate or 25)
                first_time = time if first_time is None else first_time
                yield Frame(index, time - first_time, frame, pixel_aspect)
                index += 1
    if damaged:
        logger.warning("%s: %d packets could not be decoded and were skipped", path, damaged)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    # "file:" keeps FFmpeg from reading a name such as "http:…" or "concat:…" as a protocol.
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    size_bytes = path.stat().st_size if path.is_file() else 0
    advice = "The download may be cut short, or this is not a video; re-encode or skip the file."
    try:
        with av.open(f"file:{path.absolute()}", options=options, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise UnreadableError(f"{path}: has no video stream (audio only?). Skip the file.")
            yield container, container.streams.video[0]
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(
            f"{path}: cannot be opened as a video ({size_bytes} bytes; {reason}). {advice}"
        ) from error


def _pixel_aspect(stream: Any) -> float:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return float(aspect) if aspect and 0.1 < aspect < 10 else 1.0
