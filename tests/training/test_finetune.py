"""End-to-end training: resumable to the same weights, and only of the chosen blocks."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from earlier_versions import OLD_SETTINGS, OLD_SETTINGS_TODAY
from rounding import SCORE, TRAINED
from sklearn.metrics import log_loss
from training_helpers import TRAIN, probabilities, traced_steps

from dfutils.errors import RunError, TimeBudgetError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv
from dfutils.runs.identity import RunIdentity
from dfutils.settings import FinetuneSettings, TrainingSettings
from dfutils.training import finetune
from dfutils.training.backbones import build_backbone, network_of
from dfutils.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from dfutils.training.job import Trained
from dfutils.training.model import build_head, compose, standardise
from dfutils.training.optimizer import ScaledAdamW
from dfutils.training.run import train

# Only the last block of a small network is trained: enough to test everything around it, and quick.
FINETUNE = {"unfreeze": "conv_pw_13", "steps_per_epoch": 3, "self_blended": 0.5}
SPLIT = {"test_fraction": 0.34, "validation_fraction": 0.34}
SETTINGS = TrainingSettings(
    model="inception_mean",
    mode="finetune",
    backbone="MobileNet",
    backbone_weights="random",
    epochs=2,
    batch_size=4,
    finetune=FINETUNE,
    split=SPLIT,
)


@pytest.fixture(scope="module")
def traces():
    """Entries of `traced_steps` while `finetuned` was trained."""
    return []


@pytest.fixture(scope="module")
def finetuned(demo_faces, tmp_path_factory, traces):
    run = tmp_path_factory.mktemp("finetuned")
    with traced_steps() as entries:
        train(demo_faces, run, settings=SETTINGS, progress=False)
    traces += entries
    return run


def test_the_step_is_traced_once_in_two_epochs(finetuned, traces):
    assert len(traces) == 1  # a second time takes half a minute with InceptionV3


def validation_loss(run):
    """Loss of the network that was kept, with the same clipping as in training."""
    rows = [row for row in read_csv(run / "predictions.csv", ("clip_id",)) if row["split"] == "validation"]
    probability = np.clip([float(row["raw_probability"]) for row in rows], 1e-6, 1 - 1e-6)
    return log_loss([row["is_fake"] == "true" for row in rows], probability)


def test_the_epoch_with_the_best_validation_is_kept(finetuned):
    history = read_csv(finetuned / "history.csv", ("val_loss", "val_auc"))
    best = max(history, key=lambda row: float(row["val_auc"]))  # the first of several, as training has it
    assert float(best["val_loss"]) == pytest.approx(validation_loss(finetuned), rel=2e-3)


def test_scores_written_by_training_are_those_of_the_saved_weights(finetuned, demo_faces):
    from dfutils.prediction.detector import load_detector

    dataset = read_face_dataset(demo_faces)
    written = probabilities(finetuned)
    rows = [row for row in dataset.rows if row.clip_id in written]
    scores = load_detector(finetuned).score_dataset(dataset, rows, progress=False)
    assert [score.raw_probability for score in scores] == pytest.approx(
        [written[row.clip_id] for row in rows], abs=SCORE
    )


def test_training_starts_from_the_head_of_another_run_and_on_patches(finetuned, demo_faces, tmp_path):
    still = {**FINETUNE, "steps_per_epoch": 1, "patch": 80, "augment": 0, "backbone_lr_multiplier": 2.0}
    values = SETTINGS.model_dump() | {
        "init_from": str(finetuned),
        "epochs": 1,
        "learning_rate": 1e-9,
        "finetune": still,
    }
    train(demo_faces, tmp_path / "run", settings=TrainingSettings.model_validate(values), progress=False)
    known, again = probabilities(finetuned), probabilities(tmp_path / "run")
    assert [again[clip] for clip in known] == pytest.approx(list(known.values()), abs=SCORE)
    (validated,) = read_csv(tmp_path / "run" / "history.csv", ("val_loss",))
    assert float(validated["val_loss"]) == pytest.approx(validation_loss(tmp_path / "run"), rel=2e-3)


def test_a_killed_training_continues_to_the_same_weights(finetuned, demo_faces, tmp_path):
    run = tmp_path / "run"
    settings = SETTINGS.model_copy(
        update={"finetune": SETTINGS.finetune.model_copy(update={"checkpoint_minutes": 1e-6})}
    )
    command = [sys.executable, "-c", TRAIN, str(demo_faces), str(run), settings.model_dump_json()]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while not (run / "checkpoint.npz").exists():
            assert process.poll() is None, "finished before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    with np.load(run / "checkpoint.npz") as kept:
        assert 1 <= json.loads(str(kept["progress"]))["step"] < 6
    train(demo_faces, run, settings=settings, progress=False)
    assert probabilities(run) == pytest.approx(probabilities(finetuned), abs=TRAINED)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    variable, identity = keras.Variable([1.0, 2.0]), RunIdentity(SETTINGS, dataset="d", precision="float32")
    save_checkpoint(tmp_path / "c.npz", TrainingState(step=3), [variable], identity=identity)
    variable.assign([0.0, 0.0])
    for other in ({"settings": TrainingSettings()}, {"dataset": "e"}, {"precision": "mixed_float16"}):
        with pytest.raises(RunError, match="other settings"):
            load_checkpoint(tmp_path / "c.npz", [variable], identity=dataclasses.replace(identity, **other))
    known = load_checkpoint(tmp_path / "c.npz", [variable], identity=identity)
    assert known.step == 3
    assert keras.ops.convert_to_numpy(variable).tolist() == [1.0, 2.0]


def test_a_checkpoint_of_an_earlier_version_is_continued(tmp_path):
    variable = keras.Variable([0.0])
    document = {"step": 7, "best_auc": 0.5, "best_epoch": 0, "history": [], "identity": None}
    document["identity"] = {"settings": OLD_SETTINGS, "dataset": "d", "splits_file": None, "precision": "float32"}
    np.savez(tmp_path / "c.npz", progress=np.array(json.dumps(document)), v0=np.array([4.0]))
    identity = RunIdentity(OLD_SETTINGS_TODAY, dataset="d", precision="float32")
    assert load_checkpoint(tmp_path / "c.npz", [variable], identity=identity).step == 7
    assert float(variable[0]) == 4.0


@pytest.fixture(scope="module")
def budgeted(demo_faces, tmp_path_factory):
    """A training of an hour that began two hours ago: it stopped itself."""
    run = tmp_path_factory.mktemp("budgeted")
    budget = SETTINGS.finetune.model_copy(update={"time_budget_hours": 1})
    settings, since = SETTINGS.model_copy(update={"finetune": budget}), time.monotonic() - 7200
    with pytest.raises(RunError, match="Repeat the same command to continue"):
        train(demo_faces, run, settings=settings, since=since, progress=False)
    assert (run / "checkpoint.npz").is_file()
    return run


@pytest.fixture
def stopped(budgeted, tmp_path):
    return shutil.copytree(budgeted, tmp_path / "run")


def test_a_training_continues_after_its_budget_and_keeps_history_that_was_not_yet_written(
    finetuned, stopped, demo_faces, monkeypatch
):
    run, write = stopped, finetune._write_history

    def die_after_the_last_checkpoint(path, history):
        if len(history) == 2:
            raise KeyboardInterrupt
        write(path, history)

    monkeypatch.setattr(finetune, "_write_history", die_after_the_last_checkpoint)
    with pytest.raises(KeyboardInterrupt):
        train(demo_faces, run, settings=SETTINGS, progress=False)
    assert len(read_csv(run / "history.csv", ("loss",))) == 1
    monkeypatch.setattr(finetune, "_write_history", write)
    train(demo_faces, run, settings=SETTINGS, progress=False)
    assert len(read_csv(run / "history.csv", ("loss",))) == 2
    assert probabilities(run) == pytest.approx(probabilities(finetuned), abs=TRAINED)


def test_a_budget_that_ends_after_an_epoch_leaves_a_detector(demo_faces, tmp_path, monkeypatch):
    def best_so_far(job, start):
        job.run.checkpoint_file.write_bytes(b"")
        job.run.history_file.write_text("epoch,val_auc\n0,0.5\n")
        head = build_head(job.settings.model, frames=job.data.frames, channels=start.backbone.model.output.shape[-1])
        return Trained(compose(start.backbone.model, head, frames=job.data.frames, size=96), 1.0, is_complete=False)

    monkeypatch.setattr("dfutils.training.run.finetune", best_so_far)
    settings = TrainingSettings.model_validate({**SETTINGS.model_dump(), "finetune": {"time_budget_hours": 1}})
    with pytest.raises(TimeBudgetError, match=r"budget of 1 h is used up; the best epoch so far is kept as a detector"):
        train(demo_faces, tmp_path, settings=settings, progress=False)
    assert {"detector.json", "model.weights.h5", "run.json", "checkpoint.npz"} <= {
        one.name for one in tmp_path.iterdir()
    }


def test_training_does_not_continue_in_another_precision(stopped, demo_faces, monkeypatch):
    # Another machine, on which precision="auto" chooses otherwise.
    monkeypatch.setattr("dfutils.training.devices.choose_precision", lambda _wanted: "mixed_float16")
    with pytest.raises(RunError, match="in another precision"):
        train(demo_faces, stopped, settings=SETTINGS, progress=False)


@pytest.mark.parametrize(("unfreeze", "train_batch_norm"), [("all", False), ("mixed10", False), ("mixed10", True)])
def test_only_the_blocks_asked_for_are_trained(unfreeze, train_batch_norm):
    backbone = build_backbone("random", size=75)
    finetune.unfreeze(backbone, FinetuneSettings(unfreeze=unfreeze, train_batch_norm=train_batch_norm))
    layers = network_of(backbone.model).layers
    # A block of InceptionV3 is named by its end, where its branches are joined.
    first = 0 if unfreeze == "all" else [layer.name for layer in layers].index("mixed9") + 1
    trained = []
    for index, layer in enumerate(layers):
        norm = isinstance(layer, keras.layers.BatchNormalization)
        assert layer.trainable == (index >= first and (train_batch_norm or not norm)), layer.name
        trained += [layer] if layer.trainable and isinstance(layer, keras.layers.Conv2D) else []
    assert len(trained) == (94 if unfreeze == "all" else 9)


def test_an_unknown_block_is_named_with_the_known_ones():
    backbone = build_backbone("random", size=75)
    with pytest.raises(RunError, match=r"InceptionV3 has no block 'mixed11'.* mixed0, .*mixed10"):
        finetune.unfreeze(backbone, FinetuneSettings(unfreeze="mixed11"))


def test_the_backbone_learns_at_its_own_rate():
    slow, fast = keras.layers.Dense(1, use_bias=False), keras.layers.Dense(1, use_bias=False)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, [slow(inputs), fast(inputs)])
    slow.set_weights([np.ones((1, 1))])
    fast.set_weights([np.ones((1, 1))])
    optimizer = ScaledAdamW(0.1, weight_decay=0.0, backbone_paths=[slow.kernel.path], backbone_lr_multiplier=0.25)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.ones((1, 1)), keras.ops.ones((1, 1))])
    moved = [1 - float(layer.get_weights()[0][0, 0]) for layer in (slow, fast)]
    assert moved == pytest.approx([0.025, 0.1], rel=1e-3)


def test_channels_that_are_almost_constant_at_the_start_do_not_drown_the_others():
    features = np.random.default_rng(0).normal(size=(4, 16, 9)).astype(np.float32) * ([1e-6] + [1.0] * 7 + [100.0])
    layer = keras.layers.Normalization()
    layer.build((None, None, 9))
    standardise(layer, features, least=1.0)
    scaled = keras.ops.convert_to_numpy(layer(np.ones((1, 1, 9), np.float32)))[0, 0]
    assert abs(scaled[0]) < 2
    assert abs(scaled[-1]) < 0.2
    assert np.std(keras.ops.convert_to_numpy(layer(features))[..., 1]) == pytest.approx(1, abs=0.2)


def one_weight(*values, **kwargs):
    """A variable and an optimiser that was given these gradients, one a step."""
    variable = keras.Variable(np.ones(1, np.float32))
    optimizer = ScaledAdamW(0.1, weight_decay=0.0, **kwargs)
    optimizer.build([variable])
    for value in values:
        optimizer.apply([keras.ops.full((1,), value)])
    return variable, optimizer


def test_gradients_above_the_norm_are_scaled_down():
    # Adam's own step hides the size of a constant gradient, but not that of one larger than those before.
    small, _ = one_weight(0.01, 1.0, clip_norm=0.01)
    same, _ = one_weight(0.01, 0.01)
    large, _ = one_weight(0.01, 1.0)
    assert float(small[0]) == pytest.approx(float(same[0]), abs=1e-6)
    assert float(large[0]) != pytest.approx(float(same[0]), abs=1e-3)


def test_averaged_weights_are_put_in_place_for_a_while():
    variable, optimizer = one_weight(1.0, 1.0, 1.0, use_ema=True, ema_momentum=0.5)
    now = float(variable[0])
    with optimizer.averaged([variable]):
        # Steps of 0.1 from 1: 0.9, 0.8, 0.7; the average starts at the first of them.
        assert float(variable[0]) == pytest.approx(0.25 * 0.9 + 0.25 * 0.8 + 0.5 * 0.7, abs=1e-3)
    assert float(variable[0]) == now
    optimizer.finalize_variable_values([variable])
    assert float(variable[0]) == now


def test_without_averaging_the_weights_stay():
    variable, optimizer = one_weight(1.0)
    with optimizer.averaged([variable]):
        assert float(variable[0]) == pytest.approx(0.9, abs=1e-4)
