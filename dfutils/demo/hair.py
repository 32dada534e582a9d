"""Hair and beards, in front of and behind the face."""

from __future__ import annotations

import cv2
import numpy as np

from dfutils.demo.brushes import Canvas, Floats, Patch
from dfutils.demo.people import HairStyle, Person, mix_colors

VOLUMES: dict[HairStyle, float] = {
    "short": 0.09,
    "parted": 0.12,
    "fringe": 0.11,
    "curly": 0.2,
    "long": 0.12,
    "bun": 0.08,
    "buzz": 0.02,
    "bald": 0.0,
}
"""How far the hair stands off the skull, in head units."""

COVERS_EARS: frozenset[HairStyle] = frozenset({"long", "fringe"})


def paint_front_hair(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Paint the hair that lies on the front of the head."""
    if person.hair_style == "bald":
        canvas.shadow((-0.1, -0.72), (0.25, 0.12), 1.1)
        return
    patch = canvas.everything()
    strands = _strands(patch, person, rng)
    across = patch.x / person.face_width
    # The lower edge of the hair, per column, is not straight: it is a little lower on the side the hair is combed to.
    hairline = person.hairline + 0.12 * across**2 - 0.1 * person.parting * np.sin(2 * across)
    if person.hair_style == "fringe":
        hairline = -0.3 + 0.05 * across**2
    elif person.hair_style in ("parted", "long"):
        hairline = person.hairline - 0.1 + 0.55 * np.abs(across - person.parting) ** 1.5
    sideburns = {"long": 0.95, "fringe": 0.9, "bun": 0.0, "buzz": -0.08}.get(person.hair_style, 0.06)
    start = 0.8 if person.hair_style in COVERS_EARS else 0.86
    share = np.clip((np.abs(across) - start) / 0.1, 0, 1)
    hairline = hairline + (sideburns - hairline) * share * share * (3 - 2 * share)
    depth = hairline - patch.y + 0.045 * strands
    softness = {"buzz": 0.14, "curly": 0.05}.get(person.hair_style, 0.035)
    covered = patch.edge(depth, softness=softness)
    # The hair casts a shadow on the forehead.
    patch.shade(patch.edge(depth + 0.05, softness=0.1) * (1 - covered), 0.82)
    opacity = 0.72 if person.hair_style == "buzz" else 1.0
    _paint_hair(patch, person, opacity * covered, strands)


def _strands(patch: Patch, person: Person, rng: np.random.Generator) -> Floats:
    """Return grain along the combing direction, about -1..1."""
    if person.hair_style in ("curly", "buzz"):
        shape = (patch.y.shape[0], patch.x.shape[1])
        size = 0.045 if person.hair_style == "curly" else 0.012
        grain = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), max(size / patch.pixel, 0.6))
        # Rings of the noise's contour lines look like curls.
        return np.sin(grain / grain.std() * (3.5 if person.hair_style == "curly" else 1.0))
    angle = np.arctan2(patch.x - person.parting * 0.6, patch.y + 1.7)
    knots = np.linspace(-np.pi, np.pi, 720)
    coarse = np.interp(np.arange(720), np.arange(0, 720, 5), rng.normal(0, 0.45, 144))
    grain = np.interp(angle, knots, coarse + rng.normal(0, 0.3, 720))
    return np.clip(grain, -1.5, 1.5).astype(np.float32)


def _paint_hair(patch: Patch, person: Person, coverage: Floats, strands: Floats) -> None:
    patch.paint(coverage, person.hair)
    patch.vary(coverage * strands * 0.3)
    shine = np.exp(-0.5 * ((patch.y + 0.78 - 0.25 * patch.x**2) / 0.12) ** 2) * (1 + 0.5 * strands)
    gloss = mix_colors(person.hair, (255, 240, 225), share=0.35)
    patch.paint(np.clip(0.45 * coverage * shine, 0, 1), gloss)


def paint_beard(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Paint stubble, a moustache or a full beard; the lips are painted over it."""
    if person.beard == "none":
        return
    patch = canvas.everything()
    across = patch.x / person.face_width
    moustache = patch.edge(
        0.055 - np.abs(patch.y - person.mouth_line + 0.1 - 0.5 * patch.x**2), softness=0.05
    ) * patch.edge(person.mouth_width * 0.95 - np.abs(patch.x), softness=0.08)
    cheeks = patch.edge(patch.y - 0.6 + 0.42 * across**2, softness=0.14)
    chin = cheeks * patch.edge(np.hypot(patch.x / 1.25, patch.y - person.mouth_line - 0.02) - 0.17, softness=0.1)
    shape = moustache if person.beard == "moustache" else np.maximum(moustache, chin)
    grain = np.clip(rng.normal(0, 0.35, shape.shape), -0.8, 0.8).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 0.7)
    opacity = {"stubble": 0.3, "moustache": 0.85, "full": 0.9}[person.beard]
    coverage = np.clip(shape * opacity * (1 + grain), 0, 1)
    patch.paint(coverage, mix_colors(person.hair, (24, 18, 16), share=0.25))
    patch.vary(coverage * grain * 0.8)


def paint_back_hair(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Paint the hair behind the head: a bun, or hair that falls on the shoulders."""
    width = person.face_width
    if person.hair_style == "bun":
        canvas.ellipse((person.parting * 0.3, -1.2), (0.3, 0.24), person.hair)
        canvas.shadow((person.parting * 0.3 - 0.05, -1.27), (0.12, 0.07), 1.35)
    if person.hair_style in COVERS_EARS:
        patch = canvas.everything()
        length = 1.55 if person.hair_style == "long" else 0.85
        half_width = width * (1.12 + 0.12 * np.clip(patch.y / length, 0, 1) ** 2)
        rounded = np.sqrt(np.clip(1 - (np.minimum(patch.y, 0) / 1.05) ** 2, 0, 1))
        sides = patch.edge(half_width * rounded - np.abs(patch.x), softness=0.04) * (patch.y > -0.95)
        strands = _strands(patch, person, rng)
        ends = patch.edge(length - patch.y + 0.12 * strands - 0.25 * patch.x**2, softness=0.08)
        _paint_hair(patch, person, sides * ends, strands)
        canvas.shadow((0, 0.9), (width * 0.75, 0.6), 0.55)
    if person.hair_style == "curly":
        angles = np.linspace(-0.35, np.pi + 0.35, 15)
        places = np.stack([np.cos(angles) * (width + 0.06), -0.28 - np.sin(angles) * 0.84], axis=-1)
        for x, y in rng.normal(0, 0.03, (15, 2)) + places.astype(np.float32):
            canvas.ellipse((x, y), (0.17, 0.17), mix_colors(person.hair, (0, 0, 0), share=rng.uniform(0.1, 0.3)))
        patch = canvas.everything()
        patch.vary(0.3 * _strands(patch, person, rng))
