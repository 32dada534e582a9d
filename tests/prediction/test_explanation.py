"""Heat maps mark what the score rests on, are tested against random maps, and depend on the weights."""

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from dfutils.prediction.detector import Detector
from dfutils.prediction.explanation import (
    Faithfulness,
    _member_cam,
    grad_cam,
    heat_images,
    measure_faithfulness,
    occlusion_maps,
    overlay,
)
from dfutils.prediction.members import Member
from dfutils.runs.record import DetectorRecord
from dfutils.settings import ExtractionSettings
from dfutils.training.backbones import build_backbone
from dfutils.training.model import build_head, compose

FEATURES = 2048
SIZE = 160
"""Gives InceptionV3's last block 3 × 3 positions."""


@pytest.fixture(scope="module")
def detector():
    """An untrained network whose head finds some channels suspicious and others reassuring."""
    return untrained("InceptionV3")


def untrained(family):
    backbone = build_backbone("random", size=SIZE, family=family)
    head = build_head("inception_mean", frames=2, channels=backbone.model.output.shape[-1])
    network = compose(backbone.model, head, frames=2, size=SIZE)
    draw_head(network, seed=1)
    settings = DetectorRecord(
        name="drawn",
        version="0",
        model="inception_mean",
        extraction=ExtractionSettings(frames=2, size=SIZE),
        backbone=family,
        backbone_weights="random",
        backbone_checksum=backbone.checksum,
        weights_sha256="",
    )
    return Detector(settings, [Member(settings, network)], Path())


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 255, (2, SIZE, SIZE, 3), np.uint8)


def draw_head(network, *, seed):
    rng = np.random.default_rng(seed)
    layer = network.head.get_layer("frame_logits")
    layer.set_weights([rng.normal(0, 0.02, weights.shape) for weights in layer.get_weights()])


PLANTED_SIZE, PLANTED_GRID = 40, 4


def planted_backbone():
    """Measure fine detail at 4 × 4 positions and ignore all but the upper left quarter.

    A second derivative with both signs, averaged in squares of 10 pixels, is followed by a dense layer with one input
    and output per position and sign: its weights are 1 on the diagonal for the positions that matter, else 0.
    """
    images = keras.Input((PLANTED_SIZE, PLANTED_SIZE, 3))
    detail = keras.layers.Conv2D(2, 3, padding="same", activation="relu", use_bias=False, name="detail")(images)
    places = keras.layers.AveragePooling2D(PLANTED_SIZE // PLANTED_GRID)(detail)
    shape = places.shape[1:]
    kept = keras.layers.Dense(int(np.prod(shape)), use_bias=False, name="kept")(keras.layers.Flatten()(places))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Reshape(shape)(kept))
    network = keras.Model(images, pooled)
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)[..., None] / 12 * np.ones(3, np.float32)
    network.get_layer("detail").set_weights([np.stack([laplacian, -laplacian], axis=-1)])
    matters = np.zeros(shape, np.float32)
    matters[: PLANTED_GRID // 2, : PLANTED_GRID // 2] = 1
    network.get_layer("kept").set_weights([np.diag(matters.ravel())])
    crops = keras.Input((PLANTED_SIZE, PLANTED_SIZE, 3), dtype="uint8")
    return keras.Model(crops, network(keras.layers.Rescaling(1 / 255)(crops)))


@pytest.fixture(scope="module")
def planted(detector):
    """A detector that sees FAKE in the fine detail of the upper left quarter of a crop, and nowhere else."""
    head = build_head("inception_mean", frames=2, channels=2)
    head.get_layer("frame_logits").set_weights([np.full((2, 1), 150.0), np.array([-4.0])])
    network = compose(planted_backbone(), head, frames=2, size=PLANTED_SIZE)
    cut = ExtractionSettings(frames=2, size=PLANTED_SIZE)
    settings = detector.settings.model_copy(update={"name": "planted", "extraction": cut})
    return Detector(settings, [Member(settings, network)], Path())


@pytest.fixture(scope="module")
def noisy():
    return np.random.default_rng(0).integers(0, 255, (2, PLANTED_SIZE, PLANTED_SIZE, 3), np.uint8)


@pytest.mark.parametrize("explain", [occlusion_maps, grad_cam])
def test_only_the_planted_quarter_is_marked(planted, noisy, explain):
    heat = explain(planted, noisy, grid=PLANTED_GRID) if explain is occlusion_maps else explain(planted, noisy)
    assert heat.shape == (2, PLANTED_GRID, PLANTED_GRID)
    assert heat[0, :2, :2].min() > 0.2
    assert heat[0, 3].max() == heat[0, :, 3].max() == 0  # the blur spreads a little beyond the quarter
    assert max(heat[0, 2].max(), heat[0, :, 2].max()) < 0.1


def test_a_true_map_beats_random_ones_and_its_opposite_does_not(planted, noisy):
    true = grad_cam(planted, noisy)
    good = measure_faithfulness(planted, noisy, true)
    bad = measure_faithfulness(planted, noisy, 1 - true)
    assert good.beats_random
    assert "says something" in good.sentence()
    assert not bad.beats_random
    assert "no better than chance" in bad.sentence()


def test_grad_cam_depends_on_the_weights(detector, clip):
    """A map that survives a change of weights explains the image, not the model (Adebayo et al. 2018)."""
    network = detector.members[0].network
    learnt, before = network.head.get_weights(), grad_cam(detector, clip)
    try:
        draw_head(network, seed=2)
        after = grad_cam(detector, clip)
    finally:
        network.head.set_weights(learnt)
    assert before.shape == (2, 3, 3)
    assert before.min() >= 0
    assert before.max() == pytest.approx(1)
    assert np.abs(before - after).mean() > 0.1
    assert np.allclose(grad_cam(detector, clip), before, atol=1e-5)


def test_the_maps_of_all_blocks_that_the_head_sees_are_added_up(clip):
    member = untrained("InceptionV3Blocks").members[0]
    layer = member.network.head.get_layer("frame_logits")

    def map_of(*channels):
        kernel = np.zeros((10048, 1), np.float32)
        kernel[np.r_[channels]] = 1e-3  # small, so that the probability is not 1
        layer.set_weights([kernel, np.zeros(1)])
        return _member_cam(member, clip)

    first, last = slice(0, 256), slice(10048 - FEATURES, 10048)
    both = map_of(first, last)
    assert both.shape == (2, 17, 17)  # the first block's, while the last has 3 × 3
    assert both == pytest.approx(map_of(first) + map_of(last), rel=1e-4)
    assert min(np.ptp(map_of(first)), np.ptp(map_of(last))) > 0


def test_the_hot_part_of_an_image_stands_out():
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    shown = overlay(np.full((40, 40, 3), 120, np.uint8), heat)
    assert shown[2, 2].sum() > 2 * shown[35, 35].sum()


def test_each_different_face_of_a_clip_is_drawn_once_with_its_own_scale(monkeypatch):
    heat = np.zeros((4, 4, 4))
    heat[0, 0, 0], heat[3, 0, 0] = 1, 0.1
    monkeypatch.setattr("dfutils.prediction.explanation.grad_cam", lambda _detector, _crops: heat)
    crops = tuple(SimpleNamespace(frame_index=index) for index in (5, 5, 8, 9))
    clip = SimpleNamespace(crops=crops, images=np.full((4, 40, 40, 3), 120, np.uint8))
    images = heat_images(None, clip)
    assert list(images) == [0, 2, 3]
    assert np.array_equal(images[0], images[3])
    assert images[2].max() < 120


def test_beating_random_means_both_ways():
    assert not Faithfulness(0.1, 0.5, (0.2, 0.3), (0.4, 0.6)).beats_random
    assert Faithfulness(0.1, 0.7, (0.2, 0.3), (0.4, 0.6)).beats_random
