"""Settings of the demo's extraction and trainings, and clips that show an empty room or two people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfutils.demo.clips import LABEL_COLUMNS, write_video
from dfutils.demo.people import random_person
from dfutils.demo.rendering import DemoSettings, faceless_frames, two_people_frames
from dfutils.files import read_csv, write_bytes, write_csv
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.runs.folder import RunFolder
from dfutils.settings import ExtractionSettings, FinetuneSettings, TrainingSettings

DEMO_TRAINING = TrainingSettings(model="inception_mean", init_from=DEFAULT, epochs=40, patience=20)
"""Train a head on the backbone of the included detector, which is always available, even offline."""

DEMO_QUICK_LOOK = DEMO_TRAINING.model_copy(update={"model": "inception_lstm_gru", "epochs": 10})
"""The same with a recurrent head: the first training of notebook 3."""

DEMO_FINETUNING = TrainingSettings(
    model="inception_mean",
    mode="finetune",
    backbone="InceptionV3Blocks",
    init_from=DEFAULT,
    epochs=2,
    batch_size=8,
    finetune=FinetuneSettings(
        unfreeze="mixed10", backbone_lr_multiplier=0.1, steps_per_epoch=3, self_blended=0.5, paired=True
    ),
)
"""The second training of notebook 3: a few steps of the last block, half a minute on two CPU cores."""


def demo_extraction() -> ExtractionSettings:
    """Return the default settings, but with the crop size that the backbone of `DEMO_TRAINING` was trained on."""
    start = RunFolder(resolve_detector(DEFAULT)).detector()
    return ExtractionSettings(size=start.extraction.size)


def make_faceless_video(path: Path) -> Path:
    """Write a clip of an empty room, unless the file exists, and return its path."""
    settings = DemoSettings()
    if not path.exists():
        write_video(path, faceless_frames(rng=np.random.default_rng(0), settings=settings), fps=settings.fps)
    return path


def make_two_people_video(path: Path) -> Path:
    """Write a clip of two people side by side, neither forged, unless the file exists, and return its path."""
    settings = DemoSettings()
    if not path.exists():
        rng = np.random.default_rng(1)
        people = (random_person(rng), random_person(rng))
        write_video(path, two_people_frames(people, rng=rng, settings=settings), fps=settings.fps)
    return path


def add_odd_videos(labels: Path) -> Path:
    """Add two videos without a usable face to the demo's: an empty room, and a file that was cut short.

    Args:
        labels: The CSV of `dfutils.demo.clips.make_demo_videos`.

    Returns:
        Path of a second CSV beside it, which lists these videos too.
    """
    rows = read_csv(labels, LABEL_COLUMNS)
    folder = labels.parent / Path(rows[0]["file"]).parent
    make_faceless_video(folder / "room_without_anybody.mp4")
    whole = (labels.parent / rows[0]["file"]).read_bytes()
    write_bytes(folder / "unfinished.mp4", whole[: len(whole) // 3])  # an MP4's index is at its end
    odd = [
        {"file": f"{folder.name}/{name}.mp4", "label": "REAL", "group": name, "dataset": "demo"}
        for name in ("room_without_anybody", "unfinished")
    ]
    listing = labels.with_name("labels-with-odd-ones.csv")
    write_csv(listing, LABEL_COLUMNS, [*rows, *odd])
    return listing
