"""Detect truncated files: their container declares more bytes than are present."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

MAX_BOXES = 1_000_000
"""A fragmented recording has two boxes for every fragment."""

_EBML, _SEGMENT, _VOID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xec"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FIRST_BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"jP  ")
_MEDIA_BOXES = (b"moov", b"moof", b"mdat", b"meta", b"jp2c")
"""Boxes whose end must be present for the video or image to be complete."""

_MAX_PAGE_BYTES = 65_307
"""Largest Ogg page."""

_UNKNOWN = 0xFFFFFFF0
"""A RIFF file that was not closed declares this length or more, or 0."""


def ends_early(path: Path) -> bool:
    """Return whether a file is shorter than the boxes, chunks or header of its container declare.

    Formats without a declared length, such as MPEG-TS, give False. The missing part need not belong to the video:
    compare the duration where it is declared.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8192)
        if head[4:8] in _FIRST_BOXES:
            return _boxes_are_cut(file, size)
        for signature, is_cut in _CHECKS_OF_FILE.items():
            if head.startswith(signature):
                return is_cut(file, size)
    if head.startswith(_EBML):
        return _matroska_is_cut(head, size)
    if head.startswith(_ASF_HEADER):
        return _asf_is_cut(head, size)
    return head.startswith(_TIFF) and _tiff_is_cut(head, size)


def is_fragmented(path: Path) -> bool:
    """Return whether an MP4 is made of fragments, so that FFmpeg only knows the duration of those that are present."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, start, end in _boxes(file, size):
            file.seek(start)
            if kind == b"moof" or (kind == b"moov" and b"mvex" in file.read(min(end, size) - start)):
                return True
    return False


def _boxes(file: IO[bytes], size: int) -> list[tuple[bytes, int, int]]:
    """Return type, start and end of each box at the top level of an ISO media file; 0 is the end of an open box."""
    boxes: list[tuple[bytes, int, int]] = []
    offset = 0
    while offset < size and len(boxes) < MAX_BOXES:
        file.seek(offset)
        header = file.read(16)
        if len(header) < 8:
            break
        length, kind = struct.unpack_from(">I4s", header)
        if length == 1 and len(header) == 16:
            length = struct.unpack_from(">Q", header, 8)[0]
        if 0 < length < 8:
            break  # trailing garbage, which players ignore
        boxes.append((kind, offset, offset + length if length else 0))
        if not length:
            break
        offset += length
    return boxes


def _boxes_are_cut(file: IO[bytes], size: int) -> bool:
    boxes = _boxes(file, size)
    if not boxes:
        return False
    kind, _, end = boxes[-1]
    if not end:  # an open box ends with the file, wherever that is; fragments before it tell nothing about its length
        return kind in _MEDIA_BOXES and all(kind != b"moof" for kind, _, _ in boxes)
    return kind in _MEDIA_BOXES and end > size


def _riff_is_cut(file: IO[bytes], size: int) -> bool:
    """Check AVI and WebP; an AVI of several gigabytes goes on in further RIFF chunks."""
    file.seek(0)
    offset, chunk = 0, file.read(8)
    while chunk[:4] == b"RIFF" and len(chunk) == 8:
        length = struct.unpack_from("<I", chunk, 4)[0]
        if length == 0 or length >= _UNKNOWN:
            return False
        offset += 8 + length + length % 2
        if offset - length % 2 > size:
            return True
        file.seek(offset)
        chunk = file.read(8)
    return False


def _matroska_is_cut(head: bytes, size: int) -> bool:
    """Check Matroska; the length of its segment is unknown in a live recording."""
    length, width = _ebml_length(head, 4)
    offset = 4 + width + (length or 0)
    while length is not None and head[offset : offset + 1] == _VOID:
        length, width = _ebml_length(head, offset + 1)
        offset += 1 + width + (length or 0)
    if length is None or head[offset : offset + 4] != _SEGMENT:
        return False
    length, width = _ebml_length(head, offset + 4)
    return length is not None and offset + 4 + width + length > size


def _ebml_length(head: bytes, offset: int) -> tuple[int | None, int]:
    """Return an EBML length, None if it is unknown, and its width in bytes."""
    if offset >= len(head) or head[offset] == 0:
        return None, 1
    width = 9 - head[offset].bit_length()
    value = int.from_bytes(head[offset : offset + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width


def _flv_is_cut(file: IO[bytes], size: int) -> bool:
    """Check FLV, which ends with the length of its last tag, whose header says the same."""
    if size < 28:
        return True
    file.seek(size - 4)
    length = int.from_bytes(file.read(4), "big")
    if not 11 <= length <= size - 13:
        return True
    file.seek(size - 4 - length)
    return int.from_bytes(file.read(4)[1:], "big") != length - 11


def _ogg_is_cut(file: IO[bytes], size: int) -> bool:
    """Check Ogg, whose last page is marked as the end of its stream."""
    file.seek(max(0, size - _MAX_PAGE_BYTES))
    tail = file.read()
    last = tail.rfind(b"OggS")
    return last >= 0 and len(tail) > last + 5 and not tail[last + 5] & 4


def _asf_is_cut(head: bytes, size: int) -> bool:
    """Check ASF, whose file properties hold the size of the file; a broadcast has flag 1 and no size."""
    at = head.find(_ASF_FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return False
    declared, flags = struct.unpack_from("<Q", head, at + 40)[0], struct.unpack_from("<I", head, at + 88)[0]
    return not flags & 1 and declared > size


def _tiff_is_cut(head: bytes, size: int) -> bool:
    """Check TIFF, whose header points to a directory that is often at the end."""
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    return len(head) < 16 or struct.unpack_from(order + ("Q" if is_big else "I"), head, 8 if is_big else 4)[0] >= size


_CHECKS_OF_FILE = {b"RIFF": _riff_is_cut, b"FLV": _flv_is_cut, b"OggS": _ogg_is_cut}
