"""What several tests of training share: made-up texture, scores of a run, and training in another process."""

import cv2
import numpy as np

from dfutils.files import read_csv

TRAIN = """
import sys
from pathlib import Path
from dfutils.settings import TrainingSettings
from dfutils.training.run import train
settings = TrainingSettings.model_validate_json(sys.argv[3])
train(Path(sys.argv[1]), Path(sys.argv[2]), settings=settings, progress=False)
"""
"""A program; its arguments are a face dataset, a run folder and settings as JSON."""

TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
"""The beginning of a program that sees two CPUs."""


def textured(frames=1, height=96, width=96, seed=0):
    """Smooth coloured blotches with fine grain, different in each frame: any change shows."""
    rng = np.random.default_rng(seed)
    blotches = np.stack(
        [cv2.GaussianBlur(rng.normal(0, 900, (height, width, 3)), (0, 0), 5) + 128 for _ in range(frames)]
    )
    return np.clip(blotches + rng.normal(0, 12, blotches.shape), 0, 255).astype(np.uint8)


def probabilities(run):
    """Raw probability of every clip of a run."""
    rows = read_csv(run / "predictions.csv", ("clip_id", "raw_probability"))
    return {row["clip_id"]: float(row["raw_probability"]) for row in rows}
