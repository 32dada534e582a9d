"""One video frame as a player displays it: upright, in square pixels of one size, in sRGB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import av
import cv2
import numpy as np
import numpy.typing as npt

from dfutils.extraction.colour import ColourTransform
from dfutils.records import Image

_LUMA_FIRST_FORMATS = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"}


class Orientation(NamedTuple):
    """How a stored image is turned upright: first it is transposed, then mirrored.

    Attributes:
        is_transposed: Rows become columns.
        is_mirrored: Left and right change places.
        is_flipped: Top and bottom change places.
        degrees: Clockwise rotation that is no multiple of 90; corners that leave the frame are cut off.
    """

    is_transposed: bool = False
    is_mirrored: bool = False
    is_flipped: bool = False
    degrees: float = 0.0

    def applied_to(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the upright image, gray or RGB."""
        if self.is_transposed:
            image = image.swapaxes(0, 1)
        if self.is_mirrored:
            image = image[:, ::-1]
        return image[::-1] if self.is_flipped else image


UPRIGHT = Orientation()


def orientation_of(display_matrix: bytes) -> Orientation:
    """Parse FFmpeg's display matrix: nine int32 in native byte order, of which the upper-left 2 × 2 matter.

    Angles within 1° of a multiple of 90° count as that multiple; others become ``degrees``, without mirroring, as in
    FFmpeg's own programs.

    Example:
        >>> import numpy
        >>> orientation_of(numpy.array([0, 65536, 0, -65536, 0, 0, 0, 0, 2**30], "i4").tobytes())
        Orientation(is_transposed=True, is_mirrored=True, is_flipped=False, degrees=0.0)
    """
    if len(display_matrix) < 36:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(display_matrix, np.int32, 5).astype(np.float64)
    first, second = math.hypot(a, c), math.hypot(b, d)
    if first == 0 or second == 0:
        return UPRIGHT
    degrees = round(math.degrees(math.atan2(b / second, a / first))) % 360
    if min(degrees % 90, -degrees % 90) > 1:
        return Orientation(degrees=float(degrees))
    is_transposed = bool(abs(b) > abs(a))
    across, down = (c, b) if is_transposed else (a, d)
    return Orientation(is_transposed, bool(across < 0), bool(down < 0))


def rotation_matrix(degrees: float) -> bytes:
    """Return the display matrix of a counterclockwise rotation; `orientation_of` reads it back.

    Example:
        >>> orientation_of(rotation_matrix(90))
        Orientation(is_transposed=True, is_mirrored=False, is_flipped=True, degrees=0.0)
    """
    cosine, sine = (65536 * function(math.radians(degrees)) for function in (math.cos, math.sin))
    return np.array([cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30]).round().astype(np.int32).tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame, converted on demand.

    Attributes:
        index: Position in the order of display, from 0.
        time_seconds: Time on the clock of the video, from 0.
        decoded: The decoder's frame, or the upright RGB image of an image file.
        pixel_aspect: Width of a stored pixel over its height; 1 for nearly all videos.
        orientation: How the stored image is turned upright.
        colours: Converts HDR or wide-gamut colour to sRGB; None if not needed.
        canvas: Display size of the whole video where this frame's own size differs; the image is letterboxed into it.
    """

    index: int
    time_seconds: float
    decoded: av.VideoFrame | Image
    pixel_aspect: float = 1.0
    orientation: Orientation = UPRIGHT
    colours: ColourTransform | None = None
    canvas: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Upright, square-pixel ``(width, height)``."""
        return self.canvas or self._own_size

    @property
    def _own_size(self) -> tuple[int, int]:
        if isinstance(self.decoded, np.ndarray):
            return self.decoded.shape[1], self.decoded.shape[0]
        width, height = max(1, round(self.decoded.width * self.pixel_aspect)), self.decoded.height
        return (height, width) if self.orientation.is_transposed else (width, height)

    def image(self, *, longest_side: int | None = None) -> Image:
        """Return upright RGB with square pixels, reduced (never enlarged) to ``longest_side`` pixels if given."""
        longest = max(self.size)
        scale = min(1.0, (longest_side or longest) / longest)
        if self.canvas is None or self.canvas == self._own_size:
            return self._scaled(scale)
        own, canvas = self._own_size, self.canvas
        fit = min(canvas[0] / own[0], canvas[1] / own[1]) * scale
        inside = self._scaled(fit)
        width, height = (max(1, round(side * scale)) for side in canvas)
        right, down = max(0, width - inside.shape[1]), max(0, height - inside.shape[0])
        left, top = right // 2, down // 2
        bordered = cv2.copyMakeBorder(inside, top, down - top, left, right - left, cv2.BORDER_CONSTANT)
        return np.ascontiguousarray(bordered[:height, :width], np.uint8)

    def luma(self) -> npt.NDArray[np.uint8]:
        """Return the upright brightness ``(height, width)`` uint8, if possible as a view of the decoder's own plane.

        It is the coded luma: HDR is not tone-mapped.
        """
        if isinstance(self.decoded, np.ndarray) or self.canvas is not None:
            return cv2.cvtColor(self.image(), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        if self.pixel_aspect == 1 and self.decoded.format.name in _LUMA_FIRST_FORMATS:
            plane = self.decoded.planes[0]
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            gray = rows[: self.decoded.height, : self.decoded.width]
        else:
            width = max(1, round(self.decoded.width * self.pixel_aspect))
            gray = np.asarray(self.decoded.reformat(width=width, format="gray").to_ndarray(), np.uint8)
        return gray if self.orientation == UPRIGHT else np.ascontiguousarray(self.orientation.applied_to(gray))

    def _scaled(self, scale: float) -> Image:
        """Return the image scaled by ``scale``."""
        if isinstance(self.decoded, np.ndarray):
            height, width = self.decoded.shape[:2]
            if scale == 1:
                return self.decoded
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            return cv2.resize(self.decoded, size, interpolation=kernel).astype(np.uint8, copy=False)
        width, height = max(1, round(self.decoded.width * self.pixel_aspect)), self.decoded.height
        shape = {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}
        filtering = "AREA" if scale < 1 else "BILINEAR"
        if self.colours is not None:
            coded = self.decoded.reformat(**shape, format="rgb48le", interpolation=filtering)
            image = self.colours.to_srgb(np.asarray(coded.to_ndarray(), np.uint16))
        else:
            converted = self.decoded.reformat(**shape, format="rgb24", interpolation=filtering)
            image = np.asarray(converted.to_ndarray(), np.uint8)
        return image if self.orientation == UPRIGHT else np.ascontiguousarray(self.orientation.applied_to(image))
