"""Still images, recognised by their content and measured before they are decoded."""

from __future__ import annotations

import stat
import struct
from pathlib import Path

import cv2
import numpy as np

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.records import Image

PNG_MAGIC, JPEG_MAGIC, BMP_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG markers of the segments that hold the size; the other markers in this range introduce tables."""
_LONGEST_HEADER = 4 << 20
"""A JPEG must state its size within this many bytes; previews and profiles may come first."""


def is_image(path: Path) -> bool:
    """Return whether the content (not the extension) is a still image.

    Raises:
        UnreadableError: The path is not a regular file, cannot be opened, or is empty.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError(f"{path}: is not a file. Give a video or an image.")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be opened ({error.strerror}). Check path and permissions.") from error
    if not head:
        raise UnreadableError(f"{path}: is empty (0 bytes). Download or copy it again.")
    return head.startswith((JPEG_MAGIC, PNG_MAGIC, BMP_MAGIC)) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_image(path: Path, *, max_pixels: int) -> Image:
    """Read an image file, turned upright by its EXIF data, as RGB ``(height, width, 3)`` uint8.

    Raises:
        UnreadableError: The file cannot be decoded.
        TooLargeError: The image claims to have, or has, more than ``max_pixels`` pixels.
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
    """Raise an error for an image that is too large to decode.

    Raises:
        TooLargeError: ``width × height`` is above ``max_pixels``.
    """
    if width * height > max_pixels:
        raise TooLargeError(
            f"{path}: {width} × {height} pixels are more than the limit of {max_pixels:,}. "
            "Scale it down, or raise max_pixels."
        )


def claimed_size(head: bytes) -> tuple[int, int] | None:
    """Return the width and height that an image's header claims, or None for a damaged header.

    Example:
        >>> import cv2, numpy
        >>> claimed_size(cv2.imencode(".png", numpy.zeros((20, 30), "uint8"))[1].tobytes())
        (30, 20)
    """
    try:
        if head.startswith(PNG_MAGIC):
            width, height = struct.unpack_from(">II", head, 16)
        elif head.startswith(JPEG_MAGIC):
            width, height = _jpeg_size(head)
        elif head.startswith(BMP_MAGIC):
            is_os2 = struct.unpack_from("<I", head, 14)[0] == 12
            width, height = struct.unpack_from("<HH" if is_os2 else "<ii", head, 18)
            height = abs(height)  # negative if the rows are stored from the top down
        elif head[12:16] == b"VP8X":
            width, height = (1 + int.from_bytes(head[start : start + 3], "little") for start in (24, 27))
        elif head[12:16] == b"VP8L":
            bits = struct.unpack_from("<I", head, 21)[0]
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        else:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 26))
    except (struct.error, IndexError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _jpeg_size(head: bytes) -> tuple[int, int]:
    """Return the width and height in the first frame header, skipping earlier segments; ``(0, 0)`` if damaged."""
    place = 2
    while head[place] == 0xFF:
        marker = head[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", head, place + 5)
            return width, height
        else:
            place += 2 + (0 if 0xD0 <= marker <= 0xD8 else max(2, struct.unpack_from(">H", head, place + 2)[0]))
    return 0, 0
