"""The front of a face as a flat image, before it is warped onto a head.

Skin, hair, brows and beard never move and are painted once per person; eyes, mouth and glasses are painted per frame.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from dfutils.demo.brushes import Canvas, bell, ellipse_coverage, lens_coverage
from dfutils.demo.hair import paint_beard, paint_front_hair
from dfutils.demo.people import Color, Person, Pose, mix_colors

MOUTH_DROP = 0.12
"""How far a wide open mouth lowers the lower lip, in head units."""


def paint_portrait(person: Person, pose: Pose, *, scale: float) -> Canvas:
    """Paint the front of a face as it is in one frame, evenly lit.

    Args:
        person: Whose face to paint.
        pose: Only blink, mouth and smile are used.
        scale: Pixels per head unit.

    Returns:
        An opaque canvas of float32 RGB, 0..255.
    """
    canvas = _paint_still_portrait(person, scale).copy()
    for side in (-1, 1):
        _paint_eye(canvas, person, pose, side=side)
    _paint_mouth(canvas, person, pose)
    if person.glasses != "none":
        _paint_glasses(canvas, person)
    return canvas


@lru_cache(maxsize=16)
def _paint_still_portrait(person: Person, scale: float) -> Canvas:
    rng = np.random.default_rng(person.texture_seed)
    canvas = Canvas.blank(left=-0.95, top=-1.3, right=0.95, bottom=1.2, scale=scale, channels=3)
    canvas.pixels[:] = person.skin
    shape = canvas.pixels.shape[:2]
    blotches = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 0.12 * scale)
    pores = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 0.9)
    canvas.everything().vary(0.012 * blotches / blotches.std() + 0.016 * pores / pores.std())
    blush = mix_colors(person.skin, (205, 70, 70), share=0.6)
    for center in ((-0.42, 0.3), (0.42, 0.3), (0.0, 0.36)):
        canvas.glow(center, (0.14, 0.11), blush, opacity=person.blush * 1.6)
    if person.freckles > 0.75:
        for x, y in rng.normal((0, 0.2), (0.28, 0.09), (70, 2)):
            canvas.glow((x, y), (0.008, 0.008), mix_colors(person.skin, (120, 60, 30), share=0.5), opacity=0.7)
    _paint_relief(canvas, person)
    paint_beard(canvas, person, rng)
    brow = mix_colors(mix_colors(person.hair, (30, 20, 16), share=0.35), person.skin, share=0.1)
    brow_y = person.eye_line - person.brow_gap + 0.03
    for side in (-1, 1):
        brow_x = side * (person.eye_distance + 0.01)
        for offset, opacity in ((0.0, 0.75), (0.01, 0.45)):
            canvas.stroke(
                (brow_x + side * offset, brow_y + offset), person.eye_width * 1.3, brow,
                thickness=person.brow_thickness, bend=0.05, tilt=side * -0.06, softness=0.022, opacity=opacity,
            )  # fmt: skip
    paint_front_hair(canvas, person, rng)
    return canvas


def _paint_relief(canvas: Canvas, person: Person) -> None:
    """Shade the parts that stand out or lie deeper, as if lit by a lamp from above."""
    eye_y, tip, wing = person.eye_line, person.nose_tip, person.nose_width
    nostril = mix_colors(person.skin, (40, 12, 8), share=0.75)
    for side in (-1, 1):
        eye_x = side * person.eye_distance
        canvas.shadow((eye_x, eye_y - 0.03), (0.15, 0.09), 0.84)
        canvas.shadow((side * 0.13, eye_y - 0.03), (0.05, 0.08), 0.86)
        canvas.shadow((eye_x * 0.95, eye_y + 0.12), (0.1, 0.022), 0.94 - 0.07 * person.wrinkles)
        canvas.shadow((side * (wing * 0.62 + 0.03), (eye_y + tip) / 2 + 0.04), (0.032, 0.16), 0.92)
        canvas.shadow((side * (wing + 0.02), tip + 0.0), (0.03, 0.05), 0.8)
        canvas.shadow((side * 0.45, 0.22), (0.13, 0.09), 1.07)
        canvas.shadow((side * 0.5, 0.55), (0.12, 0.14), 0.93)
        canvas.stroke(
            (side * 0.26, 0.46), 0.13, mix_colors(person.skin, (60, 25, 20), share=0.6), thickness=0.01,
            tilt=-side * 1.1, softness=0.05, opacity=0.15 + 0.35 * person.wrinkles,
        )  # fmt: skip
    canvas.shadow((0, (eye_y + tip) / 2 - 0.02), (0.03, 0.15), 1.1)
    canvas.shadow((0, tip - 0.03), (0.05, 0.04), 1.14)
    canvas.shadow((0, tip + 0.085), (wing * 0.8, 0.02), 0.72)
    canvas.shadow((0, (tip + person.mouth_line) / 2 + 0.02), (0.02, 0.05), 0.93)
    canvas.shadow((0, -0.42), (0.3, 0.13), 1.06)
    canvas.shadow((0, 0.88), (0.13, 0.07), 1.07)
    for side in (-1, 1):
        canvas.stroke(
            (side * wing * 0.55, tip + 0.06), 0.042, nostril, thickness=0.015, bend=0.018, softness=0.02, opacity=0.85
        )
        canvas.glow((side * wing, tip + 0.035), (0.013, 0.03), nostril, opacity=0.35)
    if person.wrinkles > 0.6:
        for y in (-0.46, -0.39):
            canvas.stroke(
                (0, y), 0.3, mix_colors(person.skin, (60, 25, 20), share=0.5), thickness=0.006, bend=0.02,
                softness=0.02, opacity=0.4,
            )  # fmt: skip


def _paint_eye(canvas: Canvas, person: Person, pose: Pose, *, side: int) -> None:
    center = (side * person.eye_distance, person.eye_line)
    width, tilt = person.eye_width, side * person.eye_tilt
    down = person.eye_height * 0.75
    up = person.eye_height * (1 - pose.blink) - down * pose.blink
    patch = canvas.around(center, (width * 1.2, person.eye_height * 2.5))
    lids = lens_coverage(patch, center, width, up=up, down=down, tilt=tilt)

    x, y = center[0], center[1] - 0.008
    radius = person.eye_height * 1.08
    iris = ellipse_coverage(patch, (x, y), (radius, radius))
    patch.paint(lids, (232, 224, 216))
    patch.shade(lids * (1 - bell(patch, (x, y + 0.02), (width * 0.8, 0.05))), 0.72)
    patch.paint(lids * iris, mix_colors(person.iris, (10, 8, 8), share=0.55))
    patch.paint(lids * ellipse_coverage(patch, (x, y + 0.006), (radius * 0.8, radius * 0.8)), person.iris)
    patch.paint(lids * ellipse_coverage(patch, (x, y), (radius * 0.42, radius * 0.42)), (12, 10, 10))
    patch.shade(lids * bell(patch, (x, y - person.eye_height), (width, 0.022)), 0.6)
    patch.paint(0.9 * lids * bell(patch, (x - 0.02, y - 0.022), (0.012, 0.012)), (255, 255, 255))

    lash = mix_colors(person.hair, (22, 12, 10), share=0.75)
    canvas.stroke(center, width * 1.06, lash, thickness=0.017, bend=up, tilt=tilt, softness=0.008, opacity=0.9)
    canvas.stroke(
        center, width, mix_colors(person.skin, (90, 40, 30), share=0.6), thickness=0.007, bend=-down,
        tilt=tilt, softness=0.012, opacity=0.6,
    )  # fmt: skip
    canvas.stroke(
        (center[0], center[1] - 0.028), width * 1.05, mix_colors(person.skin, (60, 24, 16), share=0.6),
        thickness=0.007, bend=person.eye_height * (1 - 0.5 * pose.blink), tilt=tilt, softness=0.018, opacity=0.6,
    )  # fmt: skip


def _paint_mouth(canvas: Canvas, person: Person, pose: Pose) -> None:
    width = person.mouth_width * (1 + 0.1 * pose.smile - 0.08 * pose.mouth)
    drop, corners = MOUTH_DROP * pose.mouth, 0.05 * pose.smile
    upper, lower = 0.062 * person.lip_fullness, 0.078 * person.lip_fullness
    patch = canvas.around((0, person.mouth_line), (width * 1.1, 0.14 + drop + lower))
    # A smile lifts the corners: the line between the lips sags in the middle.
    middle = person.mouth_line + corners * (1 - (patch.x / width) ** 2)
    arch = np.sqrt(np.clip(1 - (patch.x / width) ** 2, 0, 1))
    cupid = 0.016 * np.exp(-0.5 * (patch.x / 0.035) ** 2)
    above = patch.edge(patch.y - middle + upper * arch - cupid, softness=0.012)
    below = patch.edge(middle + drop * arch + lower * arch - patch.y, softness=0.012)
    inner = patch.edge(np.minimum(patch.y - middle + 0.004 * arch, middle + drop * arch - patch.y)) * (arch > 0.25)
    lips = above * below * (arch > 0)
    patch.paint(0.85 * lips, person.lips)
    patch.shade(lips * patch.edge(middle - patch.y, softness=0.02), 0.84)
    patch.shade(lips * bell(patch, (0, person.mouth_line + drop + lower * 0.5), (width * 0.35, 0.016)), 1.2)
    patch.paint(inner, (52, 18, 20))
    teeth = inner * patch.edge(middle + 0.035 - patch.y, softness=0.02) * (arch > 0.55)
    patch.paint(teeth * min(1.0, pose.mouth * 3), (214, 206, 196))
    line = np.exp(-0.5 * ((patch.y - middle) / 0.011) ** 2) * (np.abs(patch.x) < width)
    patch.shade(line, 0.45)
    canvas.shadow((0, person.mouth_line + drop + lower + corners + 0.035), (width * 0.5, 0.022), 0.8)


def _paint_glasses(canvas: Canvas, person: Person) -> None:
    power = 2 if person.glasses == "round" else 4
    rim: Color = (34, 30, 32) if person.texture_seed % 2 else (92, 58, 40)
    center_y = person.eye_line + 0.02
    radii = (0.235, 0.205 if person.glasses == "round" else 0.17)
    for side in (-1, 1):
        center = (side * person.eye_distance * 1.03, center_y)
        patch = canvas.around(center, (0.3, 0.3))
        distance = (
            np.abs((patch.x - center[0]) / radii[0]) ** power + np.abs((patch.y - center_y) / radii[1]) ** power
        ) ** (1 / power)
        patch.paint(0.06 * patch.edge((1 - distance) * radii[1]), (235, 240, 250))
        patch.paint(0.92 * patch.edge(0.016 - np.abs(1 - distance) * radii[1], softness=0.004), rim)
        canvas.stroke((side * 0.76, center_y - 0.05), 0.19, rim, thickness=0.02, opacity=0.9)
    canvas.stroke((0, center_y - 0.03), 0.1, rim, thickness=0.018, bend=0.03, opacity=0.9)
