"""A face dataset to a run folder: split, leak report, features, training, calibration, everything written down."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import dfutils
from dfutils.errors import RunError
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.files import sha256_of, write_json
from dfutils.records import SPLIT_NAMES, ClipRow, SplitName
from dfutils.settings import DetectorSettings, TrainingSettings
from dfutils.training.features import Features, backbone_key, clip_features
from dfutils.training.fit import Flags, fit_head
from dfutils.training.leaks import find_leaks
from dfutils.training.model import Backbone, ClipNetwork, build_backbone, compose, has_frame_head, score_features
from dfutils.training.operating import calibrated, choose_threshold, fit_temperature
from dfutils.training.run_folder import is_finished, mark_finished, write_predictions, write_weights
from dfutils.training.splits import extend_split, read_splits, split_videos, write_splits

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """The clips of a run, aligned: ``rows[i]``, ``sides[i]``, ``is_fake[i]`` and ``features[i]`` are one clip."""

    dataset: FaceDataset
    rows: tuple[ClipRow, ...]
    sides: npt.NDArray[np.str_]
    is_fake: Flags
    features: Features

    def side(self, name: SplitName) -> tuple[Features, Flags]:
        """Features and labels of one side of the split."""
        chosen = self.sides == name
        return self.features[chosen], self.is_fake[chosen]


def train(
    faces: Path, run: Path, *, settings: TrainingSettings, splits_file: Path | None = None, progress: bool = True
) -> DetectorSettings:
    """Train a detector on a face dataset and write the run folder.

    Features are computed once and kept, so a run that was interrupted starts again where the time was spent; a run
    that is finished is left alone.

    Args:
        faces: A face dataset folder.
        run: The run folder to write.
        settings: Saved as ``settings.json``.
        splits_file: A ``splits.csv`` of an earlier run: its groups stay where they were.
        progress: Show bars on a terminal.

    Raises:
        RunError: ``run`` holds a finished run with other settings or data.
        DfutilsError: The dataset, split or weights are not usable; says why.
    """
    dataset = read_face_dataset(faces)
    rows = tuple(row for row in dataset.rows if row.track == 0)
    identity = {
        "settings": settings.model_dump(mode="json"),
        "dataset": sha256_of(faces / "manifest.csv"),
        "splits_file": sha256_of(splits_file) if splits_file else None,
    }
    if is_finished(run, identity):
        logger.info("%s: is finished already", run)
        return DetectorSettings.read(run / "detector.json")
    _check_length(settings.model, rows[0])
    started = time.monotonic()
    assignment = _assign(rows, settings, splits_file)
    leaks = find_leaks(rows, assignment, lambda row: dataset.load_clip(row)[0])
    settings.write(run / "settings.json")
    write_splits(run / "splits.csv", rows, assignment)
    write_json(run / "leaks.json", {**leaks.as_document(), "lines": leaks.lines()})
    for line in leaks.lines():
        logger.info("Leak report: %s", line)

    backbone = build_backbone(settings.backbone_weights, size=dataset.settings.size, seed=settings.seed)
    logger.info("Backbone weights: %s (%s)", backbone.weights, backbone.origin)
    data = _load(dataset, rows, assignment, backbone, progress=progress)
    head = fit_head(
        *data.side("train"),
        validation=data.side("validation"),
        settings=settings,
        history_file=run / "history.csv",
        progress=progress,
    )
    network = compose(backbone.model, head, frames=rows[0].frames, size=dataset.settings.size)
    detector = _finish(run, network, backbone, data)
    mark_finished(run, identity, rows, backbone, leaks, seconds=time.monotonic() - started)
    return detector


def _check_length(model: str, row: ClipRow) -> None:
    if row.frames == 1 and not has_frame_head(model):
        raise RunError(
            f"model {model}: needs clips, and this dataset holds still pictures. Choose a model with a frame head "
            "such as inception_mean."
        )


def _assign(rows: Sequence[ClipRow], settings: TrainingSettings, splits_file: Path | None) -> dict[str, SplitName]:
    if splits_file is None:
        return split_videos(rows, settings.split)
    return extend_split(read_splits(splits_file), rows, settings.split)


def _load(
    dataset: FaceDataset,
    rows: tuple[ClipRow, ...],
    assignment: dict[str, SplitName],
    backbone: Backbone,
    *,
    progress: bool,
) -> TrainingData:
    key = backbone_key(backbone.checksum, size=dataset.settings.size)
    features = clip_features(dataset, rows, backbone.model, backbone_key=key, progress=progress)
    sides = np.array([assignment[row.video] for row in rows])
    counts = ", ".join(f"{int(np.sum(sides == name))} {name}" for name in SPLIT_NAMES)
    logger.info("Clips: %s", counts)
    return TrainingData(dataset, rows, sides, np.array([row.is_fake for row in rows]), features)


def _finish(run: Path, network: ClipNetwork, backbone: Backbone, data: TrainingData) -> DetectorSettings:
    """Calibrate on the validation split and write what a detector is made of."""
    raw, _ = score_features(network, data.features)
    held, is_fake = data.sides == "validation", data.is_fake
    temperature = fit_temperature(is_fake[held], raw[held])
    probability = calibrated(raw, temperature)
    write_weights(run, network)
    detector = DetectorSettings(
        name=network.head.name,
        version=dfutils.__version__,
        model=network.head.name,
        extraction=data.dataset.settings,
        backbone_weights=backbone.weights,
        backbone_checksum=backbone.checksum,
        weights_sha256=sha256_of(run / "model.weights.h5"),
        temperature=temperature,
        threshold=choose_threshold(is_fake[held], probability[held]),
    )
    write_predictions(run, data.rows, data.sides, raw, probability)
    detector.write(run / "detector.json")
    return detector
