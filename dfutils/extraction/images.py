"""Still and animated images: measured before decoding, read as a viewer shows them."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction.containers import ends_early
from dfutils.extraction.recognition import AVIF_BRANDS, HEAD_BYTES, HEIF_BRANDS, image_brand
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

_LIMIT_LOCK = threading.Lock()
"""Held while Pillow's own limit, which is global, is lifted."""


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


def _frame_numbers(picture: Picture) -> range:
    count = getattr(picture, "n_frames", 1) if picture.format in _ANIMATED else 1
    # A PNG may hold a fallback image that is not part of the animation.
    return range(1 if count > 1 and picture.info.get("default_image") else 0, count)


def _duration(picture: Picture) -> float:
    seconds = float(picture.info.get("duration") or 0) / 1000
    return seconds if seconds >= MIN_FRAME_SECONDS else DEFAULT_FRAME_SECONDS


@contextmanager
def _opened_image(path: Path) -> Iterator[Picture]:
    """Open an image without decoding it."""
    from PIL import Image as pillow  # noqa: N813 - a module of functions here, not the class

    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    pillow.init()
    with _LIMIT_LOCK, _readable(path):
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        brand = image_brand(head)
        source: Path | io.BytesIO = path
        if brand not in (b"", head[8:12]):  # Pillow's plugins only look at the first brand of a HEIC or AVIF file
            source = io.BytesIO(head[:8] + brand + path.read_bytes()[12:])
        before, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None  # ours is checked below, with a message
        try:
            picture = pillow.open(source, formats=[name for name in _FORMATS if name in pillow.OPEN])
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
            brand = image_brand(file.read(HEAD_BYTES))
        said = str(error).replace(str(path), "").lower()
        if ends_early(path) or any(word in said for word in ("truncated", "premature", "eof")):
            reason = f"the image file is truncated ({size:,} bytes). Download or copy it again."
        elif type(error).__name__ == "UnidentifiedImageError" and brand in HEIF_BRANDS:
            reason = "is a HEIC image. Run `pip install pillow-heif`, or save it as JPEG."
        elif type(error).__name__ == "UnidentifiedImageError" and brand in AVIF_BRANDS:
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
    method = None
    with suppress(Exception):  # damaged EXIF data is no reason to refuse an image
        method = _TRANSPOSITIONS.get(int(picture.getexif().get(_ORIENTATION, 1)))
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
