"""Still images: known by content, measured before they are decoded."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.records import Image

PNG_MAGIC, JPEG_MAGIC, BMP_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG markers that hold the size; the others of this range are tables."""
_LONGEST_HEADER = 4 << 20
"""Bytes within which a JPEG's size must stand: previews and profiles come first."""


def is_image(path: Path) -> bool:
    """Whether the content (not the extension) is a still image.

    Raises:
        UnreadableError: It is no regular file, cannot be opened, or is empty.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError(f"{path}: is not a file. Give a video or an image.")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be opened ({error.strerror}). Check the path and rights.") from error
    if not head:
        raise UnreadableError(f"{path}: is empty (0 bytes). Download or copy it again.")
    return head.startswith((JPEG_MAGIC, PNG_MAGIC, BMP_MAGIC)) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_image(path: Path, *, max_pixels: int) -> Image:
    """Read an image file upright (EXIF is honoured) as RGB ``(height, width, 3)`` uint8.

    Raises:
        UnreadableError: It cannot be decoded.
        TooLargeError: It claims, or has, more than ``max_pixels`` pixels.
    """
    with path.open("rb") as file:
        size = claimed_size(file.read(_LONGEST_HEADER))
    unreadable = f"{path}: the image cannot be decoded ({path.stat().st_size} bytes). Save it again as PNG."
    if size is None:
        raise UnreadableError(unreadable)
    check_pixels(path, *size, max_pixels)
    try:
        bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise UnreadableError(unreadable) from error
    if bgr is None:
        raise UnreadableError(unreadable)
    check_pixels(path, bgr.shape[1], bgr.shape[0], max_pixels)
    return np.ascontiguousarray(bgr[..., ::-1])


def check_pixels(path: Path, width: int, height: int, max_pixels: int) -> None:
    """Refuse what is too large to decode.

    Raises:
        TooLargeError: ``width × height`` is above ``max_pixels``.
    """
    if width * height > max_pixels:
        raise TooLargeError(
            f"{path}: {width} × {height} pixels are more than the limit of {max_pixels:,}. "
            "Scale it down, or raise max_pixels."
        )


def claimed_size(head: bytes) -> tuple[int, int] | None:
    """Width and height that an image's header claims, or None where it is damaged.

    Example:
        >>> import cv2, numpy
        >>> claimed_size(cv2.imencode(".png", numpy.zeros((20, 30), "uint8"))[1].tobytes())
        (30, 20)
    """
    try:
        if head.startswith(PNG_MAGIC):
            width, height = struct.unpack_from(">II", head, 16)
        elif head.startswith(JPEG_MAGIC):
            height, width = next(_jpeg_sizes(head))
        elif head.startswith(BMP_MAGIC):
            width, height = _bmp_size(head)
        else:
            width, height = _webp_size(head)
    except (struct.error, StopIteration, IndexError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _jpeg_sizes(head: bytes) -> Iterator[tuple[int, int]]:
    """``(height, width)`` of the first frame header, found by walking over the segments before it."""
    place = 2
    while True:
        if head[place] != 0xFF:
            return
        marker = head[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _FRAME_HEADERS:
            yield struct.unpack_from(">HH", head, place + 5)
            return
        else:
            place += 2 + (0 if 0xD0 <= marker <= 0xD8 else max(2, struct.unpack_from(">H", head, place + 2)[0]))


def _bmp_size(head: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", head, 14)[0] == 12:  # the header of OS/2
        return struct.unpack_from("<HH", head, 18)
    width, height = struct.unpack_from("<ii", head, 18)
    return width, abs(height)  # a negative height counts the rows from the top


def _webp_size(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF
