"""Soft brushes in head units, on float images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
"""float32 images, (H, W, 3) RGB 0..255 or (H, W, 4) with premultiplied alpha 0..1; coverages (H, W), 0..1."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Patch:
    """A rectangle of a canvas: its pixels, and where they are in head units."""

    pixels: Floats
    x: Floats
    """(1, W)"""
    y: Floats
    """(H, 1)"""
    pixel: float
    """Size of a pixel in head units, the width of a smooth edge."""

    def edge(self, depth: Floats, *, softness: float = 0.0) -> Floats:
        """Turn a depth inside a shape (head units, negative outside) into a coverage with a smooth edge."""
        return np.clip(depth / (self.pixel * 1.4 + softness) + 0.5, 0, 1)

    def paint(self, coverage: Floats, color: Sequence[float]) -> None:
        """Lay a colour over the pixels. With four channels, the result has premultiplied alpha."""
        full = np.asarray((*color, 1.0)[: self.pixels.shape[2]], np.float32)
        pixels = self.pixels
        pixels += coverage[..., None] * (full - pixels)

    def shade(self, coverage: Floats, factor: float) -> None:
        """Darken (factor below 1) or brighten; red changes less than blue, as on skin."""
        factors = np.asarray([factor**0.8, factor, factor**1.1], np.float32)
        colors = self.pixels[..., :3]
        colors *= 1 + coverage[..., None] * (factors - 1)

    def vary(self, change: Floats) -> None:
        """Brighten each pixel by a share of its value, as grain does."""
        colors = self.pixels[..., :3]
        colors *= 1 + change[..., None]


@dataclass(frozen=True)
class Canvas:
    """An image whose pixel (column, row) lies at ``(column, row) / scale + corner`` in head units."""

    pixels: Floats
    scale: float
    """Pixels per head unit."""
    corner: Point

    @classmethod
    def blank(cls, *, left: float, top: float, right: float, bottom: float, scale: float, channels: int) -> Canvas:
        """Make an all-zero canvas for a rectangle in head units."""
        shape = (round((bottom - top) * scale), round((right - left) * scale), channels)
        return cls(np.zeros(shape, np.float32), scale, (left, top))

    def copy(self) -> Canvas:
        """Copy the pixels, so that painting leaves this canvas as it is."""
        return Canvas(self.pixels.copy(), self.scale, self.corner)

    def everything(self) -> Patch:
        """Take the whole canvas as one patch."""
        height, width = self.pixels.shape[:2]
        return self._patch(0, 0, width, height)

    def around(self, center: Point, reach: Point) -> Patch:
        """Take the rectangle that extends by ``reach`` on each side of ``center``, cut at the canvas's edge."""
        height, width = self.pixels.shape[:2]
        left, right = (round((center[0] + sign * reach[0] - self.corner[0]) * self.scale) for sign in (-1, 1))
        top, bottom = (round((center[1] + sign * reach[1] - self.corner[1]) * self.scale) for sign in (-1, 1))
        columns = np.clip((left, right + 1), 0, width).tolist()
        rows = np.clip((top, bottom + 1), 0, height).tolist()
        return self._patch(columns[0], rows[0], columns[1], rows[1])

    def _patch(self, left: int, top: int, right: int, bottom: int) -> Patch:
        x = np.arange(left, right, dtype=np.float32)[None] / self.scale + self.corner[0]
        y = np.arange(top, bottom, dtype=np.float32)[:, None] / self.scale + self.corner[1]
        return Patch(self.pixels[top:bottom, left:right], x, y, 1 / self.scale)

    def ellipse(self, center: Point, radii: Point, color: Sequence[float], *, opacity: float = 1.0) -> None:
        """Paint an ellipse with a smooth edge."""
        patch = self.around(center, (radii[0] * 1.2, radii[1] * 1.2))
        patch.paint(opacity * ellipse_coverage(patch, center, radii), color)

    def glow(self, center: Point, radii: Point, color: Sequence[float], *, opacity: float) -> None:
        """Paint a spot that fades like a bell curve."""
        patch = self.around(center, (radii[0] * 2.5, radii[1] * 2.5))
        patch.paint(opacity * bell(patch, center, radii), color)

    def shadow(self, center: Point, radii: Point, factor: float) -> None:
        """Darken (or brighten) a spot that fades like a bell curve."""
        patch = self.around(center, (radii[0] * 2.5, radii[1] * 2.5))
        patch.shade(bell(patch, center, radii), factor)

    def stroke(
        self, center: Point, half_length: float, color: Sequence[float], *, thickness: float, bend: float = 0.0,
        tilt: float = 0.0, opacity: float = 1.0, softness: float = 0.0,
    ) -> None:  # fmt: skip
        """Paint a tapering line that arches upwards by ``bend`` and rises to the right by ``tilt``."""
        reach_y = abs(bend) + abs(tilt) * half_length + thickness + softness + 3 / self.scale
        patch = self.around(center, (half_length, reach_y))
        along = (patch.x - center[0]) / half_length
        arch = np.clip(1 - along**2, 0, 1)
        middle = center[1] - bend * arch - tilt * (patch.x - center[0])
        depth = thickness * np.sqrt(arch) - np.abs(patch.y - middle)
        patch.paint(opacity * patch.edge(depth, softness=softness) * (arch > 0), color)


def ellipse_coverage(patch: Patch, center: Point, radii: Point) -> Floats:
    """Cover an ellipse, with a smooth edge."""
    distance = np.sqrt(((patch.x - center[0]) / radii[0]) ** 2 + ((patch.y - center[1]) / radii[1]) ** 2)
    return patch.edge((1 - distance) * min(radii))


def bell(patch: Patch, center: Point, radii: Point) -> Floats:
    """Cover a spot that fades like a bell curve, ``radii`` being its standard deviations."""
    across = np.exp(-0.5 * ((patch.x - center[0]) / radii[0]) ** 2)
    return across * np.exp(-0.5 * ((patch.y - center[1]) / radii[1]) ** 2)


def lens_coverage(
    patch: Patch, center: Point, half_width: float, *, up: float, down: float, tilt: float = 0.0
) -> Floats:
    """Cover the area between two arcs, ``up`` above and ``down`` below the centre, such as an eye or an open mouth."""
    arch = np.clip(1 - ((patch.x - center[0]) / half_width) ** 2, 0, 1)
    y = patch.y - center[1] + tilt * (patch.x - center[0])
    return patch.edge(np.minimum(y + up * arch, down * arch - y)) * (arch > 0)
