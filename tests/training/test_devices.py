"""The devices of a training do not change its result, and impossible devices are refused."""

import contextlib
import json
import subprocess
import sys
import types

import h5py
import numpy as np
import pytest
import tensorflow as tf
from rounding import TRAINED
from training_helpers import probabilities

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


ON_TWO_CPUS = """
import json
import os
import sys
from pathlib import Path

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
import numpy as np

from dfutils.settings import TrainingSettings
from dfutils.training.devices import training_devices
from dfutils.training.fit import fit_head
from dfutils.training.optimizer import ReplicaModel, ScaledAdamW
from dfutils.training.run import train

folder, faces, runs = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
for name, settings in runs.items():
    os.environ["DFUTILS_CACHE"] = str(folder / name / "cache")  # its own: features are computed on two devices too
    train(faces, folder / name / "run", settings=TrainingSettings.model_validate(settings), progress=False)

with training_devices(TrainingSettings.model_validate(runs["finetune-mirrored"])):
    inputs = keras.Input((1,))
    model = ReplicaModel(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    # What Keras makes of an optimiser in mixed_float16.
    optimizer = keras.optimizers.LossScaleOptimizer(ScaledAdamW(0.1, weight_decay=0.0, clip_norm=1.0))
    model.compile(optimizer, loss="mse")
model.set_weights([np.ones((1, 1))])
steps = []
for second in (1e36, 1.0):
    # Of a batch of two, the second replica has the second; scaled, its gradient is beyond float32.
    model.fit(np.array([[1.0], [second]]), np.zeros((2, 1)), batch_size=2, shuffle=False, verbose=0)
    steps.append((float(model.get_weights()[0][0, 0]), float(optimizer.dynamic_scale.numpy())))
(folder / "steps.json").write_text(json.dumps(steps))

keras.layers.Dropout.call = lambda self, inputs, training=False: inputs
rng = np.random.default_rng(0)
heads = (
    ("inception_mean", 21, 4, False, "hierarchical"),
    ("inception_gru", 23, 7, False, "reduce_to_one"),
    ("inception_lstm_gru", 21, 4, True, "auto"),
)
for model, clips, batch_size, weighted, cross_device in heads:
    is_fake = np.arange(clips + 5) % 3 == 0
    features = rng.normal(0, 1, (clips + 5, 2, 2048)).astype(np.float32)
    features[is_fake, :, :20] += 0.5
    for devices in ({"strategy": "none"}, {"strategy": "mirrored", "cross_device": cross_device}):
        settings = TrainingSettings(
            model=model, epochs=3, batch_size=batch_size, class_weights=weighted, devices=devices
        )
        name = f"{model}-{devices['strategy']}"
        with training_devices(settings):
            head = fit_head(
                features[:clips], is_fake[:clips], validation=(features[clips:], is_fake[clips:]),
                settings=settings, history_file=folder / f"{name}.csv", progress=False,
            )
        np.savez(folder / f"{name}.npz", *head.get_weights())
"""
"""A program that sees two devices. It trains detectors, one weight whose gradient overflows, and heads."""

SMALL = TrainingSettings(
    model="inception_mean",
    backbone="MobileNet",
    backbone_weights="random",
    epochs=2,
    split={"test_fraction": 0.34, "validation_fraction": 0.34},
)
FINETUNED = TrainingSettings.model_validate(
    SMALL.model_dump()
    | {
        "mode": "finetune",
        "batch_size": 3,  # one replica has more of a batch than the other
        # A small gradient norm, so that it matters whether each replica's gradients are clipped or their sum.
        "finetune": {"unfreeze": "conv_pw_13", "steps_per_epoch": 3, "augment": 0, "clip_norm": 0.01},
    }
)


def with_strategy(settings, strategy):
    return TrainingSettings.model_validate({**settings.model_dump(), "devices": {"strategy": strategy}})


@pytest.fixture(scope="module")
def trained(demo_faces, tmp_path_factory):
    """What `ON_TWO_CPUS` trained, each on one device and on two."""
    folder = tmp_path_factory.mktemp("two-cpus")
    runs = {
        f"{settings.mode}-{strategy}": with_strategy(settings, strategy).model_dump(mode="json")
        for settings in (SMALL, FINETUNED)
        for strategy in ("none", "mirrored")
    }
    command = [sys.executable, "-c", ON_TWO_CPUS, str(folder), str(demo_faces), json.dumps(runs)]
    subprocess.run(command, check=True)
    return folder


# Of 21 clips in batches of 4, the last batch is 1 and a replica has none; in batches of 7, one has 4 and the other 3.
@pytest.mark.parametrize("model", ["inception_mean", "inception_gru", "inception_lstm_gru"])  # the last with weights
def test_two_replicas_train_the_head_that_one_trains(trained, model):
    alone, shared = (history_of(trained / f"{model}-{name}.csv") for name in ("none", "mirrored"))
    assert len(alone) == len(shared) == 3
    for one, two in zip(alone, shared, strict=True):
        assert two == pytest.approx(one, rel=TRAINED)
    with np.load(trained / f"{model}-none.npz") as alone, np.load(trained / f"{model}-mirrored.npz") as shared:
        for name in alone.files:
            # Adam moves a weight by up to the learning rate in each step, whatever the size of its gradient.
            np.testing.assert_allclose(shared[name], alone[name], atol=0.01 * TrainingSettings().learning_rate)


def history_of(file):
    rows = read_csv(file, ("loss", "val_auc"))
    return [{name: float(value) for name, value in row.items() if name != "images_per_second"} for row in rows]


def about(run):
    found = read_json(run / "run.json")
    assert found["images_per_second"] > 0
    return tuple(found[name] for name in ("names", "strategy", "replicas", "cross_device", "precision"))


def test_a_mirrored_run_equals_that_of_one_device_and_records_its_devices(trained, demo_faces):
    alone, run = (trained / f"cached-{strategy}" / "run" for strategy in ("none", "mirrored"))
    assert probabilities(run) == pytest.approx(probabilities(alone), abs=TRAINED)
    assert about(alone) == ("CPU", "none", 1, "auto", "float32")
    assert about(run) == ("CPU", "mirrored", 2, "auto", "float32")
    # On one device it is the same run, and so finished.
    train(demo_faces, run, settings=with_strategy(SMALL, "none"), progress=False)


def test_two_replicas_finetune_what_one_finetunes(trained):
    alone, run = (trained / f"finetune-{strategy}" / "run" for strategy in ("none", "mirrored"))
    known, found = weights(alone), weights(run)
    assert known.keys() == found.keys()
    for name, values in known.items():
        # Adam moves a weight by up to the learning rate in each step, whatever the size of its gradient.
        np.testing.assert_allclose(found[name], values, atol=0.1 * FINETUNED.learning_rate, err_msg=name)
    for one, two in zip(history_of(alone / "history.csv"), history_of(run / "history.csv"), strict=True):
        assert two == pytest.approx(one, rel=TRAINED)


def weights(run):
    """Every array of the run's weights, by its path."""
    found = {}
    with h5py.File(run / "model.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_a_step_is_skipped_if_the_second_replica_overflows(trained):
    (left_out, halved), (taken, scale) = read_json(trained / "steps.json")
    assert (left_out, halved) == (1.0, 2.0**14)
    assert (taken, scale) == (pytest.approx(0.9, abs=1e-3), 2.0**14)
