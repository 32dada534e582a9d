"""A person in an image: portrait bent round a head, ears, hair and shoulders behind it, light on it all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.demo.bodies import paint_behind, paint_body
from dfutils.demo.brushes import Canvas, Floats
from dfutils.demo.hair import VOLUMES
from dfutils.demo.people import Person, Pose
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


@dataclass(frozen=True)
class Surface:
    """What each pixel around a head shows, in head units of the flat portrait."""

    left: int
    top: int
    portrait_x: Floats
    portrait_y: Floats
    coverage: Floats
    light: Floats


Matrix = npt.NDArray[np.float64]

PaintPortrait = Callable[[Person, Pose, float], Canvas]
"""Paints the flat portrait of a person in a pose at a scale; a forgery is another such function."""


def paint_honest_portrait(person: Person, pose: Pose, scale: float) -> Canvas:
    """Paint a person's own face: see `paint_portrait`."""
    return paint_portrait(person, pose, scale=scale)


def draw_person(
    frame: Floats, person: Person, pose: Pose, place: Place, *, portrait: PaintPortrait = paint_honest_portrait
) -> None:
    """Draw a person's head and shoulders into a frame.

    Args:
        frame: (H, W, 3) float32 RGB 0..255, changed in place.
        person: Whom to draw.
        pose: How the head is held and lit.
        place: Where the head rests.
        portrait: Paints the front of the face.
    """
    _draw_layer(frame, paint_body(person, place.half_height), place, shift=(pose.x * 0.35, pose.y * 0.3), pose=pose)
    _draw_layer(
        frame, paint_behind(person, place.half_height), place, shift=(pose.x, pose.y), pose=pose,
        roll=pose.roll, narrowing=math.cos(pose.turn),
    )  # fmt: skip
    _draw_face(frame, person, pose, place, portrait)


def draw_head(person: Person, pose: Pose, size: int) -> npt.NDArray[np.uint8]:
    """Draw one head on a plain ground.

    Args:
        person: Whom to draw.
        pose: How the head is held and lit.
        size: Side of the image in pixels.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    frame = np.full((size, size, 3), (150, 158, 166), np.float32)
    draw_person(frame, person, pose, Place(size / 2, size * 0.5, size * 0.34))
    return np.clip(frame + 0.5, 0, 255).astype(np.uint8)


def _draw_face(frame: Floats, person: Person, pose: Pose, place: Place, portrait: PaintPortrait) -> None:
    surface = _bend(frame, person, pose, place)
    flat = portrait(person, pose, place.half_height * PORTRAIT_DETAIL)
    columns = (surface.portrait_x - flat.corner[0]) * flat.scale
    rows = (surface.portrait_y - flat.corner[1]) * flat.scale
    face = cv2.remap(flat.pixels, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    face *= _tint(surface.light)
    height, width = surface.coverage.shape
    target = frame[surface.top : surface.top + height, surface.left : surface.left + width]
    target += surface.coverage[..., None] * (face - target)


def _bend(frame: Floats, person: Person, pose: Pose, place: Place) -> Surface:
    """Find which point of the flat portrait each pixel of a turned head shows."""
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
    half_width = _half_width(person, y)
    sideways = np.clip(x / np.maximum(half_width, 1e-3), -1, 1)
    upwards = np.clip(np.where(y < 0, y / (1 + VOLUMES[person.hair_style]), y), -1, 1)
    portrait_x, portrait_y = _turn_back(y, sideways, upwards, half_width, pose)
    coverage = np.clip((half_width - np.abs(x)) * unit * 0.8 + 0.5, 0, 1) * (half_width > 0.02)
    return Surface(left, top, portrait_x, portrait_y, coverage, _light_on(sideways, upwards, pose))


def _half_width(person: Person, y: Floats) -> Floats:
    """The head's outline: an ellipse above, a jaw below."""
    volume = VOLUMES[person.hair_style]
    above = np.clip(-y / (1 + volume), 0, 1)
    # Between an ellipse (2) and a cube (3): crowns are rounder than eggs.
    upper = np.sqrt(1 - above**2 * (0.5 + 0.5 * above)) * (1 + 0.5 * volume * np.clip(-4 * y, 0, 1))
    below = np.clip(y, 0, 1)
    jaw = np.sqrt(np.clip(1 - cv2.pow(below, person.jaw_squareness), 0, 1)) * (1 - person.jaw_taper * below * below)
    return person.face_width * np.where(y < 0, upper, jaw * (y < 1))


def _turn_back(y: Floats, sideways: Floats, upwards: Floats, half_width: Floats, pose: Pose) -> tuple[Floats, Floats]:
    # On a globe, sin(asin(s) - turn) = s cos(turn) - sqrt(1 - s^2) sin(turn).
    depth = np.sqrt(1 - sideways**2)
    turned = sideways * math.cos(pose.turn) - depth * math.sin(pose.turn)
    portrait_x = turned * half_width
    nodded = y - np.sqrt(1 - upwards**2) * depth * math.sin(pose.nod) * 0.8
    # The nose stands out, so it moves further than the skin around it.
    nose = np.exp(-0.5 * ((portrait_x / 0.15) ** 2 + ((nodded - 0.25) / 0.2) ** 2))
    portrait_x = portrait_x - nose * 0.22 * math.sin(pose.turn)
    portrait_y = nodded - nose * 0.18 * math.sin(pose.nod)
    return portrait_x, portrait_y


def _light_on(sideways: Floats, upwards: Floats, pose: Pose) -> Floats:
    normal_x, normal_y = sideways * 0.92, upwards * 0.8
    normal_z = np.sqrt(np.clip(1 - normal_x**2 - normal_y**2, 0.02, 1))
    distance = math.hypot(pose.light_x, -0.45, 0.85)
    lamp = (pose.light_x / distance, -0.45 / distance, 0.85 / distance)
    facing = normal_x * lamp[0] + normal_y * lamp[1] + normal_z * lamp[2]
    return pose.light * (0.4 + 0.74 * np.clip(0.3 + 0.7 * facing, 0, 1))


def _tint(light: Floats) -> Floats:
    """Colour the light: shadows on skin are warm, since red light goes deepest."""
    return np.stack([light**0.85, light, light**1.1], axis=-1)


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
    window, corner = _window_of(layer, turn, move, frame)
    matrix = np.column_stack([turn, move - corner])
    placed = cv2.warpAffine(layer.pixels, matrix, (window.shape[1], window.shape[0]), flags=cv2.INTER_LINEAR)
    window *= 1 - placed[..., 3:]
    window += placed[..., :3] * pose.light


def _window_of(layer: Canvas, turn: Matrix, move: Matrix, frame: Floats) -> tuple[Floats, tuple[int, int]]:
    """The part of the frame that a placed layer touches, and where it begins."""
    height, width = layer.pixels.shape[:2]
    corners = np.asarray([(0, 0), (width, 0), (0, height), (width, height)]) @ turn.T + move
    limits = (frame.shape[1], frame.shape[0])
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, limits).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, limits).astype(int).tolist()
    return frame[top:bottom, left:right], (left, top)
