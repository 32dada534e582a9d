"""Every backbone is built by name, scaled as in its training, and restored from its run folder."""

import json
import shutil
import sys

import keras
import numpy as np
import pytest
from rounding import FEATURES

from dfutils.errors import RunError, WeightsError
from dfutils.files import read_json
from dfutils.settings import FinetuneSettings, TrainingSettings
from dfutils.training.backbones import (
    _scaled,
    block_starts,
    build_backbone,
    encode,
    network_of,
    rebuilt_as,
)
from dfutils.training.families import FAMILIES, keras_name
from dfutils.training.features import feature_cache_key
from dfutils.training.finetune import unfreeze
from dfutils.training.model import build_head, compose
from dfutils.training.run import train
from dfutils.training.saved_network import load_network, read_network, write_weights

# One of each kind: its channels, its last block, and the layer with which that block begins.
KINDS = {
    "InceptionV3Blocks": (10048, "mixed10", "conv2d"),
    "InceptionResNetV2": (1536, "conv_7b_ac", "conv2d"),
    "Xception": (2048, "block14", "block14_sepconv1"),
    "ResNet50": (2048, "conv5_block3", "conv5_block3_1_conv"),
    "ResNet50V2": (2048, "conv5_block3", "conv5_block3_preact_bn"),
    "DenseNet121": (1024, "conv5_block16", "conv5_block16_0_bn"),
    "MobileNet": (1024, "conv_pw_13", "conv_pw_13"),
    "MobileNetV2": (1280, "block_16", "block_16_expand"),
    "MobileNetV3Small": (576, "expanded_conv_10", "expanded_conv_10_expand"),
    "EfficientNetB0": (1280, "block7a", "block7a_expand_conv"),
    "EfficientNetV2B0": (1280, "block6h", "block6h_expand_conv"),
    "ConvNeXtTiny": (768, "stage_3_block_2", "convnext_tiny_stage_3_block_2_depthwise_conv"),
    "VGG16": (512, "block5", "block5_conv1"),
}

READ_BACK = {"DenseNet121", "MobileNetV3Small", "EfficientNetB0", "VGG16"}
"""One of each scaling."""


def size_of(family):
    return 75 if family.startswith(("Inception", "Xception")) else 32


def images(size, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.mark.parametrize("family", KINDS)
def test_a_backbone_is_built_and_read_back_by_its_name(family, tmp_path):
    channels, last_block, first_layer = KINDS[family]
    size = size_of(family)
    backbone = build_backbone("random", size=size, seed=1, family=family)
    assert backbone.model.output.shape == (None, channels)
    network = network_of(backbone.model)
    starts = block_starts(network, family)
    assert list(starts.values()) == sorted(starts.values())
    assert list(starts)[-1] == last_block
    assert network.layers[starts[last_block]].name.startswith(first_layer)
    features = keras.ops.convert_to_numpy(backbone.model(images(size)))
    assert np.abs(features[0] - features[1]).max() > 1e-5  # a head could not tell smaller differences apart
    if family not in READ_BACK:
        return
    head = build_head("inception_mean", frames=1, channels=channels)
    whole = compose(backbone.model, head, frames=1, size=size)
    write_weights(tmp_path, whole)
    again = read_network(tmp_path / "model.weights.h5", model="inception_mean", frames=1, size=size, family=family)
    assert np.array_equal(keras.ops.convert_to_numpy(again.backbone(images(size))), features)


@pytest.mark.parametrize("family", ["InceptionV3", "VGG16"])
def test_the_same_layers_encode_images_of_another_size(family):
    size = size_of(family)
    small, large = (build_backbone("random", size=one, seed=1, family=family) for one in (size, size + 21))
    crops = keras.Input((size + 21, size + 21, 3), dtype="uint8")
    again = keras.Model(crops, encode(small, crops))
    assert {id(one) for one in again.weights} == {id(one) for one in small.model.weights}
    features = keras.ops.convert_to_numpy(large.model(images(size + 21)))
    found = keras.ops.convert_to_numpy(again(images(size + 21)))
    assert np.allclose(found, features, rtol=0, atol=FEATURES * features.max())


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_scaled_as_keras_does_for_the_family(family):
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    scaled = keras.Model(inputs, _scaled(inputs, FAMILIES[family].scaling))(images(4))
    network = getattr(keras.applications, keras_name(family))
    preprocess = sys.modules[network.__module__].preprocess_input
    expected = preprocess(images(4).astype(np.float32))
    if FAMILIES[family].scaling == "own, squared":
        # What the network does first, and what Keras adds to it with its own copy of the weights.
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        expected = (expected / 255 - mean) / np.sqrt(deviation) / np.sqrt(deviation)
        scaled = (scaled / 255 - mean) / np.sqrt(deviation)
    assert np.allclose(scaled, expected, atol=1e-4)


def test_families_have_the_names_of_keras():
    assert all(callable(getattr(keras.applications, keras_name(family))) for family in FAMILIES)


def test_the_features_of_all_blocks_are_the_means_of_each():
    size = size_of("InceptionV3")
    plain = build_backbone("random", size=size, seed=1)
    blocks = rebuilt_as("InceptionV3Blocks", plain.model, size=size)
    features, last = (keras.ops.convert_to_numpy(model(images(size))) for model in (blocks, plain.model))
    assert np.allclose(features[:, -2048:], last, rtol=0, atol=FEATURES * last.max())
    network = network_of(plain.model)
    third = keras.Model(network.input, network.get_layer("mixed2").output)
    maps = keras.ops.convert_to_numpy(third(images(size).astype(np.float32) / 127.5 - 1))
    found = features[:, 256 + 288 : 256 + 288 + 288]
    assert np.allclose(found, maps.mean(axis=(1, 2)), rtol=0, atol=FEATURES * maps.max())


def test_an_unknown_backbone_is_named_with_the_known_ones():
    with pytest.raises(RunError, match=r"'InceptionV5'.*InceptionV3, InceptionV3Blocks, InceptionResNetV2"):
        build_backbone("random", size=75, family="InceptionV5")


def test_a_size_that_the_backbone_cannot_take_is_refused():
    with pytest.raises(RunError, match="Xception: cannot be built for 32 pixels"):
        build_backbone("random", size=32, family="Xception")


def test_weights_of_another_backbone_are_refused(tmp_path):
    path = tmp_path / "mobile.weights.h5"
    first = build_backbone("random", size=32, seed=1, family="MobileNet")
    network_of(first.model).save_weights(path)
    with pytest.raises(WeightsError, match="does not fit MobileNetV2"):
        build_backbone(str(path), size=32, family="MobileNetV2")
    same = build_backbone(str(path), size=32, family="MobileNet")
    assert np.array_equal(same.model(images(32)), first.model(images(32)))
    assert same.weights == "mobile.weights.h5"


@pytest.mark.parametrize("weights", ["auto", "imagenet", "nsfwjs"])
def test_weights_of_inception_are_not_used_for_another_backbone(weights):
    with pytest.raises(WeightsError, match="random"):
        build_backbone(weights, size=32, family="MobileNetV2")


def test_features_are_cached_under_the_name_of_their_backbone():
    # Spelled out: a change would make all features that people have cached stale.
    assert feature_cache_key("c", size=299) == (
        '{"architecture": "InceptionV3", "layer": "avg_pool", "scaling": "-1..1", "size": 299, "weights": "c"}'
    )
    assert len({feature_cache_key("he-normal-0", size=75, family=family) for family in FAMILIES}) == len(FAMILIES)


def test_the_backbone_of_another_run_must_be_of_the_same_family(demo_run, demo_faces, tmp_path):
    settings = TrainingSettings(backbone="Xception", init_from=str(demo_run))
    with pytest.raises(RunError, match="its backbone is InceptionV3, not Xception"):
        train(demo_faces, tmp_path / "run", settings=settings, progress=False)


def test_a_detector_that_names_no_backbone_has_inception(demo_run, tmp_path):
    run = shutil.copytree(demo_run, tmp_path / "run")
    document = read_json(run / "detector.json")
    assert document.pop("backbone") == "InceptionV3"
    (run / "detector.json").write_text(json.dumps(document))
    network, settings = load_network(run)
    assert settings.backbone == "InceptionV3"
    assert network.backbone.output.shape == (None, 2048)


def test_blocks_of_any_backbone_can_be_unfrozen():
    backbone = build_backbone("random", size=32, family="MobileNetV2")
    unfreeze(backbone, FinetuneSettings(unfreeze="block_16"))
    trained = [layer.name for layer in network_of(backbone.model).layers if layer.trainable and layer.weights]
    assert trained == ["block_16_expand", "block_16_depthwise", "block_16_project", "Conv_1"]
