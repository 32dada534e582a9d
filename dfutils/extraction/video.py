"""Streaming decode with the stream's own times: PyAV in, upright square-pixel images out."""

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
av.logging.set_level(av.logging.PANIC)  # FFmpeg's complaints about broken files become our own, typed errors

# Containers only: a playlist or a script that claims to be a video could make FFmpeg open other files.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,gif,ogg,h264,hevc,mjpeg,dv,mxf"
LUMA_FIRST_FORMATS = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame, converted only when asked.

    Attributes:
        index: Position in the order of display, from 0.
        time_seconds: The stream's own time, from 0.
        decoded: The decoder's frame, or an upright RGB image for an image file.
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
        """Upright RGB with square pixels, made smaller (never larger) to ``longest_side`` pixels if given."""
        if isinstance(self.decoded, np.ndarray):
            return _fit(self.decoded, longest_side)
        width, height = max(1, round(self.decoded.width * self.pixel_aspect)), self.decoded.height
        scale = min(1.0, (longest_side or max(width, height)) / max(width, height))
        size = {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}
        converted = self.decoded.reformat(**size, format="rgb24", interpolation="AREA" if scale < 1 else "BILINEAR")
        return _upright(np.asarray(converted.to_ndarray(), np.uint8), self.decoded.rotation)

    def luma(self) -> npt.NDArray[np.uint8]:
        """Brightness ``(height, width)`` uint8, upright; without a copy where the decoder's own plane can serve."""
        if isinstance(self.decoded, np.ndarray):
            return cv2.cvtColor(self.decoded, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        if _is_plain(self.decoded) and self.pixel_aspect == 1:
            plane = self.decoded.planes[0]
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            return rows[: self.decoded.height, : self.decoded.width]
        return cv2.cvtColor(self.image(), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def probe_video(path: Path, settings: ExtractionSettings) -> VideoInfo:
    """Demux the whole stream without decoding: exact frame times for about 3 % of the cost of decoding.

    Header fields such as the frame count may be wrong or negative and are not used. Width and height are those of the
    stored images: how they are turned only stands in the frames.

    Raises:
        UnreadableError: Not a video, cut short before its index, or without a video stream.
        TooLargeError: More pixels or seconds than ``settings`` allow.
    """
    with _opened(path) as (container, stream):
        width, height = _claimed_size(stream)
        check_pixels(path, width, height, settings.max_pixels)
        times, duration = _demuxed_times(container, stream, path, settings)
    fps = len(times) / duration if duration > 0 else 0.0
    return VideoInfo(width, height, fps, duration, times, path.stat().st_size)


def iter_frames(path: Path, *, threads: int = 1, max_pixels: int = 0) -> Iterator[Frame]:
    """Decode frame by frame in the order of display; damaged parts are skipped and counted in the log.

    Args:
        path: The video.
        threads: Decoder threads; 0 lets FFmpeg choose.
        max_pixels: The decoder refuses larger frames, which may come in the middle of a stream; 0 for no limit.

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
        what = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(f"{path}: cannot be opened as a video ({size_bytes} bytes; {what}). {advice}") from error


def _demuxed_times(
    container: Any, stream: Any, path: Path, settings: ExtractionSettings
) -> tuple[tuple[float, ...], float]:
    stamps: list[float] = []
    default_rate = float(stream.average_rate or stream.guessed_rate or 25)
    lengths = 0.0
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        stamp = packet.pts if packet.pts is not None else packet.dts
        time_base = float(packet.time_base or 0)
        stamps.append(stamp * time_base if stamp is not None and time_base else len(stamps) / default_rate)
        lengths = max(lengths, (packet.duration or 0) * time_base)
        if abs(stamps[-1] - stamps[0]) > settings.max_seconds:
            raise TooLargeError(f"{path}: is longer than {settings.max_seconds:g} s. Cut it, or raise max_seconds.")
        if len(stamps) > settings.limits.frames:
            raise TooLargeError(f"{path}: has more than {settings.limits.frames:,} frames. Cut it, or raise the limit.")
    if not stamps:
        raise UnreadableError(f"{path}: the video stream is empty. The download may be cut short; skip the file.")
    stamps.sort()
    times = tuple(stamp - stamps[0] for stamp in stamps)
    last_frame = times[-1] / (len(times) - 1) if len(times) > 1 else min(lengths, 1.0)
    return times, times[-1] + last_frame


def _claimed_size(stream: Any) -> tuple[int, int]:
    return round(stream.codec_context.width * _pixel_aspect(stream)), stream.codec_context.height


def _pixel_aspect(stream: Any) -> float:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return float(aspect) if aspect and 0.1 < aspect < 10 else 1.0


def _is_plain(frame: av.VideoFrame) -> bool:
    return frame.format.name in LUMA_FIRST_FORMATS and frame.rotation == 0


def _upright(image: Image, rotation_degrees: int) -> Image:
    """Turn by the stream's display matrix; FFmpeg counts it counter-clockwise."""
    turns = round(rotation_degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _fit(image: Image, longest_side: int | None) -> Image:
    height, width = image.shape[:2]
    if longest_side is None or max(height, width) <= longest_side:
        return image
    scale = longest_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
