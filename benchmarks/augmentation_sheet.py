"""Draw what each augmentation and self-blending does to made-up faces, for docs/training.md.

python -m benchmarks.augmentation_sheet
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from matplotlib.axes import Axes

from benchmarks.common import script_parser
from dfutils.demo.people import random_person
from dfutils.demo.rendering import DemoSettings, render_clip
from dfutils.extraction.crops import crop_square, framed, square_around
from dfutils.extraction.faces import YunetDetector
from dfutils.records import Crops, Image
from dfutils.training.augmentation import AugmentationSettings, Floats, augment_clip
from dfutils.training.blending import BlendingSettings, blend_clip

SIDE = 224
SHOWN = 116
"""Side of a crop in the sheet, in pixels."""
FRAMES = 4
COLUMNS = ("untouched", "low", "medium", "high")
BLENDING_COLUMNS = ("REAL", "subtle", "usual", "crude")

DETAIL = (slice(52, 164), slice(16, 128))
"""Rows and columns of a crop that are shown where only fine detail changes."""
DETAILED = ("Gaussian blur", "motion blur", "noise", "down and up", "H.264", "JPEG")

Row: TypeAlias = tuple[str, list[Image | None]]

AUGMENTATIONS: dict[str, tuple[dict[str, object], ...]] = {
    "crop": tuple({"crop_probability": 1, "crop_share": (share, share)} for share in (0.95, 0.9, 0.86)),
    "cut-out": tuple({"cutout_probability": 1, "cutout_share": (share, share)} for share in (0.02, 0.06, 0.12)),
    "colour": tuple(
        {
            "color_probability": 1,
            "brightness": 0.15 * part,
            "contrast": 0.2 * part,
            "saturation": 0.25 * part,
            "hue_degrees": 6.0 * part,
        }
        for part in (0.33, 0.67, 1.0)
    ),
    "Gaussian blur": tuple(
        {"gaussian_blur_probability": 1, "gaussian_blur_sigma": (sigma, sigma)} for sigma in (0.002, 0.005, 0.008)
    ),
    "motion blur": tuple(
        {"motion_blur_probability": 1, "motion_blur_length": (length, length)} for length in (0.015, 0.03, 0.05)
    ),
    "noise": tuple({"noise_probability": 1, "noise_levels": (level, level)} for level in (1, 3, 6)),
    "down and up": tuple({"rescale_probability": 1, "rescale_factor": (factor, factor)} for factor in (0.9, 0.6, 0.35)),
    "H.264": tuple({"video_probability": 1, "video_crf": (crf, crf)} for crf in (20, 29, 38)),
    "JPEG": tuple({"jpeg_probability": 1, "jpeg_quality": (quality, quality)} for quality in (95, 65, 35)),
}

# The same random draws in ranges that widen from column to column.
BLENDINGS = tuple(
    BlendingSettings(
        shift=0.03 * part,
        scale=0.05 * part,
        turn_degrees=2 * part,
        strengths=(strength,),
        jitter_probability=0,
        brightness=0.12 * part,
        color_cast=0.05 * part,
        contrast=0.12 * part,
        quality_probability=0 if part < 1 else 1,
    )
    for part, strength in ((0.5, 0.5), (1.0, 1.0), (2.0, 1.0))
)


def demo_crops(seed: int) -> Crops:
    """Return crops of a made-up person who talks, ``(FRAMES, SIDE, SIDE, 3)``."""
    rng = np.random.default_rng(seed)
    settings = DemoSettings(width=720, height=540, seconds=2.0, fps=10)
    frames = render_clip(random_person(rng), donor=None, rng=rng, settings=settings)
    detector = YunetDetector(min_score=0.6)
    crops = []
    for frame in frames[:: len(frames) // FRAMES][:FRAMES]:
        face = framed(detector.detect(frame)[0].box)
        square = square_around(face, margin=0.0, frame_size=(settings.width, settings.height))
        crops.append(crop_square(frame, square, size=SIDE))
    return np.stack(crops)


def augmentation_rows() -> Iterator[Row]:
    """Yield one row per augmentation, from weak to strong, and one of all together."""
    clip = demo_crops(3)[:1]
    for number, (name, steps) in enumerate(AUGMENTATIONS.items()):
        changed = [
            augment_clip(clip, rng=np.random.default_rng(number + 20), settings=AugmentationSettings.only(**step))
            for step in steps
        ]
        images: list[Image | None] = [one[0] for one in (clip, *changed)]
        yield name, [one[DETAIL] if one is not None and name in DETAILED else one for one in images]
    yield "all, at random", [clip[0], *(augment_clip(clip, rng=np.random.default_rng(seed))[0] for seed in (3, 5, 8))]


def blending_rows() -> Iterator[Row]:
    """Yield three forgeries with their masks, then a steady and a jittering clip."""
    for seed, rng_seed in ((3, 5), (46, 2), (15, 12)):
        clip = demo_crops(seed)[:1]
        made = [
            blend_clip(clip, landmarks=None, rng=np.random.default_rng(rng_seed), settings=step) for step in BLENDINGS
        ]
        yield "blended", [clip[0], *(pair.fake[0] for pair in made)]
        yield "mask", [None, *(overlay(clip[0], pair.masks[0]) for pair in made)]
    clip = demo_crops(15)
    for name, probability in (("steady", 0.0), ("jittering", 1.0)):
        settings = BlendingSettings(jitter_probability=probability, jitter=1.0, strengths=(1.0,))
        _, fakes, masks = blend_clip(clip, landmarks=None, rng=np.random.default_rng(4), settings=settings)
        yield f"{name}:\n4 frames", list(fakes)
        yield "mask", [overlay(frame, mask) for frame, mask in zip(clip, masks, strict=True)]


def overlay(image: Image, mask: Floats) -> Image:
    """Return the image in grey with the mask over it in orange."""
    grey = 0.6 * image.mean(axis=2, keepdims=True)
    orange = np.asarray([230, 120, 20])
    return np.asarray(grey + 0.65 * mask[..., None] * (orange - grey), np.uint8)


def draw_sheet(left: list[Row], right: list[Row], out: Path) -> None:
    """Write both blocks of rows side by side."""
    rows = max(len(left), len(right))
    figure = plt.figure(figsize=(0.01 * SHOWN * 8.7, 0.01 * SHOWN * (rows + 0.2)), dpi=100)
    widths = [0.2, *[1] * 4, 0.3, *[1] * 4]  # two columns hold the names of the rows
    axes = figure.subplots(rows, len(widths), width_ratios=widths)
    figure.subplots_adjust(left=0, right=0.998, top=0.98, bottom=0.002, wspace=0.03, hspace=0.03)
    for axis in axes.ravel():
        axis.axis("off")
    for block, columns, first in ((left, COLUMNS, 1), (right, BLENDING_COLUMNS, 6)):
        for place, title in enumerate(columns):
            axes[0, first + place].set_title(title, fontsize=8, pad=3)
        for number, (name, images) in enumerate(block):
            draw_row(axes[number, first : first + 4], name, images)
    figure.canvas.draw()
    sheet = PIL.Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    # 256 colours are enough for faces of few hues, and a third of the bytes.
    sheet.quantize(256, kmeans=1, dither=PIL.Image.Dither.NONE).save(out, optimize=True)


def draw_row(axes: np.ndarray, name: str, images: list[Image | None]) -> None:
    """Draw images side by side with the row's name before them."""
    axis: Axes
    for axis, image in zip(axes, images, strict=True):
        if image is not None:
            axis.imshow(image, interpolation="antialiased")
    axes[0].text(-0.03, 0.5, name, transform=axes[0].transAxes, fontsize=7, rotation=90, ha="right", va="center")


def main() -> None:
    """Command line."""
    out = script_parser(__doc__).parse_args().out / "augmentation.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(list(augmentation_rows()), list(blending_rows()), out)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
