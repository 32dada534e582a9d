"""What several tests of training share: scores of a run, training in another process, and how often it is traced."""

from contextlib import contextmanager

import pytest

from dfutils.files import read_csv
from dfutils.training.optimizer import ReplicaModel

TRAIN = """
import sys
from pathlib import Path
from dfutils.settings import TrainingSettings
from dfutils.training.run import train
settings = TrainingSettings.model_validate_json(sys.argv[3])
train(Path(sys.argv[1]), Path(sys.argv[2]), settings=settings, progress=False)
"""
"""A program; its arguments are a face dataset, a run folder and settings as JSON."""


@contextmanager
def traced_steps():
    """Yield a list that gets an entry each time that TensorFlow traces a training step in this process."""
    entries, step = [], ReplicaModel.train_step

    def traced(self, data):
        entries.append(self.name)
        return step(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReplicaModel, "train_step", traced)
        yield entries


def probabilities(run):
    """Raw probability of every clip of a run."""
    rows = read_csv(run / "predictions.csv", ("clip_id", "raw_probability"))
    return {row["clip_id"]: float(row["raw_probability"]) for row in rows}
