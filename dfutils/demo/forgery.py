"""The demo's known forgery: another person's inner face, blended into the head frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dfutils.demo.brushes import Canvas, Floats
from dfutils.demo.people import Person, Pose, mix_colors
from dfutils.demo.portraits import paint_portrait

REGION_CENTER = (0.0, 0.23)
REGION_RADII = (0.6, 0.64)
"""Eyes, nose and mouth, in head units; the mask is zero outside."""


@dataclass(frozen=True)
class Forgery:
    """How one clip is forged. One forger, one set of flaws; the jitter differs from frame to frame."""

    donor: Person
    detail: float
    """Resolution of the donor's face as a fraction of the target's."""
    cast: tuple[float, float, float]
    """What is left of the colour mismatch: factors of red, green and blue."""
    jitter: float
    """Standard deviation of the misplacement in head units."""
    feather: float
    """Width of the mask's soft edge as a fraction of its radius."""

    def paint(self, person: Person, pose: Pose, *, scale: float, rng: np.random.Generator) -> Canvas:
        """Paint the target's portrait with the donor's inner face blended in.

        Args:
            person: The target.
            pose: The target's, which the donor's face copies.
            scale: Pixels per head unit.
            rng: Random stream of the jitter.
        """
        target = paint_portrait(person, pose, scale=scale)
        donor = _coarsen(paint_portrait(self.donor, pose, scale=scale).pixels, detail=self.detail)
        flicker = 1 + 0.006 * rng.standard_normal()
        donor *= np.asarray(self.cast, np.float32) * np.float32(flicker)
        donor = _misplace(donor, target, shift=rng.normal(0, self.jitter, 2), zoom=1 + 0.004 * rng.standard_normal())
        mask = self._mask(target)
        return Canvas(target.pixels + mask[..., None] * (donor - target.pixels), scale, target.corner)

    def _mask(self, canvas: Canvas) -> Floats:
        patch = canvas.everything()
        distance = np.hypot(
            (patch.x - REGION_CENTER[0]) / REGION_RADII[0], (patch.y - REGION_CENTER[1]) / REGION_RADII[1]
        )
        share = np.clip((1 - distance) / self.feather, 0, 1)
        return share * share * (3 - 2 * share)


def random_forgery(person: Person, donor: Person, rng: np.random.Generator) -> Forgery:
    """Make up how a clip is forged.

    As face swaps do, it first brings the donor's colours near the target's, and it keeps the target's glasses.

    Args:
        person: The target.
        donor: Whose inner face is blended in.
        rng: Random stream.
    """
    red, green, blue = rng.choice([-1, 1], 3) * rng.uniform(0.015, 0.05, 3) + 1
    dressed = replace(
        donor,
        skin=mix_colors(person.skin, donor.skin, share=0.15),
        lips=mix_colors(person.lips, donor.lips, share=0.6),
        glasses=person.glasses,
        beard=person.beard,
        hair=mix_colors(person.hair, donor.hair, share=0.3),
        hair_style="bald",
    )
    return Forgery(
        donor=dressed,
        detail=rng.uniform(0.48, 0.62),
        cast=(float(red), float(green), float(blue)),
        jitter=0.009,
        feather=rng.uniform(0.25, 0.4),
    )


def _coarsen(pixels: Floats, *, detail: float) -> Floats:
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (round(width * detail), round(height * detail)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _misplace(pixels: Floats, canvas: Canvas, *, shift: Floats, zoom: float) -> Floats:
    height, width = pixels.shape[:2]
    middle = (np.asarray(REGION_CENTER) - np.asarray(canvas.corner)) * canvas.scale
    move = middle * (1 - zoom) + np.asarray(shift) * canvas.scale
    matrix = np.asarray([[zoom, 0, move[0]], [0, zoom, move[1]]])
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
