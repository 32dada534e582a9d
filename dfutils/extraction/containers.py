"""Whether a file ends before its own container says that it does: a download or a recording that was cut off."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
MAX_BOXES = 100_000
"""A fragmented recording has two boxes for every fragment."""


def ends_early(path: Path) -> bool:
    """Return whether the outermost parts of an MP4, HEIC, Matroska, AVI or WebP file reach beyond its end.

    Other formats, such as MPEG-TS, do not say how long they are: for them the answer is False.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _boxes_end(file, size) > size
    if head.startswith(_EBML):
        return _segment_end(head) > size
    if head[:4] == b"RIFF" and len(head) > 8:
        told = struct.unpack_from("<I", head, 4)[0]
        return told + 8 > size and b"OpenDML" not in head and told < 0xFFFFFFF0
    return False


def _boxes_end(file: IO[bytes], size: int) -> int:
    place = 0
    for _ in range(MAX_BOXES):
        file.seek(place)
        header = file.read(16)
        if len(header) < 8:
            return place + 8 if header else place
        length, start = struct.unpack_from(">I", header)[0], 8
        if length == 1 and len(header) == 16:
            length = struct.unpack_from(">Q", header, 8)[0]
        if length == 0:
            return size  # until the end of the file
        if length < start:
            return place  # rubbish behind the last box, which players ignore
        place += length
        if place >= size:
            return place
    return place


def _segment_end(head: bytes) -> int:
    place = 4
    for _ in range(2):
        length, width = _variable_integer(head, place)
        if length is None:
            return 0
        place += width + length
        if head[place : place + 4] == _SEGMENT:
            length, width = _variable_integer(head, place + 4)
            return 0 if length is None else place + 4 + width + length
    return 0


def _variable_integer(head: bytes, place: int) -> tuple[int | None, int]:
    """Return the value, None if it is said to be unknown, and the width in bytes of a length in EBML."""
    if place >= len(head) or head[place] == 0:
        return None, 1
    width = 9 - head[place].bit_length()
    value = int.from_bytes(head[place : place + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width
