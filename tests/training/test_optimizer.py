"""Learning rates, smoothed targets and early stopping of fine-tuning, computed by hand."""

import keras
import numpy as np
import pytest
from rounding import TRAINED

from dfutils.runs.folder import RunFolder
from dfutils.runs.identity import RunIdentity
from dfutils.settings import FinetuneSettings, TrainingSettings
from dfutils.training.finetune import _Trainer
from dfutils.training.job import TrainingJob
from dfutils.training.optimizer import ScaledAdamW, build_loss, build_optimizer, plateau_factor


def optimizer_of(**own):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    optimizer = build_optimizer(0.1, FinetuneSettings(**own), weight_decay=0.0, steps=20, backbone=model)
    optimizer.build(model.trainable_variables)
    return optimizer


def rates(optimizer, *steps):
    return [float(optimizer.schedule(step)) for step in steps]


def test_the_rate_rises_and_then_falls_along_a_cosine():
    # Of 20 steps 4 rise to 0.1; of the other 16, half way is half of it.
    optimizer = optimizer_of(warmup_fraction=0.2)
    assert rates(optimizer, 0, 2, 4, 12, 20) == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-6)


def test_without_warm_up_the_rate_falls_at_once():
    assert rates(optimizer_of(warmup_fraction=0), 0, 10, 20) == pytest.approx([0.1, 0.05, 0], abs=1e-6)


def test_the_rate_rises_and_then_stays_until_it_is_lowered():
    optimizer = optimizer_of(warmup_fraction=0.2, schedule="plateau")
    assert rates(optimizer, 0, 2, 4, 20) == pytest.approx([0, 0.05, 0.1, 0.1])
    optimizer.schedule.factor.assign(0.5)
    assert rates(optimizer, 2, 20) == pytest.approx([0.025, 0.05])


@pytest.mark.parametrize(
    ("aucs", "factor"),
    [
        pytest.param([], 1, id="nothing yet"),
        pytest.param([0.5, 0.6, 0.7, 0.8], 1, id="better each time"),
        pytest.param([0.8, 0.7], 1, id="worse once"),
        pytest.param([0.8, 0.7, 0.8], 0.5, id="worse, then only as good"),
        pytest.param([0.8, 0.7, 0.7, 0.9, 0.8], 0.5, id="better again: the rate stays low"),
        pytest.param([0.8, 0.7, 0.7, 0.7, 0.7], 0.25, id="twice"),
    ],
)
def test_the_rate_halves_after_two_epochs_without_a_better_auc(aucs, factor):
    assert plateau_factor(aucs, patience=2) == factor


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    """A rate of 0.1 that halves every step, and how often it was asked for."""

    def __init__(self):
        self.asked = 0

    def __call__(self, step):
        self.asked += 1
        return 0.1 * 0.5 ** keras.ops.cast(step, "float32")


def test_weights_decay_as_in_keras_and_the_schedule_is_evaluated_once_a_step():
    def train(kind):
        schedule, weights = Halving(), [keras.Variable(np.full(2, value, np.float32)) for value in (1, 2, 3)]
        own = {"backbone_paths": [weights[0].path], "backbone_lr_multiplier": 10.0} if kind is ScaledAdamW else {}
        optimizer = kind(schedule, weight_decay=0.5, **own)
        optimizer.build(weights)
        for _ in range(2):
            # Without a gradient only the decay is left, which is the same for backbone and head.
            optimizer.apply([keras.ops.zeros(2) for _ in weights])
        return schedule.asked, np.array([keras.ops.convert_to_numpy(weight) for weight in weights])

    (_, expected), (asked, weights) = train(keras.optimizers.AdamW), train(ScaledAdamW)
    assert asked == 2
    assert weights == pytest.approx(expected, rel=TRAINED)
    assert weights[0] == pytest.approx([0.95 * 0.975] * 2)


def test_targets_are_smoothed_as_in_keras():
    targets, predicted = np.array([[0.0], [1.0]]), np.array([[0.3], [0.6]])
    smoothed = np.array([[0.1], [0.9]])
    expected = -np.mean(smoothed * np.log(predicted) + (1 - smoothed) * np.log(1 - predicted))
    assert float(build_loss(FinetuneSettings(label_smoothing=0.2))(targets, predicted)) == pytest.approx(expected)


def trainer_after(run, *, aucs, epochs=10, patience=2, schedule="cosine"):
    settings = TrainingSettings(epochs=epochs, patience=patience, finetune={"schedule": schedule})
    optimizer = optimizer_of(schedule=schedule, warmup_fraction=0)
    model = type("Model", (), {"optimizer": optimizer})()
    job = TrainingJob(None, settings, RunFolder(run), RunIdentity(settings, dataset=""), began=0.0)
    trainer = _Trainer(model, None, job, steps_per_epoch=3)
    trainer.state.step = 3 * len(aucs)
    trainer.state.history = [{"val_auc": auc} for auc in aucs]
    trainer.state.best_epoch = int(np.argmax(aucs)) if aucs else -1
    return trainer


@pytest.mark.parametrize(
    ("aucs", "epochs", "goes_on"),
    [
        pytest.param([], 10, True, id="nothing yet"),
        pytest.param([0.8, 0.7], 10, True, id="one epoch without a better AUC"),
        pytest.param([0.8, 0.7, 0.7], 10, False, id="as many as patience allows"),
        pytest.param([0.6, 0.7, 0.8], 3, False, id="all epochs are done"),
    ],
)
def test_training_stops_when_validation_auc_no_longer_rises(tmp_path, aucs, epochs, goes_on):
    assert trainer_after(tmp_path, aucs=aucs, epochs=epochs).goes_on == goes_on


def test_a_resumed_training_takes_its_rate_from_its_history(tmp_path):
    trainer = trainer_after(tmp_path, aucs=[0.8, 0.7, 0.7], patience=4, schedule="plateau")
    trainer.lower_rate()
    assert float(trainer.optimizer.learning_rate) == pytest.approx(0.05)
