"""The demo's known forgery: another person's inner face, blended into the head frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dfutils.demo.brushes import Canvas
from dfutils.demo.people import Person, Pose, mix_colors
from dfutils.demo.portraits import paint_portrait

REGION_CENTER = (0.0, 0.23)
REGION_RADII = (0.6, 0.64)
"""Eyes, nose and mouth, in head units; the mask is zero outside."""


@dataclass(frozen=True)
class Forgery:
    """How one clip is forged: its flaws are the same in all frames; the jitter differs from frame to frame."""

    donor: Person
    detail: float
    """Resolution of the donor's face as a fraction of the target's."""
    cast: tuple[float, float, float]
    """Remaining colour mismatch: factors of red, green and blue."""
    jitter: float
    """Standard deviation of the misplacement in head units."""
    feather: float
    """Width of the mask's soft edge as a fraction of its radius."""

    def paint(self, person: Person, pose: Pose, *, scale: float, rng: np.random.Generator) -> Canvas:
        """Paint the target's portrait with the donor's inner face blended in.

        Args:
            person: The target.
            pose: Pose of the target, which the donor's face copies.
            scale: Pixels per head unit.
            rng: Random stream of the jitter.
        """
        target = paint_portrait(person, pose, scale=scale)
        donor = paint_portrait(self.donor, pose, scale=scale).pixels
        height, width = donor.shape[:2]
        coarse = (round(width * self.detail), round(height * self.detail))
        donor = cv2.resize(donor, coarse, interpolation=cv2.INTER_AREA)
        donor = cv2.resize(donor, (width, height), interpolation=cv2.INTER_LINEAR)
        flicker = 1 + 0.006 * rng.standard_normal()
        donor *= np.asarray(self.cast, np.float32) * np.float32(flicker)
        shift, zoom = rng.normal(0, self.jitter, 2), 1 + 0.004 * rng.standard_normal()
        move = (np.asarray(REGION_CENTER) - np.asarray(target.corner)) * scale * (1 - zoom) + shift * scale
        matrix = np.asarray([[zoom, 0, move[0]], [0, zoom, move[1]]])
        donor = cv2.warpAffine(
            donor, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )  # fmt: skip
        patch = target.everything()
        distance = np.hypot(
            (patch.x - REGION_CENTER[0]) / REGION_RADII[0], (patch.y - REGION_CENTER[1]) / REGION_RADII[1]
        )
        share = np.clip((1 - distance) / self.feather, 0, 1)
        mask = share * share * (3 - 2 * share)
        return Canvas(target.pixels + mask[..., None] * (donor - target.pixels), scale, target.corner)


def random_forgery(person: Person, donor: Person, rng: np.random.Generator) -> Forgery:
    """Make up how a clip is forged.

    Like a face swap, it first brings the donor's colours close to the target's, and it keeps the target's glasses.

    Args:
        person: The target.
        donor: Person whose inner face is blended in.
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
