"""Heat maps of where a detector sees FAKE, and a test of whether to believe them.

A heat map is a claim: deleting what it marks should lower the score faster than deleting anything else. This is
measured against random maps and printed beside the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.extraction.dataset import encode_image
from dfutils.files import write_bytes
from dfutils.prediction.detector import Detector
from dfutils.prediction.members import Member
from dfutils.prediction.runtime import keras_network
from dfutils.records import Crops, FaceClip, Image

HeatMaps: TypeAlias = npt.NDArray[np.float64]
"""``(T, height, width)``, 0..1, higher where FAKE is seen; Grad-CAM has the resolution of the first block that the
head sees."""

BLUR_SHARE = 0.08
"""Sigma of the blur that removes content, as a fraction of the crop's side: colours remain, forgery traces vanish."""


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How well a heat map shows what the score rests on, compared with random maps of the same resolution.

    Attributes:
        deletion: Mean score while the hottest parts are blurred first; lower is more faithful.
        insertion: Mean score while the hottest parts of a blurred clip are restored first; higher is more faithful.
        random_deletion: ``deletion`` of each random map.
        random_insertion: ``insertion`` of each random map.
    """

    deletion: float
    insertion: float
    random_deletion: tuple[float, ...]
    random_insertion: tuple[float, ...]

    @property
    def beats_random(self) -> bool:
        """Whether the map beats every random one in both deletion and insertion."""
        return self.deletion < min(self.random_deletion) and self.insertion > max(self.random_insertion)

    def sentence(self) -> str:
        """Return the figures and the conclusion in words."""
        randoms = f"{np.mean(self.random_deletion):.2f} and {np.mean(self.random_insertion):.2f}"
        verdict = (
            "it says something about the score"
            if self.beats_random
            else "it is no better than chance here: do not read it as a reason"
        )
        return (
            f"Deletion {self.deletion:.2f} (lower is better) and insertion {self.insertion:.2f} (higher is better), "
            f"against {randoms} of {len(self.random_deletion)} random maps: {verdict}."
        )


def grad_cam(detector: Detector, crops: Crops) -> HeatMaps:
    """Compute Grad-CAM (Selvaraju et al. 2017) for FAKE, averaged over the members.

    Each block that the head sees is pooled globally before, so that the gradient is the same at every position and one
    pass through the backbone suffices. Where it sees several, their maps are added up in the largest resolution.
    """
    return _scaled(np.mean([_member_cam(member, crops) for member in detector.reference], axis=0))


def occlusion_maps(detector: Detector, crops: Crops, *, grid: int = 5) -> HeatMaps:
    """Measure how far the logit falls with each patch blurred (Zeiler and Fergus 2014), as a check without gradients.

    Args:
        detector: The detector to explain.
        crops: One clip, ``(T, size, size, 3)`` uint8 RGB, cut with the detector's settings.
        grid: Patches per side; costs ``grid`` squared predictions.

    Returns:
        ``(T, grid, grid)``, the same for every frame.
    """
    frames, size = crops.shape[:2]
    blurred, edges = _blurred(crops), np.linspace(0, size, grid + 1).round().astype(int)
    whole = _logits(detector, crops[None])[0]
    falls = np.zeros((grid, grid))
    for row in range(grid):  # row by row: each call has a fixed cost, and all patches at once need much memory
        occluded = np.repeat(crops[None], grid, axis=0)
        for column, clip in enumerate(occluded):
            place = np.s_[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
            clip[place] = blurred[place]
        falls[row] = whole - _logits(detector, occluded)
    return np.repeat(_scaled(np.maximum(falls, 0))[None], frames, axis=0)


def measure_faithfulness(
    detector: Detector, crops: Crops, maps: HeatMaps, *, steps: int = 5, randoms: int = 3, seed: int = 0
) -> Faithfulness:
    """Compute deletion and insertion curves (Petsiuk, Das and Saenko 2018) of a map and of random maps.

    Args:
        detector: The detector to explain.
        crops: One clip, ``(T, size, size, 3)`` uint8 RGB, cut with the detector's settings.
        maps: Heat maps of the clip.
        steps: Points of each curve.
        randoms: Number of random maps.
        seed: Seed of the random maps.
    """
    rng = np.random.default_rng(seed)
    blurred = _blurred(crops)

    def areas(heat: HeatMaps) -> tuple[float, float]:
        large = [cv2.resize(one.astype(np.float32), crops.shape[1:3], interpolation=cv2.INTER_LINEAR) for one in heat]
        pixels = np.stack(large)
        ranks = np.empty(pixels.size)  # rank of every pixel by its heat, from 0 to just below 1
        ranks[np.argsort(pixels.ravel(), kind="stable")] = np.arange(pixels.size) / pixels.size
        order = ranks.reshape(pixels.shape)
        deletion = [_mixed(crops, blurred, order >= 1 - share) for share in np.linspace(0, 1, steps + 1)[1:]]
        insertion = [_mixed(blurred, crops, order >= 1 - share) for share in np.linspace(0, 1, steps + 1)[:-1]]
        scores = 1 / (1 + np.exp(-_logits(detector, np.stack([*deletion, *insertion]))))
        return float(scores[:steps].mean()), float(scores[steps:].mean())

    own = areas(maps)
    others = [areas(rng.random(maps.shape)) for _ in range(randoms)]
    return Faithfulness(*own, tuple(one for one, _ in others), tuple(one for _, one in others))


def heat_images(detector: Detector, clip: FaceClip) -> dict[int, Image]:
    """Return the different faces of a clip with `grad_cam` laid over them, by their number in the clip.

    Each map is scaled by itself: it shows where in this face the score comes from, not how much. A frame that a short
    clip repeats is there once.

    Raises:
        RunError: Keras is not installed.
    """
    first: dict[int, int] = {}
    for number, crop in enumerate(clip.crops):
        first.setdefault(crop.frame_index, number)
    maps = grad_cam(detector, clip.images)
    return {
        number: overlay(clip.images[number], maps[number] / max(float(maps[number].max()), 1e-9))
        for number in first.values()
    }


def overlay(image: Image, heat: npt.NDArray[np.float64]) -> Image:
    """Lay a heat map over a crop, which is darkened where the heat is low, so that the hot parts stand out."""
    size = image.shape[1], image.shape[0]
    large = np.clip(cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]
    orange = np.array([213, 94, 0], np.float32)  # the colour of FAKE
    shown = image * (0.35 + 0.65 * large)
    return np.clip(shown + 0.35 * large * (orange - shown), 0, 255).astype(np.uint8)


def write_heat_maps(folder: Path, people: Mapping[int, Mapping[int, Image]]) -> None:
    """Write `heat_images` of people as PNG, by the person's number from 0, one folder per person.

    Raises:
        DatasetError: A file cannot be written.
    """
    for person, images in people.items():
        for number, image in images.items():
            content = encode_image(image, image_format="png")
            write_bytes(folder / f"person-{person + 1}" / f"{number:02d}.png", content)


def _member_cam(member: Member, images: Crops) -> HeatMaps:
    from dfutils.training.backbones import network_of, pooled_maps
    from dfutils.training.backend import keras, tf

    network = keras_network(member.network)
    backbone = network.backbone
    inner = network_of(backbone)
    blocks = keras.Model(inner.input, pooled_maps(inner, member.settings.backbone))
    scaled = tf.convert_to_tensor(images)
    for layer in backbone.layers[1 : backbone.layers.index(inner)]:  # the scaling that the backbone's family expects
        scaled = layer(scaled)
    maps = keras.tree.flatten(blocks(scaled, training=False))
    features = tf.concat([tf.reduce_mean(one, axis=[1, 2]) for one in maps], axis=-1)[None]
    with tf.GradientTape() as tape:
        tape.watch(features)
        probability = tf.clip_by_value(network.head(features, training=False), 1e-6, 1 - 1e-6)
        logit = tf.math.log(probability / (1 - probability))
    gradient: Any = tape.gradient(logit, features)[0]
    weights = tf.split(gradient, [one.shape[-1] for one in maps], axis=-1)
    own = [tf.einsum("thwc,tc->thw", one, weight)[..., None] for one, weight in zip(maps, weights, strict=True)]
    heat = tf.add_n([tf.image.resize(one, maps[0].shape[1:3]) for one in own])
    return np.asarray(tf.nn.relu(heat[..., 0]), np.float64)


def _logits(detector: Detector, clips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    scores = [score.fake_probability for score in detector.score_clips(clips)]
    clipped = np.clip(np.array(scores, np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _mixed(below: Crops, above: Crops, where: npt.NDArray[np.bool_]) -> Crops:
    return np.where(where[..., None], above, below).astype(np.uint8)


def _blurred(images: Crops) -> Crops:
    sigma = BLUR_SHARE * images.shape[1]
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images]).astype(np.uint8)


def _scaled(heat: HeatMaps) -> HeatMaps:
    top = float(heat.max())
    return heat / top if top > 0 else heat
