"""Pictures, still or moving: recognised by content, measured before they are decoded, and shown as by a viewer."""

from __future__ import annotations

import io
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction.containers import ends_early
from dfutils.records import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_IMAGE_PIXELS = 200_000_000
"""Pictures of any kind up to this size are read, which takes up to 1.5 GB; the largest phones take 200 megapixels."""

MIN_FRAME_SECONDS, DEFAULT_FRAME_SECONDS = 0.011, 0.1
"""Browsers show a frame of a moving picture for 0.1 s if it asks for less than 11 ms."""

_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "WEBP", "GIF", "TIFF", "JPEG2000", "AVIF", "HEIF")
"""Pillow's names of what is read; its readers for other formats are not tried on untrusted files."""

_MOVING = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose further images are later frames, and not previews or other pages."""

_ORIENTATION = 0x0112
"""Number of the note in which a camera says how it was held."""

_STRIP_ROWS = 256

_SIGNATURES = (
    b"\xff\xd8\xff",
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

_NO_MEDIA = {
    b"<!doctype html": "a web page (HTML)",
    b"<html": "a web page (HTML)",
    b"<svg": "a drawing (SVG)",
    b"<?xml": "an XML document",
    b"%pdf": "a PDF document",
    b"pk\x03\x04": "a ZIP archive",
    b"rar!": "a RAR archive",
    b"\x1f\x8b": "a gzip archive",
    b"#extm3u": "a playlist",
    b'{"': "a JSON document",
}
"""What the beginning of a file that is neither video nor picture gives away, in lower case."""


def is_image(path: Path) -> bool:
    """Return whether the content (not the extension) is a picture, still or moving.

    Raises:
        UnreadableError: The path is not a regular file, cannot be opened, is empty, or is a document of another kind.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError(f"{path}: is not a file. Give a video or an image.")
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be opened ({error.strerror}). Check path and permissions.") from error
    if not head:
        raise UnreadableError(f"{path}: is empty (0 bytes). Download or copy it again.")
    beginning = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, kind in _NO_MEDIA.items():
        if beginning.startswith(signature):
            raise UnreadableError(f"{path}: is {kind}, neither a video nor an image. Download the file itself again.")
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or _brand(head) != b""


def read_image(path: Path, *, max_pixels: int) -> Image:
    """Read a picture, or the first frame of a moving one, as RGB ``(height, width, 3)`` uint8.

    It is shown as by a viewer: upright, in the colours of its profile, transparent parts over white. A larger picture
    than ``max_pixels`` is reduced while it is read.

    Raises:
        UnreadableError: The file is damaged, ends early, or is of a format that cannot be read here.
        TooLargeError: The picture has more than `MAX_IMAGE_PIXELS` pixels.
    """
    with _opened(path) as picture:
        return _shown(picture, max_pixels)


def frame_seconds(path: Path, *, most: int) -> list[float]:
    """Return how long each frame of a moving picture is shown, in seconds; empty for a still picture.

    Raises:
        UnreadableError: As `read_image` does.
        TooLargeError: There are more than ``most`` frames, or the picture is too large.
    """
    with _opened(path) as picture:
        count = getattr(picture, "n_frames", 1) if picture.format in _MOVING else 1
        if count == 1:
            return []
        if count > most:
            raise TooLargeError(f"{path}: has {count:,} frames, more than {most:,}. Cut it, or raise limits.frames.")
        seconds = []
        for number in range(count):
            picture.seek(number)
            picture.load()  # GIF and WebP know how long a frame is shown only once it is decoded
            seconds.append(_seconds(picture))
        return seconds


def image_size(path: Path) -> tuple[int, int]:
    """Return the stored width and height of a picture, from its header.

    Raises:
        UnreadableError: As `read_image` does.
        TooLargeError: As `read_image` does.
    """
    with _opened(path) as picture:
        return picture.size


def iter_images(path: Path, *, max_pixels: int) -> Iterator[tuple[Image, float]]:
    """Yield the frames of a picture, each as `read_image` returns the first, with the seconds it is shown.

    Raises:
        UnreadableError: As `read_image` does.
        TooLargeError: As `read_image` does.
    """
    with _opened(path) as picture:
        if picture.format not in _MOVING or getattr(picture, "n_frames", 1) == 1:
            yield _shown(picture, max_pixels), 0.0
            return
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            yield _shown(picture.copy(), max_pixels), _seconds(picture)


def _seconds(picture: Picture) -> float:
    seconds = float(picture.info.get("duration") or 0) / 1000
    return seconds if seconds >= MIN_FRAME_SECONDS else DEFAULT_FRAME_SECONDS


def _brand(head: bytes) -> bytes:
    """Return the brand that makes an ISO media file a picture; empty for a film and for other files."""
    known = _HEIF_BRANDS | _AVIF_BRANDS
    return head[8:12] if head[4:8] == b"ftyp" and head[8:12] in known else b""


@contextmanager
def _opened(path: Path) -> Iterator[Picture]:
    """Open a picture without decoding it; translate what goes wrong while it is used."""
    from PIL import Image as pillow  # noqa: N813 - a module of functions here, not the class

    pillow.MAX_IMAGE_PIXELS = None  # measured below, with our own limit and message
    try:
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    except ImportError:
        pass
    pillow.init()
    size_bytes = path.stat().st_size
    try:
        with pillow.open(path, formats=[name for name in _FORMATS if name in pillow.OPEN]) as picture:
            width, height = picture.size
            if width * height > MAX_IMAGE_PIXELS:
                raise TooLargeError(
                    f"{path}: {width} × {height} pixels are more than the limit of {MAX_IMAGE_PIXELS:,}. Scale it down."
                )
            yield picture
    except pillow.UnidentifiedImageError as error:
        raise UnreadableError(_unknown(path, size_bytes)) from error
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:
        if ends_early(path) or any(word in str(error).lower() for word in ("truncated", "premature", "eof")):
            reason = f"the picture ends early: {size_bytes:,} bytes are only a part of it. Download or copy it again."
        else:
            reason = f"the image cannot be decoded ({size_bytes:,} bytes; {error}). Save it again as PNG."
        raise UnreadableError(f"{path}: {reason}") from error


def _unknown(path: Path, size_bytes: int) -> str:
    with path.open("rb") as file:
        brand = _brand(file.read(16))
    if brand in _HEIF_BRANDS:
        return f"{path}: is a HEIC picture; `pip install pillow-heif` lets dfutils read it, or save it as JPEG."
    if brand in _AVIF_BRANDS:
        return f"{path}: is an AVIF picture, which needs Pillow 11.3 or later; or save it as JPEG."
    return f"{path}: the image cannot be decoded ({size_bytes:,} bytes). Save it again as PNG."


def _shown(picture: Picture, max_pixels: int) -> Image:
    from PIL import ImageOps

    width, height = picture.size
    if width * height > max_pixels:
        factor = (max_pixels / (width * height)) ** 0.5
        wanted = max(1, int(width * factor)), max(1, int(height * factor))
        picture.draft(picture.mode, wanted)  # a JPEG is decoded at a half, a quarter or an eighth of its size
        turned = _has_orientation(picture)
        reduced = _reduced(picture, wanted)
        picture = ImageOps.exif_transpose(_with_exif(reduced, picture)) if turned else reduced
    else:
        picture.load()
        picture = _in_colour(ImageOps.exif_transpose(picture) if _has_orientation(picture) else picture)
    return np.ascontiguousarray(np.asarray(picture, np.uint8))


def _with_exif(picture: Picture, original: Picture) -> Picture:
    picture.getexif()[_ORIENTATION] = original.getexif()[_ORIENTATION]
    return picture


def _reduced(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return the picture in sRGB at a smaller size, made strip by strip: large ones fit into memory only once."""
    from PIL import Image as pillow  # noqa: N813

    width, height = picture.size
    scale = height / size[1]
    result = pillow.new("RGB", size)
    for top in range(0, size[1], _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, size[1])
        first, last = int(top * scale), min(height, math.ceil(bottom * scale))
        strip = _in_colour(picture.crop((0, first, width, last)))
        box = (0, top * scale - first, width, min(bottom * scale, last) - first)
        result.paste(strip.resize((size[0], bottom - top), pillow.Resampling.BOX, box=box), (0, top))
    return result


def _has_orientation(picture: Picture) -> bool:
    try:
        return picture.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, OverflowError):
        return False  # a damaged note about the camera is no reason to refuse a picture


def _in_colour(picture: Picture) -> Picture:
    """Return the picture in sRGB, with what is transparent over white."""
    from PIL import Image as pillow  # noqa: N813

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture, np.float32)
        return pillow.fromarray(_gray(values, is_float=picture.mode == "F")).convert("RGB")
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        below = pillow.new("RGBA", layer.size, (255, 255, 255, 255))
        below.alpha_composite(layer)
        below.info = picture.info
        return _in_srgb(below.convert("RGB"))
    return _in_srgb(picture)


def _gray(values: npt.NDArray[np.float32], *, is_float: bool) -> Image:
    """Return gray of 16 bits, or of floating point with an unknown white, as 8 bits."""
    brightest = float(np.nanmax(values, initial=0.0)) if is_float else 65535.0
    white = next((one for one in (1.0, 255.0, 65535.0) if brightest <= one), brightest)
    return np.asarray(np.nan_to_num(np.clip(values / white, 0, 1)) * 255 + 0.5, np.uint8)


def _in_srgb(picture: Picture) -> Picture:
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "L", "CMYK"):
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" in ImageCms.getProfileDescription(own):
                return picture.convert("RGB")
            shown = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return shown if shown is not None else picture.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # viewers show a picture with a damaged profile as if it had none
    return picture.convert("RGB")
