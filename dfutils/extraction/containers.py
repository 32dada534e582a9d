"""Detect truncated files, whose container declares more bytes than there are."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

_EBML, _SEGMENT, _VOID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xec"
MAX_BOXES = 100_000
"""A fragmented recording has two boxes for every fragment."""


def ends_early(path: Path) -> bool:
    """Return whether an MP4, HEIC, Matroska, AVI or WebP file is shorter than its top-level boxes or chunks declare.

    Formats without a declared length, such as MPEG-TS, give False.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _boxes_end(file, size) > size
    if head.startswith(_EBML):
        return _segment_end(head) > size
    if head[:4] == b"RIFF" and len(head) >= 12:
        # An AVI of several gigabytes goes on in further RIFF chunks; a recording without an end declares 0 or 2³² - 1.
        declared = struct.unpack_from("<I", head, 4)[0]
        return size < declared + 8 < 0xFFFFFFF0
    return False


def _boxes_end(file: IO[bytes], size: int) -> int:
    offset = 0
    for _ in range(MAX_BOXES):
        file.seek(offset)
        header = file.read(16)
        if len(header) < 8:
            return offset
        length = struct.unpack_from(">I", header)[0]
        if length == 1 and len(header) == 16:
            length = struct.unpack_from(">Q", header, 8)[0]
        if length == 0:
            return size  # until the end of the file
        if length < 8:
            return offset  # trailing garbage, which players ignore
        offset += length
        if offset >= size:
            return offset
    return offset


def _segment_end(head: bytes) -> int:
    """Return the offset at which the segment of a Matroska file ends; 0 if it is unknown, as in a live recording."""
    length, width = _ebml_length(head, 4)
    offset = 4 + width + (length or 0)
    while length is not None and head[offset : offset + 1] == _VOID:
        length, width = _ebml_length(head, offset + 1)
        offset += 1 + width + (length or 0)
    if length is None or head[offset : offset + 4] != _SEGMENT:
        return 0
    length, width = _ebml_length(head, offset + 4)
    return 0 if length is None else offset + 4 + width + length


def _ebml_length(head: bytes, offset: int) -> tuple[int | None, int]:
    """Return an EBML length, None if it is unknown, and its width in bytes."""
    if offset >= len(head) or head[offset] == 0:
        return None, 1
    width = 9 - head[offset].bit_length()
    value = int.from_bytes(head[offset : offset + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width
