"""Blended clips: forgeries made from REAL faces alone, so that no single forgery method's artefacts are learnt.

After Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022
(https://arxiv.org/abs/2204.08376): a face, slightly changed and misplaced, is blended into its own image. The change
of colour and quality applies either to the blended face or to the whole image around it; in the second case the REAL
clip of the pair is the changed image too. REAL and FAKE then differ at the seam and inside it, never outside.

The face may also come from another person (after Li et al., "Face X-ray", CVPR 2020,
https://arxiv.org/abs/1912.13458), aligned by its landmarks and matched in colour.

What a forger's program keeps constant (shape of the mask, colours, sharpness) is drawn once per clip; the misplacement
of the face may vary from frame to frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, TypeAlias

import cv2
import numpy as np
from pydantic import Field

from dfutils.records import Crops, Image
from dfutils.settings import Settings
from dfutils.training.augmentation import (
    Floats,
    LevelRange,
    Probability,
    ShareRange,
    blur_clip,
    color_matrix,
    mean_color,
    recolor,
    require_crops,
    resize_clip,
)

Unit: TypeAlias = Annotated[float, Field(ge=0, lt=1)]

MEAN_LANDMARKS = ((0.31, 0.29), (0.7, 0.28), (0.5, 0.515), (0.36, 0.72), (0.66, 0.72))
"""Positions of the five landmarks in a face crop of margin 0, as fractions of its side.

YuNet's mean over 299 REAL crops of the Deepfake Detection Challenge's training set (with borders of 25 and 50 %
added, so that the detector sees a whole head); standard deviation 0.05, and 0.08 for the nose's x.
"""

EYE_GAP, EYE_TO_MOUTH = 0.387, 0.435
"""Distances between the mean landmarks; they relate the size of a face to the side of a crop of margin 0."""

# Half outlines from the forehead to the chin as (across, down) in face units: 1 across is the gap between the eyes,
# seen from the front; down runs from 0 at the eyes to 1 at the mouth, which puts the brows near -0.35, the chin at 1.6.
OUTLINES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "face": ((0, -0.5), (0.45, -0.5), (0.85, -0.36), (1.0, 0.1), (0.97, 0.55), (0.86, 1.0), (0.6, 1.36), (0.3, 1.54)),
    "inner": ((0, -0.38), (0.5, -0.4), (0.82, -0.2), (0.8, 0.3), (0.68, 0.8), (0.55, 1.15), (0.3, 1.35), (0, 1.4)),
    "ellipse": tuple((0.93 * math.sin(a), 0.52 - 0.98 * math.cos(a)) for a in np.linspace(0, math.pi, 12).tolist()),
    "mouth": ((0, 0.45), (0.35, 0.5), (0.68, 0.75), (0.76, 1.05), (0.5, 1.4), (0, 1.56)),
}
"""In order: brows to chin, as in most face swaps; eyes, nose and mouth; an ellipse; the mouth, as in lip-syncing."""

MASK_SIDE = 128
"""Masks are made at most this large and then enlarged: they are smooth, and small ones are quick to deform."""
MARGIN = 0.04
"""Masks stay this fraction of the crop's sides away from its edges."""


class BlendingSettings(Settings):
    """How self-blended clips are made. Lengths are fractions of the face's size, the side of its crop at margin 0."""

    shift: Unit = 0.03
    """Largest misplacement, across and down."""
    scale: Unit = 0.05
    """Largest relative error of the size."""
    turn_degrees: float = Field(2.0, ge=0, le=45)
    """Largest error of the tilt."""
    deformation: Unit = 0.05
    """Largest displacement of a point of the mask's outline."""
    softness: ShareRange = (0.015, 0.06)
    """Standard deviation of the blur that softens the mask's edge."""
    strengths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field((0.25, 0.5, 0.75, 1.0, 1.0, 1.0), min_length=1)
    """Opacity of the changed face in the middle of the mask; one is drawn per clip."""
    jitter_probability: Probability = 0.5
    """Share of the clips whose misplacement and mask change from frame to frame."""
    jitter: float = Field(0.5, ge=0, le=1)
    """Largest such change, as a fraction of the ranges."""
    base_probability: Probability = 0.5
    """Share of the clips in which the image around the face, and thus the REAL clip, is changed instead of the face."""
    brightness: Unit = 0.12
    """Largest relative change of brightness: an additive change would be too strong on a dark face."""
    color_cast: Unit = 0.05
    """Largest relative change of red, green and blue, each drawn separately."""
    contrast: Unit = 0.12
    """Largest relative change of the distance from the clip's mean colour."""
    saturation: Unit = 0.2
    """Largest relative change of the distance from grey."""
    hue_degrees: float = Field(4.0, ge=0, le=180)
    """Largest rotation about the grey axis."""
    quality_probability: Probability = 0.75
    """Share of the clips with a softer, sharper or lower-resolution face, each equally often."""
    blur_sigma: ShareRange = (0.002, 0.008)
    """Standard deviation of the softening blur."""
    sharpening: LevelRange = (0.3, 1.2)
    """Share of the fine detail that is added to the face again."""
    resolution: ShareRange = (0.3, 0.8)
    """Resolution of the blended face, as a fraction of the clip's."""
    face_margin: float = Field(0.0, ge=-0.3, le=2.0)
    """The extraction's face margin, which places the mask if there are no landmarks."""


DEFAULT_SETTINGS = BlendingSettings()


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """A face of another person.

    Attributes:
        image: ``(height, width, 3)`` uint8 RGB.
        landmarks: ``(5, 2)``, in pixels.
    """

    image: Image
    landmarks: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Misfit:
    """How the changed face is misplaced and its mask is bent.

    Attributes:
        outline: The mask's shape in face units, see `OUTLINES`; ``(points, 2)``.
        softness: Softness of the mask's edge.
        placement: Shift across, shift down, scale and turn, in -1..1 of the allowed ranges; ``(4,)``.
        waves: Displacement of the outline, across and down, on a coarse grid over the face, in -1..1 of the allowed
            range; ``(5, 5, 2)``.
    """

    outline: Floats
    softness: float
    placement: Floats
    waves: Floats


class BlendedPair(NamedTuple):
    """A REAL clip and the FAKE clip made from it, both ``(T, height, width, 3)`` uint8 RGB.

    Attributes:
        real: The clip, with changed colours and quality if the change applied to the image around the face.
        fake: Equal to ``real`` to the bit where the mask is 0.
        masks: Share of the blended face in each pixel, ``(T, height, width)`` float32, 0 on the outermost pixels.
    """

    real: Crops
    fake: Crops
    masks: Floats


def blend_clip(
    clip: Crops,
    *,
    landmarks: Floats | None,
    rng: np.random.Generator,
    donor: Donor | None = None,
    settings: BlendingSettings = DEFAULT_SETTINGS,
) -> BlendedPair:
    """Forge a REAL clip with its own face or another person's.

    Args:
        clip: ``(T, height, width, 3)`` uint8 RGB, T from 1; not modified.
        landmarks: ``(T, 5, 2)``, x and y in the crops' pixels, as from `dfutils.extraction.dataset.StoredCrops`.
            Where they are None, NaN or implausible, the face is assumed to be at its usual place (`MEAN_LANDMARKS`).
        rng: Random stream; the same state gives the same forgery.
        donor: The other person; None for the clip's own face.
        settings: Ranges of the forgery's flaws.

    Raises:
        ValueError: ``clip`` or ``landmarks`` has another shape or dtype.
    """
    require_crops(clip)
    frames, height, width = clip.shape[:3]
    points = _complete(landmarks, frames=frames, size=(width, height), margin=settings.face_margin)
    misfit = _draw_misfit(rng, settings)
    strength = float(rng.choice(settings.strengths))
    jitter = settings.jitter if rng.random() < settings.jitter_probability else 0.0
    faces = clip if donor is None else _align(donor, clip, points)
    if rng.random() < settings.base_probability:
        clip = _change_quality(_change_colors(clip, rng, settings), _face_size(points[0]), rng, settings)
    else:
        faces = _change_quality(_change_colors(faces, rng, settings), _face_size(points[0]), rng, settings)
    fakes, masks = np.empty_like(clip), np.empty(clip.shape[:3], np.float32)
    for index, (frame, face, five) in enumerate(zip(clip, faces, points, strict=True)):
        own = misfit
        if jitter:
            placement = np.clip(misfit.placement + jitter * rng.uniform(-1, 1, 4), -1, 1).astype(np.float32)
            waves = np.clip(misfit.waves + jitter * rng.uniform(-1, 1, (5, 5, 2)), -1, 1).astype(np.float32)
            own = replace(misfit, placement=placement, waves=waves)
        moved = _misplace(face, five, own.placement, settings)
        masks[index] = strength * _mask(five, own, size=(width, height), deformation=settings.deformation)
        fakes[index] = cv2.blendLinear(moved, frame, masks[index], 1 - masks[index])
    return BlendedPair(clip, fakes, masks)


def _align(donor: Donor, clip: Crops, points: Floats) -> Crops:
    """Align the donor's face to the clip's landmarks, with the clip's mean and spread of each colour."""
    height, width = clip.shape[1:3]
    spread = np.maximum(donor.image.std(axis=(0, 1)), 1)
    aligned = np.empty_like(clip)
    for index, (frame, five) in enumerate(zip(clip, points, strict=True)):
        matrix, _ = cv2.estimateAffinePartial2D(donor.landmarks, five, method=cv2.LMEDS)
        if matrix is None:
            aligned[index] = frame
            continue
        moved = cv2.warpAffine(
            donor.image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        gain = frame.std(axis=(0, 1)) / spread
        matched = (moved - donor.image.mean(axis=(0, 1))) * gain + frame.mean(axis=(0, 1))
        aligned[index] = np.clip(matched, 0, 255)
    return aligned


def _complete(landmarks: Floats | None, *, frames: int, size: tuple[int, int], margin: float) -> Floats:
    """Return landmarks for every frame: `MEAN_LANDMARKS` where they are missing or implausible."""
    mean = ((np.asarray(MEAN_LANDMARKS) - 0.5) / (1 + 2 * margin) + 0.5) * size
    means = np.tile(mean.astype(np.float32), (frames, 1, 1))
    if landmarks is None:
        return means
    if landmarks.shape != means.shape:
        raise ValueError(f"landmarks must be {means.shape} for this clip. Received: {landmarks.shape}")
    points = means.copy()
    for index, five in enumerate(landmarks):
        if np.isfinite(five).all():
            center, (_, down) = five.mean(axis=0), _axes(five)
            if (center > 0).all() and (center < size).all() and np.hypot(*down) > 0.05 * max(size):
                points[index] = five  # inside the image, and far enough apart to place a mask
    return points


def _axes(five: Floats) -> tuple[Floats, Floats]:
    """Return one face unit across and one down as vectors in pixels; a face in profile keeps half its width."""
    down = five[3:5].mean(axis=0) - five[:2].mean(axis=0)
    height = max(float(np.hypot(*down)), 1e-6)
    width = max(float(np.hypot(*(five[1] - five[0]))), 0.5 * height * EYE_GAP / EYE_TO_MOUTH)
    across = np.asarray([down[1], -down[0]], np.float32) * np.float32(width / height)
    return across, down


def _face_size(five: Floats) -> float:
    return float(np.hypot(*_axes(five)[1])) / EYE_TO_MOUTH


def _draw_misfit(rng: np.random.Generator, settings: BlendingSettings) -> _Misfit:
    half = np.asarray(OUTLINES[list(OUTLINES)[rng.integers(len(OUTLINES))]])
    middle = np.asarray([0, half[:, 1].mean()])
    # Add the mirrored half, and points between the corners so that the outline can be bent there too.
    corners = np.concatenate([half, half[::-1] * (-1, 1), half[:1]])
    places = np.arange(0, len(corners) - 1, 1 / 4)
    whole = np.column_stack([np.interp(places, np.arange(len(corners)), axis) for axis in corners.T])
    outline = (whole - middle) * rng.uniform(0.85, 1.05, 2) + middle
    return _Misfit(
        outline=outline.astype(np.float32),
        softness=rng.uniform(*settings.softness),
        placement=rng.uniform(-1, 1, 4).astype(np.float32),
        waves=rng.uniform(-1, 1, (5, 5, 2)).astype(np.float32),
    )


def _change_colors(clip: Crops, rng: np.random.Generator, settings: BlendingSettings) -> Crops:
    # Forgers match colours too, so small mismatches must be far more frequent than large ones.
    brightness, contrast, saturation, hue, *channels = rng.uniform(0, 1) * rng.uniform(-1, 1, 7)
    matrix = color_matrix(
        brightness=0.0,
        contrast=1 + contrast * settings.contrast,
        saturation=1 + saturation * settings.saturation,
        hue_degrees=hue * settings.hue_degrees,
        middle=mean_color(clip),
    )
    gains = (1 + brightness * settings.brightness) * (1 + settings.color_cast * np.asarray(channels, np.float32))
    matrix *= gains[:, None].astype(np.float32)
    return recolor(clip, matrix)


def _change_quality(clip: Crops, face_size: float, rng: np.random.Generator, settings: BlendingSettings) -> Crops:
    if rng.random() >= settings.quality_probability:
        return clip
    change = rng.integers(3)
    if change == 0:
        return blur_clip(clip, sigma=rng.uniform(*settings.blur_sigma) * face_size)
    if change == 1:
        amount, softer = rng.uniform(*settings.sharpening), blur_clip(clip, sigma=0.005 * face_size)
        return np.stack([cv2.addWeighted(a, 1 + amount, b, -amount, 0) for a, b in zip(clip, softer, strict=True)])
    height, width = clip.shape[1:3]
    factor = rng.uniform(*settings.resolution)
    small = resize_clip(clip, width=max(8, round(factor * width)), height=max(8, round(factor * height)))
    return resize_clip(small, width=width, height=height, smooth=bool(rng.random() < 0.5))


def _misplace(source: Image, five: Floats, placement: Floats, settings: BlendingSettings) -> Image:
    """Shift, scale and rotate an image about the middle of its face."""
    x, y = (float(value) for value in five.mean(axis=0))
    matrix = cv2.getRotationMatrix2D((x, y), placement[3] * settings.turn_degrees, 1 + placement[2] * settings.scale)
    matrix[:, 2] += placement[:2] * settings.shift * _face_size(five)
    size = source.shape[1::-1]
    moved = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def _mask(five: Floats, misfit: _Misfit, *, size: tuple[int, int], deformation: float) -> Floats:
    """Return a soft mask, 0..1, ``(height, width)``; its edge is softened inwards to stay within the outline."""
    small = (min(size[0], MASK_SIDE), min(size[1], MASK_SIDE))
    factor = np.asarray(small) / size
    # The outline is bent in the face's own frame, and so moves with the face; the grid of the waves spans -1..1 across
    # and -0.5..1.6 down.
    across, down = 2 * (misfit.outline[:, 0] + 1), 4 * (misfit.outline[:, 1] + 0.5) / 2.1
    bends = cv2.remap(misfit.waves, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    bent = misfit.outline + deformation * bends / (EYE_GAP, EYE_TO_MOUTH)
    corners = (five[:2].mean(axis=0) + bent @ np.stack(_axes(five))) * factor
    kept = np.clip(corners, np.multiply(small, MARGIN), np.multiply(small, 1 - MARGIN))
    hard = np.zeros(small[::-1], np.float32)
    cv2.fillPoly(hard, [np.rint((kept - 0.5) * 16).astype(np.int32)], 1.0, cv2.LINE_8, shift=4)
    sigma = max(0.5, misfit.softness * _face_size(five) * float(factor.mean()))
    soft = cv2.GaussianBlur(hard, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    inner = np.clip(2 * soft - 1, 0, 1)
    inner /= max(float(inner.max()), 1e-6)
    smooth = inner * inner * (3 - 2 * inner)
    return cv2.resize(smooth, size, interpolation=cv2.INTER_LINEAR)
