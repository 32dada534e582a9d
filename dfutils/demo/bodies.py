"""What is seen of a person around the face: ears and back hair, neck and shoulders."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from dfutils.demo.brushes import Canvas
from dfutils.demo.hair import COVERS_EARS, paint_back_hair
from dfutils.demo.people import Person, mix_colors


@lru_cache(maxsize=16)
def paint_behind(person: Person, scale: float) -> Canvas:
    """Ears and back hair, seen from the front."""
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
    """Neck and shoulders."""
    rng = np.random.default_rng(person.texture_seed + 2)
    canvas = Canvas.blank(left=-2.6, top=0.2, right=2.6, bottom=4.2, scale=scale, channels=4)
    patch = canvas.everything()
    _paint_neck(canvas, person)
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


def _paint_neck(canvas: Canvas, person: Person) -> None:
    patch = canvas.everything()
    half_width = 0.56 * person.face_width + 0.35 * np.clip((patch.y - 1.1) / 0.5, 0, 1) ** 2
    neck = patch.edge(half_width - np.abs(patch.x), softness=0.02) * patch.edge(1.75 - patch.y)
    patch.paint(neck, mix_colors(person.skin, (80, 34, 24), share=0.18))
    patch.shade(neck * np.exp(-0.5 * ((patch.y - 0.9) / 0.22) ** 2), 0.55)
    patch.shade(neck * np.clip(np.abs(patch.x) / 0.5, 0, 1) ** 3, 0.7)
