"""Draw a person: shoulders, ears and hair, and in front of them the portrait warped onto a head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np

from dfutils.demo.brushes import Canvas, Floats
from dfutils.demo.hair import COVERS_EARS, VOLUMES, paint_back_hair
from dfutils.demo.people import Person, Pose, mix_colors
from dfutils.demo.portraits import paint_portrait

PORTRAIT_DETAIL = 1.25
"""Pixels of the flat portrait per pixel of the frame."""


@dataclass(frozen=True)
class Place:
    """Where a head rests in the frame."""

    x: float
    """Middle of the head in pixels."""
    y: float
    half_height: float
    """Half a face height in pixels: one head unit."""


class PaintPortrait(Protocol):
    """Paints the flat portrait of a person in a pose: `paint_portrait`, or a forgery."""

    def __call__(self, person: Person, pose: Pose, *, scale: float) -> Canvas:
        """Paint at ``scale`` pixels per head unit."""


def draw_person(
    frame: Floats, person: Person, pose: Pose, place: Place, *, portrait: PaintPortrait = paint_portrait
) -> None:
    """Draw a person's head and shoulders into a frame.

    Args:
        frame: (H, W, 3) float32 RGB 0..255, changed in place.
        person: The person to draw.
        pose: How the head is held and lit.
        place: Where the head rests.
        portrait: Paints the front of the face.
    """
    _draw_layer(frame, paint_body(person, place.half_height), place, shift=(pose.x * 0.35, pose.y * 0.3), pose=pose)
    _draw_layer(
        frame, paint_behind(person, place.half_height), place, shift=(pose.x, pose.y), pose=pose,
        roll=pose.roll, narrowing=math.cos(pose.turn),
    )  # fmt: skip
    surface = _warp_head(frame, person, pose, place)
    flat = portrait(person, pose, scale=place.half_height * PORTRAIT_DETAIL)
    columns = (surface.portrait_x - flat.corner[0]) * flat.scale
    rows = (surface.portrait_y - flat.corner[1]) * flat.scale
    face = cv2.remap(flat.pixels, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Shadows on skin are warm, since red light penetrates deepest.
    face *= np.stack([surface.light**0.85, surface.light, surface.light**1.1], axis=-1)
    height, width = surface.coverage.shape
    target = frame[surface.top : surface.top + height, surface.left : surface.left + width]
    target += surface.coverage[..., None] * (face - target)


@lru_cache(maxsize=16)
def paint_behind(person: Person, scale: float) -> Canvas:
    """Paint ears and back hair, seen from the front."""
    rng = np.random.default_rng(person.texture_seed + 1)
    canvas = Canvas.blank(left=-1.2, top=-1.5, right=1.2, bottom=1.8, scale=scale, channels=4)
    paint_back_hair(canvas, person, rng)
    if person.hair_style not in COVERS_EARS:
        shaded = mix_colors(person.skin, (90, 36, 24), share=0.22)
        for side in (-1, 1):
            middle = side * (person.face_width + 0.02)
            canvas.ellipse((middle, 0.08), (0.1, 0.2), shaded)
            canvas.shadow((middle + side * 0.02, 0.06), (0.03, 0.09), 0.75)
    return canvas


@lru_cache(maxsize=16)
def paint_body(person: Person, scale: float) -> Canvas:
    """Paint neck and shoulders."""
    rng = np.random.default_rng(person.texture_seed + 2)
    canvas = Canvas.blank(left=-2.6, top=0.2, right=2.6, bottom=4.2, scale=scale, channels=4)
    patch = canvas.everything()
    half_width = 0.56 * person.face_width + 0.35 * np.clip((patch.y - 1.1) / 0.5, 0, 1) ** 2
    neck = patch.edge(half_width - np.abs(patch.x), softness=0.02) * patch.edge(1.75 - patch.y)
    patch.paint(neck, mix_colors(person.skin, (80, 34, 24), share=0.18))
    patch.shade(neck * np.exp(-0.5 * ((patch.y - 0.9) / 0.22) ** 2), 0.55)
    patch.shade(neck * np.clip(np.abs(patch.x) / 0.5, 0, 1) ** 3, 0.7)
    slope = (
        1.32
        + 0.42 * np.clip((np.abs(patch.x) - 0.35) / 1.3, 0, 1.5) ** 1.2
        + 6 * np.clip(np.abs(patch.x) - 1.75, 0, 9) ** 2
    )
    collar = patch.edge(np.hypot(patch.x / 0.52, (patch.y - 1.12) / 0.46) - 1, softness=0.01)
    cloth = patch.edge(patch.y - slope, softness=0.02) * collar
    patch.paint(cloth, person.shirt)
    weave = cv2.GaussianBlur(rng.standard_normal(cloth.shape, np.float32), (0, 0), 1.2)
    folds = np.sin(patch.x * 5 + np.sin(patch.y * 3 + person.parting * 9)) * np.clip(patch.y - 1.5, 0, 1)
    patch.vary(cloth * (0.05 * weave + 0.05 * folds))
    patch.shade(cloth * np.clip(np.abs(patch.x) / 2.2, 0, 1) ** 2, 0.6)
    if person.texture_seed % 3 == 0:
        patch.shade(cloth * (np.sin(patch.y * 22) > 0.55), 0.72)
    return canvas


@dataclass(frozen=True)
class _Surface:
    """What each pixel around a head shows, in head units of the flat portrait."""

    left: int
    top: int
    portrait_x: Floats
    portrait_y: Floats
    coverage: Floats
    light: Floats


def _warp_head(frame: Floats, person: Person, pose: Pose, place: Place) -> _Surface:
    """Find which point of the flat portrait each pixel of a turned head shows, and how it is lit."""
    unit = place.half_height
    center = (place.x + pose.x * unit, place.y + pose.y * unit)
    left, right = (int(np.clip(center[0] + sign * 1.35 * unit, 0, frame.shape[1])) for sign in (-1, 1))
    top, bottom = (int(np.clip(center[1] + sign * 1.45 * unit, 0, frame.shape[0])) for sign in (-1, 1))
    across = (np.arange(left, right, dtype=np.float32)[None] - center[0]) / unit
    along = (np.arange(top, bottom, dtype=np.float32)[:, None] - center[1]) / unit
    # math's functions give Python floats, which leave float32 arrays as they are; NumPy's would widen them.
    cosine, sine = math.cos(pose.roll), math.sin(pose.roll)
    x, y = across * cosine + along * sine, along * cosine - across * sine
    # An open mouth lowers the chin: the lower face is stretched.
    y = y - 0.07 * pose.mouth * np.clip((y - 0.45) / 0.5, 0, 1)

    # The outline: above the eyes between an ellipse (2) and a cube (3), as crowns are rounder than eggs; below, a jaw.
    volume = VOLUMES[person.hair_style]
    above, below = np.clip(-y / (1 + volume), 0, 1), np.clip(y, 0, 1)
    upper = np.sqrt(1 - above**2 * (0.5 + 0.5 * above)) * (1 + 0.5 * volume * np.clip(-4 * y, 0, 1))
    jaw = np.sqrt(np.clip(1 - cv2.pow(below, person.jaw_squareness), 0, 1)) * (1 - person.jaw_taper * below * below)
    half_width = person.face_width * np.where(y < 0, upper, jaw * (y < 1))
    coverage = np.clip((half_width - np.abs(x)) * unit * 0.8 + 0.5, 0, 1) * (half_width > 0.02)

    # Undo turn and nod. On a globe, sin(asin(s) - turn) = s cos(turn) - sqrt(1 - s^2) sin(turn).
    sideways = np.clip(x / np.maximum(half_width, 1e-3), -1, 1)
    upwards = np.clip(np.where(y < 0, y / (1 + volume), y), -1, 1)
    depth = np.sqrt(1 - sideways**2)
    portrait_x = (sideways * math.cos(pose.turn) - depth * math.sin(pose.turn)) * half_width
    portrait_y = y - np.sqrt(1 - upwards**2) * depth * math.sin(pose.nod) * 0.8
    # The nose stands out, so it moves further than the skin around it.
    nose = np.exp(-0.5 * ((portrait_x / 0.15) ** 2 + ((portrait_y - 0.25) / 0.2) ** 2))
    portrait_x = portrait_x - nose * 0.22 * math.sin(pose.turn)
    portrait_y = portrait_y - nose * 0.18 * math.sin(pose.nod)

    normal_x, normal_y = sideways * 0.92, upwards * 0.8
    normal_z = np.sqrt(np.clip(1 - normal_x**2 - normal_y**2, 0.02, 1))
    distance = math.hypot(pose.light_x, -0.45, 0.85)
    lamp = (pose.light_x / distance, -0.45 / distance, 0.85 / distance)
    facing = normal_x * lamp[0] + normal_y * lamp[1] + normal_z * lamp[2]
    light = pose.light * (0.4 + 0.74 * np.clip(0.3 + 0.7 * facing, 0, 1))
    return _Surface(left, top, portrait_x, portrait_y, coverage, light)


def _draw_layer(
    frame: Floats, layer: Canvas, place: Place, *, shift: tuple[float, float], pose: Pose, roll: float = 0.0,
    narrowing: float = 1.0,
) -> None:  # fmt: skip
    """Lay a premultiplied layer over the frame, moved and turned with the head."""
    unit = place.half_height / layer.scale
    cosine, sine = math.cos(roll), math.sin(roll)
    turn = np.asarray([[cosine * narrowing, -sine], [sine * narrowing, cosine]]) * unit
    middle = np.asarray([place.x + shift[0] * place.half_height, place.y + shift[1] * place.half_height])
    move = middle + turn @ (np.asarray(layer.corner) * layer.scale)
    # Draw only on the part of the frame that the layer touches.
    height, width = layer.pixels.shape[:2]
    corners = np.asarray([(0, 0), (width, 0), (0, height), (width, height)]) @ turn.T + move
    limits = (frame.shape[1], frame.shape[0])
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, limits).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, limits).astype(int).tolist()
    window = frame[top:bottom, left:right]
    matrix = np.column_stack([turn, move - (left, top)])
    placed = cv2.warpAffine(layer.pixels, matrix, (window.shape[1], window.shape[0]), flags=cv2.INTER_LINEAR)
    window *= 1 - placed[..., 3:]
    window += placed[..., :3] * pose.light
