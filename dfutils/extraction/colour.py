"""Conversion of HDR and wide-gamut video to sRGB.

Transfer functions and matrices are those of ITU-R BT.2100 (https://www.itu.int/rec/R-REC-BT.2100), diffuse white of HDR
is at 203 cd/m² as in BT.2408 (https://www.itu.int/pub/R-REP-BT.2408), and the display is that of BT.1886.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfutils.records import Image

PQ, HLG = 16, 18
"""Values of FFmpeg's ``AVColorTransferCharacteristic`` for SMPTE ST 2084 and ARIB STD-B67."""

_PRIMARIES = {
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # DCI-P3; DCI white is treated as D65
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
"""Chromaticities of red, green and blue by FFmpeg's ``AVColorPrimaries``, for those that differ visibly from sRGB's."""
_SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_WHITE = (0.3127, 0.3290)

HDR_WHITE = 203.0
"""Luminance of diffuse white in HDR, in cd/m²."""
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2
"""HLG is scene-referred: peak luminance in cd/m² and system gamma of the reference display."""
DISPLAY_GAMMA = 2.4

KNEE = 0.9
"""Tone mapping is linear up to this fraction of white and compresses highlights above it."""

_STRIP_ROWS = 256
"""Rows converted at a time: the light of a whole 8K frame would take more than a gigabyte."""


@dataclass(frozen=True, slots=True, eq=False)
class ColourTransform:
    """Converts RGB of one transfer function and primaries to sRGB.

    Attributes:
        light: Linear light for each of 65,536 code values; 1 is white.
        matrix: From the video's primaries to sRGB's.
        is_hdr: Whether light may be brighter than white.
        is_hlg: Whether ``light`` is scene-referred, as in HLG.
    """

    light: npt.NDArray[np.float32]
    matrix: npt.NDArray[np.float32]
    is_hdr: bool
    is_hlg: bool

    def to_srgb(self, rgb: npt.NDArray[np.uint16]) -> Image:
        """Convert RGB ``(height, width, 3)`` of 16 bits to uint8."""
        result = np.empty(rgb.shape, np.uint8)
        for top in range(0, len(rgb), _STRIP_ROWS):
            light = self.light[rgb[top : top + _STRIP_ROWS]]
            if self.is_hlg:
                luminance = light @ np.asarray((0.2627, 0.6780, 0.0593), np.float32)
                light *= (np.maximum(luminance, 1e-6) ** (HLG_GAMMA - 1))[..., None]
                light *= HLG_PEAK / HDR_WHITE
            light = light @ self.matrix.T
            if self.is_hdr:
                brightest = light.max(axis=-1, keepdims=True)  # one factor for all three keeps the hue
                # Light below the knee is left as it is, and brighter light compressed towards 1 with a smooth slope.
                above, room = np.maximum(brightest - KNEE, 0), 1 - KNEE
                compressed = np.where(brightest <= KNEE, brightest, KNEE + room * above / (above + room))
                light *= compressed.astype(np.float32) / np.maximum(brightest, 1e-6)
            result[top : top + _STRIP_ROWS] = np.clip(light, 0, 1) ** (1 / DISPLAY_GAMMA) * 255 + 0.5
        return result


@functools.cache
def colour_transform(transfer: int, primaries: int) -> ColourTransform | None:
    """Return the conversion for FFmpeg's numbers of a transfer function and primaries; None if none is needed."""
    if transfer not in (PQ, HLG) and primaries not in _PRIMARIES:
        return None
    code = np.linspace(0, 1, 65536)
    if transfer == PQ:
        powered = code ** (1 / 78.84375)
        light = (np.maximum(powered - 0.8359375, 0) / (18.8515625 - 18.6875 * powered)) ** (1 / 0.1593017578125)
        light *= 10_000 / HDR_WHITE
    elif transfer == HLG:
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    else:
        light = code**DISPLAY_GAMMA
    own = _PRIMARIES.get(primaries, _SRGB)
    matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(own)
    is_hdr = transfer in (PQ, HLG)
    return ColourTransform(light.astype(np.float32), matrix.astype(np.float32), is_hdr, transfer == HLG)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float64]:
    """Return the matrix from linear RGB to CIE XYZ, whose white is D65."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in primaries]).T
    x, y = _WHITE
    return columns * np.linalg.solve(columns, np.array((x / y, 1.0, (1 - x - y) / y)))
