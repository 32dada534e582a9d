"""The devices of a training do not change its result, and impossible devices are refused."""

import contextlib
import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from rounding import TRAINED
from training_helpers import TRAIN, TWO_DEVICES, probabilities

from dfutils.errors import RunError
from dfutils.files import read_csv, read_json
from dfutils.settings import TrainingSettings
from dfutils.training.devices import SEVERAL_WORKERS, mirrored_strategy, require_one_worker, training_devices
from dfutils.training.run import train

TWO_WORKERS = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}


def set_cluster(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize("value", ["", {}, {"cluster": {"worker": ["a:1"]}}, {"cluster": {"chief": ["a:1"]}}])
def test_one_machine_may_train(monkeypatch, value):
    set_cluster(monkeypatch, value)
    require_one_worker()


@pytest.mark.parametrize("value", [TWO_WORKERS, {"cluster": {"chief": ["a:1"], "worker": ["b:1"]}}])
def test_several_machines_are_refused_with_the_reason(monkeypatch, value):
    set_cluster(monkeypatch, value)
    with pytest.raises(RunError, match="names 2 workers") as error:
        require_one_worker()
    assert SEVERAL_WORKERS in str(error.value)


@pytest.mark.parametrize("value", ["{", "[]", '{"cluster": []}'])
def test_a_cluster_that_cannot_be_read_is_refused(monkeypatch, value):
    set_cluster(monkeypatch, value)
    with pytest.raises(RunError, match="TF_CONFIG"):
        require_one_worker()


def test_training_is_refused_before_anything_is_written(monkeypatch, demo_faces, tmp_path):
    set_cluster(monkeypatch, TWO_WORKERS)
    with pytest.raises(RunError, match="several machines"):
        train(demo_faces, tmp_path / "run", settings=TrainingSettings(backbone_weights="random"))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, and the arguments that strategies on it were made with."""
    made = []

    def mirrored(devices, cross_device_ops):
        made.append((devices, cross_device_ops))
        return types.SimpleNamespace(scope=contextlib.nullcontext, num_replicas_in_sync=len(devices))

    gpus = [types.SimpleNamespace(name=f"/device:GPU:{number}") for number in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus if kind == "GPU" else [])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", mirrored)
    mirrored_strategy.cache_clear()
    yield made
    mirrored_strategy.cache_clear()


def devices_of(mode, **devices):
    with training_devices(TrainingSettings(mode=mode, devices=devices)) as chosen:
        return chosen


@pytest.mark.parametrize(
    ("mode", "strategy", "replicas"),
    [
        ("cached", "auto", 1),
        ("cached", "mirrored", 2),
        ("cached", "none", 1),
        ("finetune", "auto", 2),
        ("finetune", "mirrored", 2),
        ("finetune", "none", 1),
    ],
)
def test_several_gpus_are_used_for_finetuning_or_on_request(two_gpus, mode, strategy, replicas):
    chosen = devices_of(mode, strategy=strategy)
    assert (chosen.replicas, chosen.strategy) == (replicas, "mirrored" if replicas == 2 else "none")
    assert len(two_gpus) == replicas - 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("auto", type(None)),
        ("nccl", tf.distribute.NcclAllReduce),
        ("hierarchical", tf.distribute.HierarchicalCopyAllReduce),
        ("reduce_to_one", tf.distribute.ReductionToOneDevice),
    ],
)
def test_gradients_are_summed_as_the_settings_say(two_gpus, name, kind):
    assert devices_of("finetune", cross_device=name).cross_device == name
    [(devices, operation)] = two_gpus
    assert devices == ["/device:GPU:0", "/device:GPU:1"]
    assert type(operation) is kind


def test_nccl_is_refused_without_a_gpu():
    with pytest.raises(RunError, match="between GPUs"):
        devices_of("cached", strategy="mirrored", cross_device="nccl")


HEADS = """
import sys
from pathlib import Path
import keras
import numpy as np
from dfutils.settings import TrainingSettings
from dfutils.training.devices import training_devices
from dfutils.training.fit import fit_head
keras.layers.Dropout.call = lambda self, inputs, training=False: inputs
rng = np.random.default_rng(0)
ways = {
    "none": {"strategy": "none"},
    "auto": {"strategy": "mirrored"},
    "hierarchical": {"strategy": "mirrored", "cross_device": "hierarchical"},
    "reduce_to_one": {"strategy": "mirrored", "cross_device": "reduce_to_one"},
}
heads = (
    ("inception_mean", 21, 4, False, list(ways)),
    ("inception_gru", 23, 7, False, ["none", "auto"]),
    ("inception_lstm_gru", 21, 4, True, ["none", "auto"]),
)
for model, clips, batch_size, weighted, names in heads:
    is_fake = np.arange(clips + 5) % 3 == 0
    features = rng.normal(0, 1, (clips + 5, 2, 2048)).astype(np.float32)
    features[is_fake, :, :20] += 0.5
    for way in names:
        settings = TrainingSettings(
            model=model, epochs=3, batch_size=batch_size, class_weights=weighted, devices=ways[way]
        )
        with training_devices(settings):
            head = fit_head(
                features[:clips], is_fake[:clips], validation=(features[clips:], is_fake[clips:]),
                settings=settings, history_file=Path(sys.argv[1], f"{model}-{way}.csv"), progress=False,
            )
        np.savez(Path(sys.argv[1], f"{model}-{way}.npz"), *head.get_weights())
"""


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    subprocess.run([sys.executable, "-c", TWO_DEVICES + HEADS, str(folder)], check=True)
    return folder


# Of 21 clips in batches of 4, the last batch is 1 and a replica has none; in batches of 7, one has 4 and the other 3.
@pytest.mark.parametrize(
    ("model", "way"),
    [
        ("inception_mean", "auto"),
        ("inception_mean", "hierarchical"),
        ("inception_mean", "reduce_to_one"),
        ("inception_gru", "auto"),
        ("inception_lstm_gru", "auto"),  # this one with class weights
    ],
)
def test_two_replicas_train_the_head_that_one_trains(heads, model, way):
    alone, shared = (read_csv(heads / f"{model}-{name}.csv", ("loss", "val_auc")) for name in ("none", way))
    assert len(alone) == len(shared) == 3
    for one, two in zip(alone, shared, strict=True):
        assert {name: float(value) for name, value in two.items()} == pytest.approx(
            {name: float(value) for name, value in one.items()}, rel=TRAINED
        )
    with np.load(heads / f"{model}-none.npz") as alone, np.load(heads / f"{model}-{way}.npz") as shared:
        for name in alone.files:
            # Adam moves a weight by up to the learning rate in each step, whatever the size of its gradient.
            np.testing.assert_allclose(shared[name], alone[name], atol=0.01 * TrainingSettings().learning_rate)


def about(run):
    found = read_json(run / "run.json")
    assert found["images_per_second"] > 0
    return tuple(found[name] for name in ("names", "strategy", "replicas", "cross_device", "precision"))


def test_a_mirrored_run_equals_that_of_one_device_and_records_its_devices(demo_run, demo_faces, tmp_path):
    alone, run = TrainingSettings.read(demo_run / "settings.json"), tmp_path / "run"
    settings = TrainingSettings.model_validate({**alone.model_dump(), "devices": {"strategy": "mirrored"}})
    # With a cache of its own: the features are computed on two devices too.
    environment = {**os.environ, "DFUTILS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", TWO_DEVICES + TRAIN, str(demo_faces), str(run), settings.model_dump_json()]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert probabilities(run) == pytest.approx(probabilities(demo_run), abs=TRAINED)
    assert about(demo_run) == ("CPU", "none", 1, "auto", "float32")
    assert about(run) == ("CPU", "mirrored", 2, "auto", "float32")
    # On one device it is the same run, and so finished.
    train(demo_faces, run, settings=alone, progress=False)
