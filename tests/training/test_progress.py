"""Progress of a training: metrics, speed and time left."""

import io
import logging
import struct

import pytest
import tensorflow as tf

from dfutils.training import progress
from dfutils.training.progress import EventWriter, TrainingProgress


class Terminal(io.StringIO):
    """Stands for stderr on a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only pass when told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def train_two_epochs(clock, *, seconds, shown=True):
    with TrainingProgress(epochs=3, images=200, shown=shown) as bar:
        for epoch in range(2):
            for _ in range(2):
                clock[0] += seconds / 4
                bar.advance(100, {"loss": 0.5, "auc": 0.75})
            clock[0] += seconds / 2  # validation
            bar.end_epoch(epoch, {"loss": 0.5, "auc": 0.75, "val_loss": 0.6, "val_auc": 0.625, "learning_rate": 1.0})


def test_the_bar_shows_loss_auc_speed_and_time_left(monkeypatch, clock):
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    train_two_epochs(clock, seconds=1)
    last = stderr.getvalue().rstrip().splitlines()[-1].split("\r")[-1]
    assert "epoch 3 of 3:  67%" in last
    assert "400/600 [" in last
    assert "<" in last
    assert "img/s" in last
    assert last.endswith("loss=0.500, auc=0.750, val_auc=0.625]")


@pytest.mark.parametrize("shown", [True, False])
def test_long_epochs_get_a_log_line(clock, caplog, capsys, shown):
    caplog.set_level(logging.INFO)
    train_two_epochs(clock, seconds=40, shown=shown)
    assert caplog.messages == [
        "epoch 1 of 3: loss 0.500, auc 0.750, val_loss 0.600, val_auc 0.625; 10 images/s, at most 0:01:20 left",
        "epoch 2 of 3: loss 0.500, auc 0.750, val_loss 0.600, val_auc 0.625; 10 images/s, at most 0:00:40 left",
    ]
    assert "img" not in capsys.readouterr().err


def test_quick_epochs_get_no_line(clock, caplog):
    caplog.set_level(logging.INFO)
    train_two_epochs(clock, seconds=19)
    assert caplog.messages == []


def test_a_notebook_shows_the_lines(clock, capsys):
    from dfutils.notebook import start_notebook

    loggers = [logging.getLogger(name) for name in ("dfutils", "dfutils.training.progress")]
    before = [(logger.level, logger.handlers, logger.propagate) for logger in loggers]
    try:
        start_notebook()
        train_two_epochs(clock, seconds=40)
    finally:
        for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
            logger.level, logger.handlers, logger.propagate = level, handlers, propagate
    shown = capsys.readouterr()
    assert "10 images/s" in shown.out
    assert shown.err == ""


def test_a_resumed_training_counts_earlier_images(monkeypatch):
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    with TrainingProgress(epochs=3, images=200, done=250) as bar:
        bar.advance(50, {})
    assert "epoch 2 of 3:  50%" in stderr.getvalue().split("\r")[-1]


def test_event_files_hold_every_epoch(tmp_path):
    writer = EventWriter(tmp_path / "tensorboard")
    writer.on_epoch_end(0, {"loss": 0.5, "val_auc": 0.75})
    writer.on_epoch_end(1, {"loss": 0.25})
    [path] = (tmp_path / "tensorboard").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    found = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            number = struct.unpack("<f", value.tensor.tensor_content)[0] if value.tensor.tensor_content else None
            found.append((event.step, value.tag, number if number is not None else value.tensor.float_val[0]))
    assert found == [(0, "loss", 0.5), (0, "val_auc", 0.75), (1, "loss", 0.25)]
