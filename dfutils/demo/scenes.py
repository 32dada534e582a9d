"""The surroundings of a demo clip: out-of-focus rooms, an unsteady camera and its noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.demo.brushes import Canvas, Floats
from dfutils.demo.people import Color

Frames = npt.NDArray[np.uint8]
"""(T, H, W, 3) uint8 RGB."""

Series = npt.NDArray[np.float64]
"""One value per frame, shape (T,)."""

MARGIN = 8
"""Extra pixels beyond each edge of the frame, which a shaking camera may show."""

NOISE_RANGE = (1.5, 3.2)
"""Standard deviation of the sensor noise in grey levels, from a good camera to a bad one."""

WALLS: tuple[Color, ...] = (
    (196, 190, 178),
    (150, 162, 168),
    (120, 134, 122),
    (172, 148, 128),
    (104, 110, 128),
    (210, 204, 196),
    (134, 116, 106),
)


@dataclass(frozen=True)
class Room:
    """A background image a little larger than the frame."""

    image: Floats
    """(H + 2 MARGIN, W + 2 MARGIN, 3) RGB 0..255."""

    def seen(self, shake: tuple[float, float], *, light: float) -> Floats:
        """Return what the camera sees when it is shaken by ``shake`` pixels to the right and down."""
        height, width = self.image.shape[0] - 2 * MARGIN, self.image.shape[1] - 2 * MARGIN
        matrix = np.asarray([[1, 0, -MARGIN - shake[0]], [0, 1, -MARGIN - shake[1]]], np.float64)
        return cv2.warpAffine(self.image, matrix, (width, height), flags=cv2.INTER_LINEAR) * np.float32(light)


def random_room(rng: np.random.Generator, *, size: tuple[int, int]) -> Room:
    """Make up a room.

    Args:
        rng: Random stream.
        size: ``(width, height)`` of the frame in pixels.
    """
    width, height = size[0] + 2 * MARGIN, size[1] + 2 * MARGIN
    canvas = Canvas(np.zeros((height, width, 3), np.float32), float(height), (0.0, 0.0))
    canvas.pixels[:] = WALLS[int(rng.integers(len(WALLS)))]
    for _ in range(int(rng.integers(4, 8))):
        # A box stands for a shelf, a painting or a window; a heap of spots stands for a plant.
        center = (rng.uniform(0, width / height), rng.uniform(0.05, 0.9))
        color = rng.uniform(50, 225) * rng.uniform(0.86, 1.06, 3)
        reach = (rng.uniform(0.05, 0.3), rng.uniform(0.03, 0.3))
        if rng.random() < 0.25:
            for x, y in rng.normal(center, 0.08, (12, 2)):
                canvas.ellipse((x, y), (0.05, 0.03), (color * rng.uniform(0.7, 1.1)).tolist(), opacity=0.5)
        else:
            patch = canvas.around(center, reach)
            patch.paint(np.full(patch.pixels.shape[:2], 0.45, np.float32), color.tolist())
    blurred = cv2.GaussianBlur(canvas.pixels, (0, 0), height * rng.uniform(0.012, 0.03))
    wall = Canvas(blurred, canvas.scale, canvas.corner).everything()
    lamp = rng.uniform(0, width / height)
    wall.vary(0.14 - 0.45 * np.clip(np.hypot(wall.x - lamp, wall.y - 0.1) / 1.5, 0, 1))
    grain = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), 1.5)
    return Room(blurred * (1 + 0.03 * grain[..., None]))


def camera_shake(rng: np.random.Generator, times: Series) -> Series:
    """Make up how a hand-held camera moves.

    Returns:
        (T, 2) pixels right and down, within ±MARGIN.
    """
    rates = 2 * np.pi * rng.uniform([0.2, 0.6, 1.6], [0.6, 1.6, 3.0], (2, 3))
    phases = rng.uniform(0, 2 * np.pi, (2, 3))
    return np.sin(times[:, None, None] * rates + phases) @ np.asarray([1.2, 0.5, 0.25])


class Sensor:
    """Add camera noise, which does not depend on the content, to frames, and round them to 8 bits."""

    def __init__(self, rng: np.random.Generator, *, size: tuple[int, int], strength: float) -> None:
        self._rng = rng
        self._shape = (size[1], size[0], 3)
        self._values = size[0] * size[1] * 3
        # Fresh noise for each frame would take as long as drawing it. Each frame begins at a random place in a pool.
        self._pool = rng.standard_normal(4 * self._values, np.float32) * np.float32(strength)

    def read(self, frame: Floats) -> npt.NDArray[np.uint8]:
        """Turn an (H, W, 3) float32 frame, 0..255, into uint8."""
        start = int(self._rng.integers(3 * self._values))
        noisy = self._pool[start : start + self._values].reshape(self._shape) + frame
        return np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
