"""Candidate heads give probabilities, and are judged by the rule."""

import numpy as np
import pytest

from dfutils.runs.folder import RunFolder
from research import heads


@pytest.mark.parametrize("name", heads.CANDIDATES)
def test_a_candidate_gives_one_probability_per_clip_that_depends_on_the_order_of_frames(name):
    features = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32)
    head = heads.CANDIDATES[name](5, 7)
    assert head.name == name
    assert head.get_layer("standardise")
    probability, reverse = (np.asarray(head(values)) for values in (features, features[:, ::-1]))
    assert probability.shape == (3, 1)
    assert ((probability > 0) & (probability < 1)).all()
    assert np.abs(probability - reverse).max() > 1e-6


def head(low, high):
    estimate = {"value": (low + high) / 2, "low": low, "high": high}
    return {"auc": estimate, "difference": estimate, "log_loss": estimate, "weights": 1000}


@pytest.mark.parametrize(("low", "high", "earns"), [(0.01, 0.1, True), (-0.01, 0.1, False), (-0.2, -0.1, False)])
def test_a_head_earns_its_place_with_an_interval_above_zero(low, high, earns):
    assert heads.earns_its_place(head(low, high)) == earns
    names = {name: head(-0.1, 0.1) for name in (*heads.EXISTING, *heads.CANDIDATES)}
    results = {
        "clips": 9, "groups": 3, "size": 96, "folds": 3, "seeds": 1, "best": "inception_gru",
        "backbone": {"family": "InceptionV3", "weights": "random"},
        "heads": {**names, "transformer": head(low, high)},
    }  # fmt: skip
    text = heads.markdown(results)
    assert ("Added: transformer." in text) == earns
    assert ("No candidate was added." in text) != earns


def test_a_head_without_an_interval_is_not_added():
    assert not heads.earns_its_place({"difference": {"value": 0.2, "low": None, "high": None}})


def test_the_backbone_of_a_run_is_known_by_its_own_checksum(demo_run, tmp_path):
    found = heads.choose_backbone(heads.Options(tmp_path, run=demo_run), 96)
    settings = RunFolder(demo_run).detector()
    assert (found.checksum, found.family) == (settings.backbone_checksum, settings.backbone)
    assert settings.name in found.weights
