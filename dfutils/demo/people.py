"""Made-up people, and how a head is held in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")

Color = tuple[float, float, float]
"""Red, green and blue, each 0..255."""

HairStyle = Literal["short", "parted", "fringe", "curly", "long", "bun", "buzz", "bald"]
Beard = Literal["none", "stubble", "moustache", "full"]
Glasses = Literal["none", "round", "square"]

SKINS: tuple[Color, ...] = (
    (249, 220, 200),
    (242, 203, 176),
    (230, 184, 152),
    (212, 164, 128),
    (188, 138, 104),
    (158, 112, 84),
    (130, 92, 72),
)
DARK_HAIRS: tuple[Color, ...] = ((32, 26, 25), (52, 36, 29), (78, 52, 36), (124, 124, 128))
LIGHT_HAIRS: tuple[Color, ...] = ((118, 74, 42), (150, 78, 44), (196, 152, 92), (204, 203, 202))
IRISES: tuple[Color, ...] = ((74, 46, 28), (92, 62, 36), (86, 100, 62), (78, 108, 134), (96, 112, 116))
SHIRTS: tuple[Color, ...] = (
    (44, 62, 92),
    (128, 44, 50),
    (58, 96, 80),
    (200, 194, 182),
    (74, 72, 78),
    (176, 132, 66),
    (108, 84, 126),
    (92, 132, 166),
)
LONG_STYLES: tuple[HairStyle, ...] = ("long", "bun", "fringe", "curly", "long", "parted")
SHORT_STYLES: tuple[HairStyle, ...] = ("short", "parted", "curly", "buzz", "bald", "short")
PROPORTIONS = {
    "hairline": (-0.66, -0.52),
    "parting": (-0.4, 0.4),
    "face_width": (0.72, 0.81),
    "jaw_squareness": (2.2, 3.1),
    "jaw_taper": (0.04, 0.2),
    "eye_line": (-0.07, 0.0),
    "eye_distance": (0.315, 0.36),
    "eye_width": (0.155, 0.185),
    "eye_height": (0.066, 0.086),
    "eye_tilt": (-0.03, 0.1),
    "brow_gap": (0.185, 0.23),
    "brow_thickness": (0.022, 0.045),
    "nose_tip": (0.31, 0.39),
    "nose_width": (0.125, 0.175),
    "mouth_line": (0.57, 0.64),
    "mouth_width": (0.26, 0.33),
    "lip_fullness": (0.8, 1.35),
    "blush": (0.02, 0.14),
    "freckles": (0.0, 1.0),
    "wrinkles": (0.0, 1.0),
}
"""Range of each proportion of a `Person`."""


@dataclass(frozen=True)
class Person:
    """Appearance of one made-up person.

    Lengths are in head units: the face runs from -1 (crown) to 1 (chin), x grows to the image's right, y down.
    """

    skin: Color
    hair: Color
    iris: Color
    lips: Color
    shirt: Color
    hair_style: HairStyle
    beard: Beard
    glasses: Glasses
    hairline: float
    """Where the hair begins on the forehead."""
    parting: float
    """Where the hair is parted, left or right of the middle."""
    face_width: float
    """Half the width of the face."""
    jaw_squareness: float
    """2 gives an ellipse; higher values are squarer."""
    jaw_taper: float
    """How much narrower than the face the chin is, as a fraction."""
    eye_line: float
    eye_distance: float
    """From the middle of the face to the middle of an eye."""
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_gap: float
    brow_thickness: float
    nose_tip: float
    nose_width: float
    mouth_line: float
    mouth_width: float
    lip_fullness: float
    blush: float
    freckles: float
    wrinkles: float
    texture_seed: int


@dataclass(frozen=True)
class Pose:
    """How a head is held and lit in one frame."""

    x: float = 0.0
    """Shift to the right in head units (half a face height)."""
    y: float = 0.0
    """Shift downwards in head units."""
    turn: float = 0.0
    """Rotation to the image's right in radians."""
    nod: float = 0.0
    """Rotation downwards in radians."""
    roll: float = 0.0
    """Tilt in radians, clockwise."""
    blink: float = 0.0
    """0 open eyes, 1 closed."""
    mouth: float = 0.0
    """0 closed, 1 wide open."""
    smile: float = 0.0
    """-1 corners down, 1 corners up."""
    light: float = 1.0
    """Brightness, 1 as usual."""
    light_x: float = -0.4
    """Position of the main light: -1 is far left, 1 far right."""


def random_person(rng: np.random.Generator) -> Person:
    """Make up a person.

    Args:
        rng: Random stream; the same state gives the same person.

    Example:
        >>> random_person(np.random.default_rng(1)) == random_person(np.random.default_rng(1))
        True
    """
    tone = int(rng.integers(len(SKINS)))
    has_long_hair = bool(rng.random() < 0.5)
    skin = _vary(SKINS[tone], rng, spread=6)
    hairs = DARK_HAIRS if tone >= 3 else DARK_HAIRS[1:] + LIGHT_HAIRS
    eyes = IRISES[:2] if tone >= 3 else IRISES
    return Person(
        skin=skin,
        hair=_vary(_pick(hairs, rng), rng, spread=6),
        iris=_vary(_pick(eyes, rng), rng, spread=8),
        lips=mix_colors(
            (skin[0] * 0.8, skin[1] * 0.62, skin[2] * 0.62),
            (176, 52, 62),
            share=rng.uniform(0.25, 0.6) if has_long_hair else rng.uniform(0.15, 0.3),
        ),
        shirt=_vary(_pick(SHIRTS, rng), rng, spread=10),
        hair_style=_pick(LONG_STYLES if has_long_hair else SHORT_STYLES, rng),
        beard="none" if has_long_hair else _pick(("none", "none", "stubble", "moustache", "full"), rng),
        glasses=_pick(("none", "none", "none", "round", "square"), rng),
        texture_seed=int(rng.integers(2**31)),
        **{name: float(rng.uniform(low, high)) for name, (low, high) in PROPORTIONS.items()},
    )


def _pick(choices: tuple[T, ...], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]


def _vary(color: Color, rng: np.random.Generator, *, spread: float) -> Color:
    # Change the lightness most, and the hue only a little.
    change = rng.normal(0, spread) + rng.normal(0, 0.3 * spread, 3)
    red, green, blue = np.clip(np.add(color, change), 8, 250).tolist()
    return (red, green, blue)


def mix_colors(first: Color, second: Color, *, share: float) -> Color:
    """Mix two colours, ``share`` of the second and the rest of the first."""
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)
