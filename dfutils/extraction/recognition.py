"""Recognise by its content whether a file is an image, a video or a document of another kind."""

from __future__ import annotations

import stat
from pathlib import Path

from dfutils.errors import UnreadableError

JPEG_SIGNATURE = b"\xff\xd8\xff"
_SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"BM",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"})
AVIF_BRANDS = frozenset({b"avif", b"avis"})
_COMPATIBLE_BRANDS = (b"heic", b"heix", b"avif", b"mif1")
"""Compatible brands that identify an image when the major brand is unknown."""

_VIDEO_BRANDS = (b"iso", b"mp4", b"avc", b"qt", b"M4V", b"3g", b"dash", b"MSNV", b"f4v", b"mmp4")

HEAD_BYTES, _JPEG_BYTES = 256, 1 << 26
"""Bytes read to recognise a file, and those in which three images of a raw Motion JPEG stream begin."""

_JPEG_XL = "a JPEG XL image"
_OTHER_DOCUMENTS = {
    b"<!doctype": "a web page (HTML)",
    b"<!--": "a web page (HTML)",
    b"<head": "a web page (HTML)",
    b"<html": "a web page (HTML)",
    b"<svg": "a drawing (SVG)",
    b"<?xml": "an XML document",
    b"%pdf": "a PDF document",
    b"pk\x03\x04": "a ZIP archive",
    b"rar!": "a RAR archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"#extm3u": "a playlist",
    b'{"': "a JSON document",
    b"version https://git-lfs": "a Git LFS pointer",
    b"bzh": "a bzip2 archive",
    b"\xfd7zxz": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"sqlite format": "a database (SQLite)",
    b"{\\rtf": "a text document (RTF)",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"id3": "an audio file",
    b"flac": "an audio file",
    b"form": "an audio file",
    b"\xff\xfb": "an audio file",
    b"\xff\xf3": "an audio file",
    b"8bps": "a Photoshop document (PSD)",
    b"\xff\x0a": _JPEG_XL,
    b"\0\0\0\x0cjxl ": _JPEG_XL,
    b"mz": "a program",
}
"""Signatures of other documents, in lower case."""


def is_image(path: Path) -> bool:
    """Return whether the content (not the extension) is an image, still or animated.

    Raises:
        UnreadableError: The path is not a regular file, cannot be opened, is empty, or is a document of another kind.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError(f"{path}: is not a file. Give a video or an image.")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be opened ({error.strerror}). Check path and permissions.") from error
    if not head:
        raise UnreadableError(f"{path}: is empty (0 bytes). Download or copy it again.")
    is_utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = head.decode("utf-16", errors="ignore").encode() if is_utf16 else head
    beginning = text.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    kind = next((kind for signature, kind in _OTHER_DOCUMENTS.items() if beginning.startswith(signature)), "")
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        kind = "an audio file"
    if kind == _JPEG_XL:
        raise UnreadableError(f"{path}: is {kind}, which cannot be read. Save it as PNG.")
    if kind:
        raise UnreadableError(f"{path}: is {kind}, not a video or image. Provide the media file itself.")
    if head.startswith(JPEG_SIGNATURE):
        return not _is_motion_jpeg(path)
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or image_brand(head) != b""


def _is_motion_jpeg(path: Path) -> bool:
    """Return whether a raw stream begins here: three JPEG images of one size in a row.

    A photograph may be followed by previews, depth maps and gain maps, which differ in size or are listed in its index
    of several pictures.
    """
    with path.open("rb") as file:
        content = file.read(_JPEG_BYTES)
    sizes, end = set(), 0
    for _ in range(3):
        if content[end : end + 3] != JPEG_SIGNATURE:
            return False
        size, end = _jpeg_size_and_end(content, end)
        sizes.add(size)
    first_scan = content.find(b"\xff\xda")
    return len(sizes) == 1 and content.find(b"MPF\0", 0, first_scan) < 0


def _jpeg_size_and_end(content: bytes, start: int) -> tuple[bytes, int]:
    """Return the coded height and width of a JPEG image in a file, and where the image ends."""
    size, place = b"", start + 2
    while content[place : place + 1] == b"\xff" and place + 1 < len(content):
        marker = content[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            size = content[place + 5 : place + 9]
        if marker == 0xDA:  # the start of the scan, in which no end-of-image marker can occur
            end = content.find(b"\xff\xd9", place)
            return size, end + 2 if end >= 0 else len(content)
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return size, len(content)


def image_brand(head: bytes) -> bytes:
    """Return the brand that makes an ISO media file an image; empty for a video and for other files."""
    if head[4:8] != b"ftyp":
        return b""
    if head[8:12] in HEIF_BRANDS | AVIF_BRANDS:
        return head[8:12]
    if head[8:12].startswith(_VIDEO_BRANDS):
        return b""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = [head[at : at + 4] for at in range(16, length, 4)]
    return next((brand for brand in _COMPATIBLE_BRANDS if brand in compatible), b"")
