from typing import get_args

import keras
import numpy as np
import pytest
from rounding import HEAD, SCORE

from dfutils.errors import DfutilsError, WeightsError
from dfutils.pretrained import DEFAULT
from dfutils.runs.probabilities import logit
from dfutils.settings import ModelName
from dfutils.training.backbones import build_backbone
from dfutils.training.model import HEADS, build_head, compose

SIZE, FRAMES, CHANNELS = 32, 2, 1024


def small_backbone(seed):
    return build_backbone("random", size=SIZE, seed=seed, family="MobileNet")


@pytest.fixture(scope="module")
def backbone():
    return small_backbone(seed=1)


def random_clips(count, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, FRAMES, SIZE, SIZE, 3), np.uint8)


def head_for(name, features):
    keras.utils.set_random_seed(0)
    head = build_head(name, frames=FRAMES, channels=features.shape[-1])
    head.get_layer("standardise").adapt(features.reshape(1, -1, features.shape[-1]))
    return head


@pytest.fixture(scope="module")
def features():
    """Features of 6 clips, scaled like a trained backbone's."""
    return np.random.default_rng(0).normal(0.4, 0.3, (6, FRAMES, CHANNELS)).astype(np.float32)


def test_the_same_seed_gives_the_same_random_backbone(backbone):
    (first, *_), (again, *_), (other, *_) = (
        one.model.get_weights() for one in (backbone, small_backbone(seed=1), small_backbone(seed=2))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (backbone.weights, backbone.checksum) == ("random", "he-normal-1")


@pytest.mark.parametrize("name", HEADS)
def test_the_composed_model_equals_its_parts(backbone, name):
    clips = random_clips(2)
    parts = backbone.features(clips.reshape(-1, SIZE, SIZE, 3)).reshape(2, FRAMES, -1)
    network = compose(backbone.model, head_for(name, parts), frames=FRAMES, size=SIZE)
    whole = network.clip_model.predict(clips, verbose=0)[:, 0]
    assert whole == pytest.approx(network.score(parts)[0], abs=SCORE)
    assert network.clip_model.output.dtype == "float32"


@pytest.mark.parametrize("name", ["inception_gru", "inception_lstm_gru"])
def test_time_matters_to_recurrent_models(name, features):
    head = head_for(name, features)
    forward, backward = head.predict(features, verbose=0), head.predict(features[:, ::-1], verbose=0)
    assert np.abs(forward - backward).max() > 1e-3


def test_time_does_not_matter_to_the_frame_average(features):
    head = head_for("inception_mean", features)
    assert np.allclose(head.predict(features, verbose=0), head.predict(features[:, ::-1], verbose=0), atol=HEAD)


def test_the_lstm_gru_head_has_the_layers_of_the_reference_system():
    head = build_head("inception_lstm_gru", frames=FRAMES, channels=8)
    layers = [
        (type(layer).__name__, getattr(layer, "units", getattr(layer, "rate", None))) for layer in head.layers[2:]
    ]
    assert layers == [("LSTM", 128), ("GRU", 128), ("Dropout", 0.5), ("Dense", 64), ("Dense", 1), ("Activation", None)]


def test_frame_scores_average_to_the_clip_score_in_logits(backbone, features):
    network = compose(backbone.model, head_for("inception_mean", features), frames=FRAMES, size=SIZE)
    clips, frames = network.score(features)
    assert frames.shape == (6, FRAMES)
    logits = np.log(frames / (1 - frames)).mean(axis=1)
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(clips, abs=HEAD)


@pytest.mark.parametrize("name", HEADS)
def test_a_clip_has_the_same_score_alone_and_among_others(backbone, features, name):
    network = compose(backbone.model, head_for(name, features), frames=FRAMES, size=SIZE)
    clips, frames = network.score(features)
    for number in range(len(features)):
        alone, own_frames = network.score(features[number : number + 1])
        assert alone == pytest.approx(clips[number : number + 1], abs=HEAD)
        assert frames is own_frames is None or own_frames == pytest.approx(frames[number : number + 1], abs=HEAD)


@pytest.mark.parametrize("name", HEADS)
def test_confident_scores_keep_their_logits(backbone, features, name):
    head = head_for(name, features)
    last = head.get_layer("frame_logits" if name == "inception_mean" else "logit")
    kernel, bias = last.get_weights()
    last.set_weights([0 * kernel, 0 * bias + 12.3])  # float32 would make 12.305 of it
    clips, frames = compose(backbone.model, head, frames=FRAMES, size=SIZE).score(features)
    assert frames is None or logit(frames) == pytest.approx(np.full(frames.shape, 12.3), rel=HEAD)
    assert logit(clips) == pytest.approx(np.full(len(clips), 12.3), rel=HEAD)


def test_one_frame_is_enough_for_the_frame_average(backbone, features):
    network = compose(backbone.model, head_for("inception_mean", features), frames=FRAMES, size=SIZE)
    clips, frames = network.score(features[:, :1])
    assert clips == pytest.approx(frames[:, 0], abs=HEAD)


def test_an_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(DfutilsError, match=r"inception_gruu.*inception_lstm_gru, inception_gru, inception_mean"):
        build_head("inception_gruu", frames=FRAMES, channels=8)


def test_unknown_backbone_weights_are_an_error_before_anything_is_built():
    with pytest.raises(WeightsError, match="neither a file nor one of"):
        build_backbone("imagenett", size=SIZE)


def test_without_any_weights_the_message_says_why_and_what_works_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("DFUTILS_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("DFUTILS_CACHE", str(tmp_path))
    monkeypatch.setenv("DFUTILS_KAGGLE_INPUT", str(tmp_path))
    with pytest.raises(WeightsError) as raised:
        build_backbone("auto", size=SIZE)
    assert str(raised.value) == (
        "backbone weights inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5: not on this machine, and "
        f"DFUTILS_OFFLINE is set, which prevents their download. Give --init-from {DEFAULT} to start from the included "
        f"detector; or unset DFUTILS_OFFLINE; or put the file into {tmp_path / 'weights'} or a folder named in "
        "$DFUTILS_WEIGHTS, or attach a Kaggle dataset that holds it."
    )


def test_every_model_that_settings_accept_can_be_built():
    assert tuple(HEADS) == get_args(ModelName)
