"""Augmentations that do not change the label: framing, light, lens, sensor, video and image coding.

Changes that a camera or an encoder applies to a whole shot (framing, colours, blur, size, quality) are drawn once per
clip; sensor noise is drawn once per frame. REAL and FAKE are treated alike, or the treatment would become the cue.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Self, TypeAlias

import av
import cv2
import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from dfutils.records import Crops, Image
from dfutils.settings import Settings

Floats: TypeAlias = npt.NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in BT.601's luma."""


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the first value must not exceed the second: {pair}")
    return pair


Probability: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
ShareRange: TypeAlias = Annotated[tuple[Share, Share], AfterValidator(_rising)]
LevelRange: TypeAlias = Annotated[
    tuple[Annotated[float, Field(ge=0, le=64)], Annotated[float, Field(ge=0, le=64)]], AfterValidator(_rising)
]
JpegRange: TypeAlias = Annotated[
    tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]], AfterValidator(_rising)
]
CrfRange: TypeAlias = Annotated[
    tuple[Annotated[int, Field(ge=0, le=51)], Annotated[int, Field(ge=0, le=51)]], AfterValidator(_rising)
]


class AugmentationSettings(Settings):
    """How often and how much training clips are changed. Lengths are fractions of the crop's width."""

    flip_probability: Probability = 0.5
    """Mirror left and right."""
    crop_probability: Probability = 0.7
    """Crop a square part and enlarge it to the full size."""
    crop_share: ShareRange = (0.86, 1.0)
    """Side of that part; below 0.86, eyes or mouth of a tightly cut face would be lost."""
    cutout_probability: Probability = 0.1
    """Cover part of the face with a rectangle of one colour (after Face-Cutout, Das et al. 2021)."""
    cutout_share: ShareRange = (0.02, 0.12)
    """Area of the rectangle, as a share of the image's."""
    color_probability: Probability = 0.6
    """Change brightness, contrast, saturation and hue."""
    brightness: float = Field(0.15, ge=0, lt=1)
    """Largest change of brightness, as a fraction of full scale."""
    contrast: float = Field(0.2, ge=0, lt=1)
    """Largest relative change of the distance from the clip's mean colour."""
    saturation: float = Field(0.25, ge=0, le=1)
    """Largest relative change of the distance from grey."""
    hue_degrees: float = Field(6.0, ge=0, le=180)
    """Largest rotation about the grey axis, either way."""
    gaussian_blur_probability: Probability = 0.15
    """Blur as if out of focus."""
    gaussian_blur_sigma: ShareRange = (0.002, 0.008)
    """Standard deviation of the blur."""
    motion_blur_probability: Probability = 0.1
    """Blur as if the camera or the head moved while the shutter was open."""
    motion_blur_length: ShareRange = (0.015, 0.05)
    """Length of the line along which each point is smeared."""
    noise_probability: Probability = 0.2
    """Add sensor noise, different in each frame."""
    noise_levels: LevelRange = (1.0, 6.0)
    """Standard deviation of the noise, in levels of 0..255."""
    rescale_probability: Probability = 0.35
    """Shrink and enlarge, like a small face that the extraction enlarges."""
    rescale_factor: ShareRange = (0.35, 0.9)
    """Size of the shrunken clip, as a fraction."""
    video_probability: Probability = 0.25
    """Encode with x264, at the small size if the clip is rescaled too."""
    video_crf: CrfRange = (20, 38)
    """Constant rate factor, here the quantiser of every frame: 18 is nearly lossless, 23 typical, 38 poor. The key
    frames of FaceForensics++' c23 and c40 have quantisers about 3 below the numbers in these names."""
    jpeg_probability: Probability = 0.4
    """Encode as JPEG."""
    jpeg_quality: JpegRange = (35, 95)
    """JPEG quality as OpenCV defines it."""

    @classmethod
    def only(cls, **changes: object) -> Self:
        """Return settings with all probabilities 0 except those given.

        Example:
            >>> AugmentationSettings.only(jpeg_probability=1).flip_probability
            0.0
        """
        off: dict[str, object] = {name: 0.0 for name in cls.model_fields if name.endswith("_probability")}
        return cls.model_validate(off | changes)


DEFAULT_SETTINGS = AugmentationSettings()


def augment_clip(clip: Crops, *, rng: np.random.Generator, settings: AugmentationSettings = DEFAULT_SETTINGS) -> Crops:
    """Change a clip, REAL or FAKE, as cameras, encoders and web sites do.

    Args:
        clip: ``(T, height, width, 3)`` uint8 RGB; not modified.
        rng: Random stream; the same state gives the same clip.
        settings: Probabilities and ranges of the changes.

    Returns:
        A clip of the same shape and dtype; ``clip`` itself if nothing was changed.

    Raises:
        ValueError: ``clip`` has another shape or dtype.
    """
    require_crops(clip)
    # In physical order: the scene, its light, the lens, the sensor, the video, the web site.
    for step in (_reframe, _cut_out, _recolor, _blur, _add_noise, _transmit, _jpeg):
        clip = step(clip, rng, settings)
    return clip


def require_crops(clip: Crops) -> None:
    """Raise ValueError unless this is a clip of uint8 RGB images."""
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3 or not clip.size:
        raise ValueError(f"clip must be (T, height, width, 3) uint8. Received: {clip.shape} {clip.dtype}")


def color_matrix(
    *, brightness: float, contrast: float, saturation: float, hue_degrees: float, middle: Floats
) -> Floats:
    """Combine changes of colour into one ``(3, 4)`` matrix for `recolor`.

    Args:
        brightness: Added to each channel, as a fraction of full scale.
        contrast: Factor of the distance from ``middle``.
        saturation: Factor of the distance from grey.
        hue_degrees: Rotation about the grey axis.
        middle: Colour that contrast does not change, ``(3,)``.
    """
    angle = math.radians(hue_degrees)
    grey = np.full((3, 3), 1 / 3)
    across = np.asarray([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) * grey + math.sin(angle) * across
    saturate = saturation * np.eye(3) + (1 - saturation) * np.tile(LUMA, (3, 1))
    linear = contrast * saturate @ turn
    offset = (1 - contrast) * middle + 255 * brightness
    return np.column_stack([linear, offset]).astype(np.float32)


def recolor(clip: Crops, matrix: Floats) -> Crops:
    """Apply a `color_matrix` to every pixel, rounded and clipped to 0..255."""
    return _uint8(cv2.transform(clip.reshape(-1, *clip.shape[2:]), matrix)).reshape(clip.shape)


def resize_clip(clip: Crops, *, width: int, height: int, smooth: bool = False) -> Crops:
    """Resize every frame: by area averaging to shrink, by cubic or (``smooth``) linear interpolation to enlarge."""
    larger = cv2.INTER_LINEAR if smooth else cv2.INTER_CUBIC
    interpolation = cv2.INTER_AREA if width < clip.shape[2] else larger
    return np.stack([_uint8(cv2.resize(frame, (width, height), interpolation=interpolation)) for frame in clip])


def blur_clip(clip: Crops, *, sigma: float) -> Crops:
    """Apply a Gaussian blur to every frame; ``sigma`` is in pixels."""
    return np.stack([_uint8(cv2.GaussianBlur(frame, (0, 0), sigma)) for frame in clip])


def _reframe(clip: Crops, rng: np.random.Generator, settings: AugmentationSettings) -> Crops:
    if rng.random() < settings.flip_probability:
        clip = np.ascontiguousarray(clip[:, :, ::-1])
    if rng.random() >= settings.crop_probability:
        return clip
    height, width = clip.shape[1:3]
    share = rng.uniform(*settings.crop_share)
    part_width, part_height = math.ceil(share * width), math.ceil(share * height)
    left, top = int(rng.integers(width - part_width + 1)), int(rng.integers(height - part_height + 1))
    part = clip[:, top : top + part_height, left : left + part_width]
    return resize_clip(part, width=width, height=height, smooth=True)


def _cut_out(clip: Crops, rng: np.random.Generator, settings: AugmentationSettings) -> Crops:
    if rng.random() >= settings.cutout_probability:
        return clip
    height, width = clip.shape[1:3]
    area = rng.uniform(*settings.cutout_share) * width * height
    part_width = min(width, int(math.sqrt(area * rng.uniform(0.5, 2))) or 1)
    part_height = min(height, int(area / part_width))
    left, top = int(rng.integers(width - part_width + 1)), int(rng.integers(height - part_height + 1))
    covered = clip.copy()
    covered[:, top : top + part_height, left : left + part_width] = rng.integers(0, 256, 3)
    return covered


def _recolor(clip: Crops, rng: np.random.Generator, settings: AugmentationSettings) -> Crops:
    if rng.random() >= settings.color_probability:
        return clip
    brightness, contrast, saturation, hue = rng.uniform(-1, 1, 4)
    matrix = color_matrix(
        brightness=brightness * settings.brightness,
        contrast=1 + contrast * settings.contrast,
        saturation=1 + saturation * settings.saturation,
        hue_degrees=hue * settings.hue_degrees,
        middle=mean_color(clip),
    )
    return recolor(clip, matrix)


def mean_color(clip: Crops) -> Floats:
    """Return the mean red, green and blue, ``(3,)``."""
    return np.asarray(cv2.mean(clip.reshape(-1, *clip.shape[2:]))[:3], np.float32)


def _blur(clip: Crops, rng: np.random.Generator, settings: AugmentationSettings) -> Crops:
    if rng.random() < settings.gaussian_blur_probability:
        clip = blur_clip(clip, sigma=rng.uniform(*settings.gaussian_blur_sigma) * clip.shape[2])
    if rng.random() >= settings.motion_blur_probability:
        return clip
    length, angle = rng.uniform(*settings.motion_blur_length) * clip.shape[2], rng.uniform(0, math.pi)
    radius = max(1, math.ceil(length / 2))
    line = np.zeros((2 * radius + 1, 2 * radius + 1), np.uint8)
    reach = 256 * length / 2 * np.asarray([math.cos(angle), math.sin(angle)])
    ends = [np.rint(256 * radius + sign * reach).astype(int).tolist() for sign in (-1, 1)]
    cv2.line(line, ends[0], ends[1], 255, 1, cv2.LINE_AA, shift=8)
    kernel = (line / line.sum()).astype(np.float32)
    return np.stack([_uint8(cv2.filter2D(frame, -1, kernel)) for frame in clip])


def _add_noise(clip: Crops, rng: np.random.Generator, settings: AugmentationSettings) -> Crops:
    if rng.random() >= settings.noise_probability:
        return clip
    level = np.float32(rng.uniform(*settings.noise_levels))
    noise = level * rng.standard_normal(clip.shape, np.float32)
    flat = (-1, *clip.shape[2:])
    return _uint8(cv2.add(clip.reshape(flat), noise.reshape(flat), dtype=cv2.CV_8U)).reshape(clip.shape)


def _transmit(clip: Crops, rng: np.random.Generator, settings: AugmentationSettings) -> Crops:
    """Shrink, encode and enlarge: faces are mostly smaller in their video than in their crop."""
    height, width = clip.shape[1:3]
    small = clip
    if rng.random() < settings.rescale_probability:
        factor = rng.uniform(*settings.rescale_factor)
        small = resize_clip(clip, width=max(8, round(factor * width)), height=max(8, round(factor * height)))
    if rng.random() < settings.video_probability:
        low, high = settings.video_crf
        small = _code_video(small, crf=int(rng.integers(low, high + 1)))
    if small.shape == clip.shape:
        return small
    return resize_clip(small, width=width, height=height, smooth=bool(rng.random() < 0.5))


def _code_video(clip: Crops, *, crf: int) -> Crops:
    """Encode and decode every frame by itself: a clip's frames are too far apart to predict one from another."""
    height, width = clip.shape[1:3]
    even = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # 4:2:0 has no odd sizes
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[2], even.shape[1], "yuv420p"
    encoder.time_base = Fraction(1, 25)
    # qcomp=1 keeps the quantiser at crf; otherwise a frame's quality would depend on the frames before it.
    encoder.options = {"crf": str(crf), "preset": "superfast", "tune": "zerolatency", "g": "1", "qcomp": "1"}
    decoder = av.CodecContext.create("h264", "r")
    encoder.thread_count = decoder.thread_count = 1
    packets = [
        packet
        for frame in (*(av.VideoFrame.from_ndarray(image, format="rgb24") for image in even), None)
        for packet in encoder.encode(frame)
    ]
    frames = [frame.to_ndarray(format="rgb24") for packet in (*packets, None) for frame in decoder.decode(packet)]
    return np.ascontiguousarray(np.stack(frames)[:, :height, :width])


def _jpeg(clip: Crops, rng: np.random.Generator, settings: AugmentationSettings) -> Crops:
    if rng.random() >= settings.jpeg_probability:
        return clip
    low, high = settings.jpeg_quality
    quality = int(rng.integers(low, high + 1))
    return np.stack([code_jpeg(frame, quality=quality) for frame in clip])


def code_jpeg(image: Image, *, quality: int) -> Image:
    """Return an image as it is after JPEG of a quality from 0 to 100."""
    # Encoded as BGR: with red and blue exchanged, JPEG's luma and its halved colour planes would differ.
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _uint8(cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def _uint8(array: object) -> Crops:
    return np.asarray(array, np.uint8)
