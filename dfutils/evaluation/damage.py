"""Damage that videos suffer on the internet, in several strengths, for robustness tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from dfutils.extraction.crops import crop_square, fill_positions, square_around
from dfutils.extraction.video import iter_frames
from dfutils.files import replacing
from dfutils.records import Box, FaceClip, Image
from dfutils.training.augmentation import code_jpeg

MAX_FRAMES = 300
"""Frames used of each video: ten seconds suffice for ten frames and keep a test of many strengths affordable."""

CLEAN_CRF = 12
"""x264 quality of damaged videos: nearly lossless, so that only the damage counts."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One kind of damage.

    Attributes:
        name: Name on the command line.
        title: Name in reports.
        label: Label of the axis of strengths, with its unit.
        strengths: Strengths from mild to severe.
    """

    name: str
    title: str
    label: str
    strengths: tuple[float, ...]


DAMAGES = {
    damage.name: damage
    for damage in (
        Damage("jpeg", "JPEG on every frame", "JPEG quality", (90, 70, 50, 30, 10)),
        Damage("h264", "H.264 compression", "x264 CRF", (18, 23, 28, 35, 42)),
        Damage("downscale", "Smaller videos", "size (share of the side)", (0.75, 0.5, 0.35, 0.25)),
        Damage("blur", "Blur", "Gaussian blur (σ in pixels)", (1, 2, 3, 5)),
        Damage("noise", "Sensor noise", "noise (σ of 255 levels)", (5, 10, 20, 40)),
        Damage("brightness", "Darker and brighter", "brightness (levels of 255)", (-80, -40, 40, 80)),
        Damage("letterbox", "Black bars above and below", "bars (share of the height)", (0.1, 0.2, 0.3, 0.4)),
        Damage("drop", "Dropped frames", "frames dropped at random (share)", (0.25, 0.5, 0.75, 0.9)),
        Damage("frames", "Fewer frames", "different frames of the clip", (7, 5, 3, 2, 1)),
        Damage("wider", "Wider face box", "box wider by (share of its side)", (0.1, 0.2, 0.3, 0.5)),
        Damage("jitter", "Jittering face box", "box shifted by (share of its side)", (0.05, 0.1, 0.15, 0.2)),
    )
}
ON_CROPS = frozenset({"frames", "jitter", "wider"})
"""Kinds of damage that change the crops, not the video."""


def _downscale(image: Image, share: float, _rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    size = (max(2, round(width * share)), max(2, round(height * share)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _letterbox(image: Image, share: float, _rng: np.random.Generator) -> Image:
    rows = round(image.shape[0] * share / 2)
    return cv2.copyMakeBorder(image, rows, rows, 0, 0, cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)


_IMAGE_CHANGES: dict[str, Callable[[Image, float, np.random.Generator], Image]] = {
    "jpeg": lambda image, quality, _: code_jpeg(image, quality=round(quality)),
    "downscale": _downscale,
    "letterbox": _letterbox,
    "blur": lambda image, sigma, _: cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8, copy=False),
    "noise": lambda image, sigma, rng: np.clip(image + rng.normal(0, sigma, image.shape), 0, 255).astype(np.uint8),
    "brightness": lambda image, levels, _: np.clip(image.astype(np.int16) + round(levels), 0, 255).astype(np.uint8),
}


def write_damaged(source: Path, target: Path, kind: str, strength: float) -> None:
    """Write the first `MAX_FRAMES` frames of a video, damaged, as H.264; times stay the same.

    Args:
        source: A video.
        target: An ``.mp4``, written atomically.
        kind: A name in `DAMAGES` that is not in `ON_CROPS`, or ``none``.
        strength: Any strength in the unit of that kind.
    """
    seed = int(hashlib.sha256(f"{source.name} {kind} {strength}".encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    change = _IMAGE_CHANGES.get(kind)

    def damaged() -> Iterator[tuple[float, Image]]:
        for frame in iter_frames(source):
            if frame.index >= MAX_FRAMES:
                return
            if kind == "drop" and frame.index and rng.random() < strength:
                continue
            image = frame.image()
            yield frame.time_seconds, change(image, strength, rng) if change else image

    encode(target, damaged(), crf=round(strength) if kind == "h264" else CLEAN_CRF)


def encode(target: Path, images: Iterable[tuple[float, Image]], *, crf: int) -> None:
    """Encode images with x264, each at its time in seconds.

    An odd last row or column is cut, because 4:2:0 cannot store it.
    """
    with replacing(target) as temporary, av.open(temporary, "w") as container:
        options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        stream: Any = None
        for time, image in images:
            height, width = (side - side % 2 for side in image.shape[:2])
            if stream is None:
                stream = container.add_stream("libx264", rate=25, options=options)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = Fraction(1, 90000)
                stream.codec_context.thread_count = 1  # with several threads, the bytes depend on the machine
            even = np.ascontiguousarray(image[:height, :width])
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            frame.pts, frame.time_base = round(time * 90000), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())


def with_fewer_frames(clip: FaceClip, count: int) -> FaceClip:
    """Return a clip with only ``count`` different frames, spread over it and repeated as in a short track."""
    total = len(clip.crops)
    kept = np.linspace(0, total - 1, count).round().astype(int) if count > 1 else np.array([total // 2])
    times = [clip.crops[place].time_seconds for place in kept]
    places = [int(kept[position]) for position in fill_positions(times, total)]
    return FaceClip(clip.images[places], tuple(clip.crops[place] for place in places), clip.track)


def with_moved_boxes(source: Path, clip: FaceClip, kind: str, share: float, *, size: int) -> FaceClip:
    """Crop a clip again from its video with other squares, each inside the frame.

    Args:
        source: The video.
        clip: A clip of it.
        kind: ``jitter`` shifts each square by ``share`` of its side in a random direction; ``wider`` grows it.
        share: Fraction of the square's side.
        size: Side of a crop in pixels.
    """
    seed = int(hashlib.sha256(f"{source.name} {share} {clip.track}".encode()).hexdigest()[:8], 16)
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(clip.crops))
    wanted = {crop.frame_index for crop in clip.crops}
    frames = {frame.index: frame.image() for frame in iter_frames(source) if frame.index in wanted}
    images = []
    for crop, angle in zip(clip.crops, angles, strict=True):
        image, square = frames[crop.frame_index], crop.square
        if kind == "jitter":
            right, down = share * square.width * np.cos(angle), share * square.width * np.sin(angle)
            square = Box(square.left + right, square.top + down, square.right + right, square.bottom + down)
        margin = share / 2 if kind == "wider" else 0.0
        inside = square_around(square, margin=margin, frame_size=(image.shape[1], image.shape[0]))
        images.append(crop_square(image, inside, size=size))
    return FaceClip(np.stack(images), clip.crops, clip.track)
