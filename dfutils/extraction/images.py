"""Still and animated images: recognised by content, measured before decoding, read as a viewer shows them."""

from __future__ import annotations

import io
import math
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction.containers import ends_early
from dfutils.records import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_IMAGE_PIXELS = 200_000_000
"""Larger images are refused; this size takes up to 2 GB, and phones reach 200 megapixels."""

MIN_FRAME_SECONDS, DEFAULT_FRAME_SECONDS = 0.011, 0.1
"""Browsers show a frame of an animated image for 0.1 s if it asks for less than 11 ms."""

_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "WEBP", "GIF", "TIFF", "JPEG2000", "AVIF", "HEIF")
"""Pillow formats that are read; its other plugins are never tried on untrusted files."""

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose further images are animation frames, not previews or pages."""

_ORIENTATION = 0x0112
"""EXIF tag of the orientation."""

_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
"""TIFF tags: bits per sample, what 0 means (0: white), whether colours are in planes of their own (2), and whether
integers are signed (2)."""

_TRANSPOSITIONS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""Pillow transposition that turns each EXIF orientation upright."""

_STRIP_ROWS, _STRIP_PIXELS = 256, 16_000_000
"""Rows that a large image is reduced to at a time, and the most pixels that these are made from."""

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
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_COMPATIBLE_BRANDS = (b"heic", b"heix", b"avif", b"mif1")
"""Compatible brands that identify an image when the major brand is unknown."""

_VIDEO_BRANDS = (b"iso", b"mp4", b"avc", b"qt", b"M4V", b"3g", b"dash", b"MSNV", b"f4v", b"mmp4")

_HEAD_BYTES, _JPEG_BYTES = 256, 1 << 26
"""Bytes read to recognise a file, and those in which three images of a raw Motion JPEG stream begin."""

_LIMIT_LOCK = threading.Lock()
"""Held while Pillow's own limit, which is global, is lifted."""

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
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be opened ({error.strerror}). Check path and permissions.") from error
    if not head:
        raise UnreadableError(f"{path}: is empty (0 bytes). Download or copy it again.")
    kind = _kind_of_document(head)
    if kind == _JPEG_XL:
        raise UnreadableError(f"{path}: is {kind}, which cannot be read. Save it as PNG.")
    if kind:
        raise UnreadableError(f"{path}: is {kind}, not a video or image. Provide the media file itself.")
    if head.startswith(JPEG_SIGNATURE):
        return not _is_motion_jpeg(path)
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or _brand(head) != b""


def _kind_of_document(head: bytes) -> str:
    """Return what a file is if it is certainly no video or image that can be read, or an empty string."""
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "an audio file"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", errors="ignore").encode()
    beginning = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    return next((kind for signature, kind in _OTHER_DOCUMENTS.items() if beginning.startswith(signature)), "")


def measure_image(path: Path, *, max_frames: int) -> tuple[tuple[int, int], list[float]]:
    """Return the stored width and height of an image, and how long each frame of an animated one is shown, in seconds.

    Raises:
        UnreadableError: The file is damaged, truncated, or of a format that cannot be read here.
        TooLargeError: There are more than ``max_frames`` frames, or more than `MAX_IMAGE_PIXELS` pixels.
    """
    with _opened_image(path) as picture:
        with _readable(path):
            numbers = _frame_numbers(picture)
        if len(numbers) == 1:
            return picture.size, []
        if len(numbers) > max_frames:
            raise TooLargeError(
                f"{path}: has {len(numbers):,} frames, more than {max_frames:,}. Cut it, or raise limits.frames."
            )
        seconds = []
        for number in numbers:
            with _readable(path):
                picture.seek(number)
                picture.load()  # GIF and WebP only report a frame's duration once it is decoded
            seconds.append(_duration(picture))
        return picture.size, seconds


def iter_images(path: Path, *, max_pixels: int) -> Iterator[tuple[Image, float]]:
    """Yield the frames of an image, each with the seconds that it is shown: 0 for the only frame of a still one.

    A frame is RGB ``(height, width, 3)`` uint8, as in a viewer: upright, in sRGB by its ICC profile, transparency over
    white. Images above ``max_pixels`` are reduced while being read.

    Raises:
        UnreadableError: The file is damaged, truncated, or of a format that cannot be read here.
        TooLargeError: The image has more than `MAX_IMAGE_PIXELS` pixels.
    """
    with _opened_image(path) as picture:
        with _readable(path):
            numbers = _frame_numbers(picture)
        for number in numbers:
            with _readable(path):
                picture.seek(number)
                # An animation goes on from the frame before, which must stay as it is.
                shown = _shown(picture if len(numbers) == 1 else picture.copy(), max_pixels)
            yield shown, _duration(picture) if len(numbers) > 1 else 0.0


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


def _frame_numbers(picture: Picture) -> range:
    count = getattr(picture, "n_frames", 1) if picture.format in _ANIMATED else 1
    # A PNG may hold a fallback image that is not part of the animation.
    return range(1 if count > 1 and picture.info.get("default_image") else 0, count)


def _duration(picture: Picture) -> float:
    seconds = float(picture.info.get("duration") or 0) / 1000
    return seconds if seconds >= MIN_FRAME_SECONDS else DEFAULT_FRAME_SECONDS


def _brand(head: bytes) -> bytes:
    """Return the brand that makes an ISO media file an image; empty for a video and for other files."""
    if head[4:8] != b"ftyp":
        return b""
    if head[8:12] in _HEIF_BRANDS | _AVIF_BRANDS:
        return head[8:12]
    if head[8:12].startswith(_VIDEO_BRANDS):
        return b""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = [head[at : at + 4] for at in range(16, length, 4)]
    return next((brand for brand in _COMPATIBLE_BRANDS if brand in compatible), b"")


def _source(path: Path) -> Path | io.BytesIO:
    """Return what Pillow opens, whose plugins only look at the first brand of a HEIC or AVIF file."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    brand = _brand(head)
    return path if brand in (b"", head[8:12]) else io.BytesIO(head[:8] + brand + path.read_bytes()[12:])


@contextmanager
def _opened_image(path: Path) -> Iterator[Picture]:
    """Open an image without decoding it."""
    from PIL import Image as pillow  # noqa: N813 - a module of functions here, not the class

    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    pillow.init()
    with _LIMIT_LOCK, _readable(path):
        before, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None  # ours is checked below, with a message
        try:
            picture = pillow.open(_source(path), formats=[name for name in _FORMATS if name in pillow.OPEN])
        finally:
            pillow.MAX_IMAGE_PIXELS = before
    with picture:
        width, height = picture.size
        if width * height > MAX_IMAGE_PIXELS:
            raise TooLargeError(
                f"{path}: {width} × {height} pixels are more than the limit of {MAX_IMAGE_PIXELS:,}. Scale it down."
            )
        yield picture


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever Pillow's plugins raise for a damaged file into our own error."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        size = path.stat().st_size
        with path.open("rb") as file:
            brand = _brand(file.read(_HEAD_BYTES))
        said = str(error).replace(str(path), "").lower()
        if ends_early(path) or any(word in said for word in ("truncated", "premature", "eof")):
            reason = f"the image file is truncated ({size:,} bytes). Download or copy it again."
        elif type(error).__name__ == "UnidentifiedImageError" and brand in _HEIF_BRANDS:
            reason = "is a HEIC image. Run `pip install pillow-heif`, or save it as JPEG."
        elif type(error).__name__ == "UnidentifiedImageError" and brand in _AVIF_BRANDS:
            reason = "is an AVIF image. Install Pillow 11.3 or later, or save it as JPEG."
        else:
            reason = f"the image cannot be decoded ({size:,} bytes; {type(error).__name__}). Save it again as PNG."
        raise UnreadableError(f"{path}: {reason}") from error


def _shown(picture: Picture, max_pixels: int) -> Image:
    from PIL import Image as pillow  # noqa: N813

    picture.info["white_is_zero"] = _tag(picture, _PHOTOMETRIC) == 0  # kept in copies, unlike tags
    picture.info["is_signed"] = _tag(picture, _SAMPLE_FORMAT) == (2,)
    if _tag(picture, _PLANES) == 2 and max(_tag(picture, _BITS) or (0,)) > 8:
        raise ValueError("separate planes of 16 bits, which Pillow confuses")
    if picture.width * picture.height > max_pixels:
        picture.draft(picture.mode, _size_within(picture, max_pixels))  # a JPEG is decoded at ½, ¼ or ⅛ of its size
    picture.load()
    # After loading: some plugins turn the image while they decode it, and then remove the tag.
    method = _TRANSPOSITIONS.get(_orientation(picture))
    upright = _reduced(picture, max_pixels) if picture.width * picture.height > max_pixels else _in_srgb(picture)
    if method:
        upright = upright.transpose(pillow.Transpose[method])
    return np.ascontiguousarray(np.asarray(upright, np.uint8))


def _size_within(picture: Picture, max_pixels: int) -> tuple[int, int]:
    factor = (max_pixels / (picture.width * picture.height)) ** 0.5
    return max(1, int(picture.width * factor)), max(1, int(picture.height * factor))


def _reduced(picture: Picture, max_pixels: int) -> Picture:
    """Return a reduced copy in sRGB, strip by strip, so that only one full-size image is in memory."""
    from PIL import Image as pillow  # noqa: N813

    size = _size_within(picture, max_pixels)
    scale = picture.height / size[1]
    white = _white(picture) if picture.mode in ("I", "F") else None
    result = pillow.new("RGB", size)
    # Pillow has a limit for crops too, so that strips of a very wide image have fewer rows.
    rows = max(1, min(_STRIP_ROWS, int(_STRIP_PIXELS / (picture.width * scale))))
    for top in range(0, size[1], rows):
        bottom = min(top + rows, size[1])
        first, last = int(top * scale), min(picture.height, math.ceil(bottom * scale))
        strip = _in_srgb(picture.crop((0, first, picture.width, last)), white=white)
        box = (0, top * scale - first, picture.width, min(bottom * scale, last) - first)
        result.paste(strip.resize((size[0], bottom - top), pillow.Resampling.BOX, box=box), (0, top))
    return result


def _orientation(picture: Picture) -> int:
    with suppress(Exception):  # damaged EXIF data is no reason to refuse an image
        return int(picture.getexif().get(_ORIENTATION, 1))
    return 1


def _in_srgb(picture: Picture, *, white: float | None = None) -> Picture:
    """Return the image in sRGB, composited over white."""
    from PIL import Image as pillow  # noqa: N813

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = _values(picture)
        white = white or _white(picture)
        if picture.info.get("white_is_zero") and picture.mode != "F":
            values = white - values
        gray = np.nan_to_num(np.clip(values / white, 0, 1)) * 255 + 0.5
        return pillow.fromarray(gray.astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        background = pillow.new("RGBA", layer.size, (255, 255, 255, 255))
        background.alpha_composite(layer)
        background.info = picture.info
        return _by_profile(background.convert("RGB"))
    return _by_profile(picture.convert("RGB") if picture.mode in ("P", "1") else picture)


def _white(picture: Picture) -> float:
    """Return the value of white; a 32-bit image does not say it, and it is guessed from the maximum."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        return 65535.0
    brightest = 0.0
    for top in range(0, picture.height, _STRIP_ROWS):  # in strips, so that no second full-size image is in memory
        strip = picture.crop((0, top, picture.width, min(top + _STRIP_ROWS, picture.height)))
        values = _values(strip)
        brightest = float(np.max(values, where=np.isfinite(values), initial=brightest))
    return next((white for white in (1.0, 255.0, 65535.0) if brightest <= white), brightest)


def _values(picture: Picture) -> npt.NDArray[np.float32]:
    """Return the values of a gray image of 16 or 32 bits; Pillow reads unsigned integers of 32 bits as signed."""
    values: npt.NDArray[np.generic] = np.asarray(picture)
    is_unsigned = values.dtype == np.int32 and not picture.info.get("is_signed")
    return (values.view(np.uint32) if is_unsigned else values).astype(np.float32)


def _tag(picture: Picture, number: int) -> Any:
    """Return the value of a TIFF tag, or None."""
    tags = getattr(picture, "tag_v2", None)
    return None if tags is None else tags.get(number)


def _by_profile(picture: Picture) -> Picture:
    """Return the image converted by its ICC profile."""
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "L", "CMYK"):
        with suppress(Exception):  # like viewers, ignore a damaged profile, and a Pillow without LittleCMS
            from PIL import ImageCms

            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not ImageCms.getProfileDescription(own).startswith("sRGB IEC61966"):
                shown = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
                return shown if shown is not None else picture.convert("RGB")
    return picture.convert("RGB")
