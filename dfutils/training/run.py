"""A face dataset to a run folder: split, leak report, features, training, calibration, everything written down."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import dfutils
from dfutils.errors import RunError, TimeBudgetError
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.files import read_csv, sha256_of, write_json
from dfutils.pretrained import resolve_detector
from dfutils.records import SPLIT_NAMES, ClipRow, SplitName
from dfutils.runs.record import DetectorRecord
from dfutils.runs.thresholds import calibrated, fit_temperature, operating_points
from dfutils.settings import TrainingSettings, has_frame_head
from dfutils.training.backbones import Backbone, build_backbone
from dfutils.training.checkpoint import CHECKPOINTS
from dfutils.training.devices import require_one_worker, training_devices
from dfutils.training.events import EventWriter
from dfutils.training.features import Features, backbone_key, clip_features
from dfutils.training.finetune import FinetuneData, Start, finetune
from dfutils.training.fit import Flags, fit_head
from dfutils.training.leaks import find_leaks
from dfutils.training.model import ClipNetwork, compose, detector_name
from dfutils.training.run_folder import (
    is_finished,
    load_network,
    mark_finished,
    read_network,
    write_keras_model,
    write_predictions,
    write_weights,
)
from dfutils.training.splits import extend_split, read_splits, split_videos, write_splits

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """The clips of a run, aligned: ``rows[i]`` and ``sides[i]`` are one clip."""

    dataset: FaceDataset
    rows: tuple[ClipRow, ...]
    sides: npt.NDArray[np.str_]

    def on(self, *names: SplitName) -> tuple[ClipRow, ...]:
        """Clips on these sides of the split."""
        return tuple(row for row, side in zip(self.rows, self.sides, strict=True) if side in names)


class Trained(NamedTuple):
    """A network, the crops a second that it was trained on, and whether the time budget let training end by itself."""

    network: ClipNetwork
    images_per_second: float
    is_complete: bool = True


def train(
    faces: Path,
    run: Path,
    *,
    settings: TrainingSettings,
    splits_file: Path | None = None,
    assignment: Mapping[str, SplitName] | None = None,
    since: float | None = None,
    progress: bool = True,
) -> DetectorRecord:
    """Train a detector on a face dataset and write the run folder.

    Features are computed once and kept, so a run that was interrupted starts again where the time was spent; a run
    that is finished is left alone.

    Args:
        faces: A face dataset folder.
        run: The run folder to write.
        settings: Saved as ``settings.json``.
        splits_file: A ``splits.csv`` of an earlier run: its groups stay where they were.
        assignment: Every video and its split, as `dfutils.training.splits` deals them; replaces ``splits_file``.
        since: When the time budget began, by `time.monotonic`; by default now.
        progress: Show bars on a terminal.

    Raises:
        RunError: ``run`` holds a finished run with other settings or data, or this is to be one of several machines.
        TimeBudgetError: The time budget was used up. ``run`` holds a detector made of the best epoch so far, and the
            same call goes on with the training.
        DfutilsError: The dataset, split or weights are not usable; says why.
    """
    require_one_worker()
    dataset = read_face_dataset(faces).reframed(size=settings.size, margin=settings.margin)
    rows = training_rows(dataset)
    identity = {
        "settings": settings.identity(),
        "dataset": sha256_of(faces / "manifest.csv"),
        "splits_file": sha256_of(splits_file) if splits_file else None,
    }
    if assignment is not None:
        identity["assignment"] = _checksum(assignment)
    if is_finished(run, identity):
        logger.info("%s: is finished already", run)
        return DetectorRecord.read(run / "detector.json")
    _check_length(settings.model, rows[0])
    started = time.monotonic()
    if assignment is None:
        assignment = _assign(rows, settings, splits_file)
    leaks = find_leaks(rows, assignment, lambda row: dataset.load_clip(row)[0])
    settings.write(run / "settings.json")
    write_splits(run / "splits.csv", rows, assignment)
    write_json(run / "leaks.json", {**leaks.as_document(), "lines": leaks.lines()})
    for line in leaks.lines():
        logger.info("Leak report: %s", line)

    data = TrainingData(dataset, rows, np.array([assignment[row.video] for row in rows]))
    logger.info("Clips: %s", ", ".join(f"{len(data.on(name))} {name}" for name in SPLIT_NAMES))
    events = EventWriter(run / "tensorboard") if settings.tensorboard else None
    with training_devices(settings) as devices:
        start = _start(settings, dataset)
        backbone = start.backbone
        logger.info(
            "Backbone %s, weights: %s (%s); devices: %s",
            backbone.family,
            backbone.weights,
            backbone.origin,
            devices.names,
        )
        if settings.mode == "cached":
            trained = _train_head(run, data, backbone, settings, events=events, progress=progress)
        else:
            own = FinetuneData(dataset, data.on("train"), data.on("validation"))
            tuned = finetune(
                own,
                start,
                settings=settings,
                run=run,
                identity=identity,
                since=since,
                events=events,
                progress=progress,
            )
            trained = Trained(tuned.network, _usual_speed(run / "history.csv"), tuned.is_complete)
    (run / "run.json").unlink(missing_ok=True)  # of a part that the time budget ended
    is_mirrored = devices.strategy == "mirrored"
    detector = _finish(run, trained.network, backbone, data, settings, is_mirrored=is_mirrored, progress=progress)
    about = {**asdict(devices), "images_per_second": round(trained.images_per_second, 1)}
    about["is_complete"] = trained.is_complete
    mark_finished(run, identity, rows, backbone, leaks, about=about, seconds=time.monotonic() - started)
    if not trained.is_complete:
        raise TimeBudgetError(
            f"{run}: the time budget of {settings.finetune.time_budget_hours:g} h is used up; the best epoch so far is "
            "kept as a detector. Give the same command to go on."
        )
    for name in CHECKPOINTS:
        (run / name).unlink(missing_ok=True)
    return detector


def training_rows(dataset: FaceDataset) -> tuple[ClipRow, ...]:
    """What is trained on: the main person of each video."""
    return tuple(row for row in dataset.rows if row.track == 0)


def _start(settings: TrainingSettings, dataset: FaceDataset) -> Start:
    size = dataset.settings.size
    if settings.init_from is None:
        return Start(build_backbone(settings.backbone_weights, size=size, seed=settings.seed, family=settings.backbone))
    network, known = load_network(resolve_detector(settings.init_from))
    if known.backbone != settings.backbone:
        raise RunError(
            f"{settings.init_from}: its backbone is {known.backbone}, not {settings.backbone}. "
            f"Set backbone to {known.backbone} in the settings."
        )
    if known.extraction.size != size:
        raise RunError(
            f"{settings.init_from}: was trained on crops of {known.extraction.size} pixels, "
            f"{dataset.folder} has {size}. Extract with the same size."
        )
    origin = f"fine-tuned by the run {known.name}, from {known.backbone_weights}"
    backbone = Backbone(network.backbone, known.backbone_weights, known.weights_sha256, origin, known.backbone)
    return Start(backbone, network.head if known.model == settings.model else None)


def _train_head(
    run: Path,
    data: TrainingData,
    backbone: Backbone,
    settings: TrainingSettings,
    *,
    events: EventWriter | None,
    progress: bool,
) -> Trained:
    key = backbone_key(backbone.checksum, size=data.dataset.settings.size, family=backbone.family)

    def side(name: SplitName, *, copies: int = 0) -> tuple[Features, Flags]:
        rows = data.on(name)
        seen = [
            clip_features(data.dataset, rows, backbone.model, backbone_key=key, view=view, progress=progress)
            for view in range(1 + copies)
        ]
        return np.concatenate(seen), np.tile([row.is_fake for row in rows], 1 + copies)

    (features, is_fake), validation = side("train", copies=settings.augmented_copies), side("validation")
    started = time.monotonic()
    head = fit_head(
        features,
        is_fake,
        validation=validation,
        settings=settings,
        history_file=run / "history.csv",
        events=events,
        progress=progress,
    )
    seconds = time.monotonic() - started
    images = len(read_csv(run / "history.csv", ())) * features.shape[0] * features.shape[1]
    network = compose(backbone.model, head, frames=data.rows[0].frames, size=data.dataset.settings.size)
    return Trained(network, images / seconds)


def _usual_speed(history_file: Path) -> float:
    rows = read_csv(history_file, ("images_per_second",))
    return float(np.median([float(row["images_per_second"]) for row in rows]))


def _check_length(model: str, row: ClipRow) -> None:
    if row.frames == 1 and not has_frame_head(model):
        raise RunError(
            f"model {model}: needs clips, and this dataset holds still images. Choose a model with a frame head "
            "such as inception_mean."
        )


def _checksum(assignment: Mapping[str, SplitName]) -> str:
    return hashlib.sha256(json.dumps(sorted(assignment.items())).encode()).hexdigest()


def _assign(rows: Sequence[ClipRow], settings: TrainingSettings, splits_file: Path | None) -> dict[str, SplitName]:
    if splits_file is None:
        return split_videos(rows, settings.split)
    return extend_split(read_splits(splits_file), rows, settings.split)


def _finish(
    run: Path,
    network: ClipNetwork,
    backbone: Backbone,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    is_mirrored: bool,
    progress: bool,
) -> DetectorRecord:
    """Calibrate on the validation split and write what a detector is made of."""
    write_weights(run, network)
    weights, extraction = run / "model.weights.h5", data.dataset.settings
    if settings.mode == "finetune" or is_mirrored:
        # Scores are of the network that will be loaded, not of the mirrored, half-precision one that was trained.
        frames = data.rows[0].frames
        network = read_network(
            weights, model=settings.model, frames=frames, size=extraction.size, family=backbone.family
        )
    write_keras_model(run, network)
    checksum = sha256_of(weights)
    # A frozen backbone's features are known by its own weights; one that was trained is known by the whole's.
    backbone_checksum = backbone.checksum if settings.mode == "cached" else checksum
    key = backbone_key(backbone_checksum, size=extraction.size, family=backbone.family)
    # Scoring every training crop of a large set again would take longer than it is worth.
    rows = data.rows if settings.mode == "cached" else data.on("validation", "test")
    raw, _ = network.score(clip_features(data.dataset, rows, network.backbone, backbone_key=key, progress=progress))
    known = set(rows)
    sides = np.array([side for row, side in zip(data.rows, data.sides, strict=True) if row in known])
    is_fake, held = np.array([row.is_fake for row in rows]), sides == "validation"
    temperature = fit_temperature(is_fake[held], raw[held])
    probability = calibrated(raw, temperature)
    points = operating_points(is_fake[held], probability[held])
    detector = DetectorRecord(
        name=detector_name(settings.model, backbone.family),
        version=dfutils.__version__,
        model=settings.model,
        extraction=extraction,
        backbone=backbone.family,
        backbone_weights=backbone.weights,
        backbone_checksum=backbone_checksum,
        weights_sha256=checksum,
        temperature=temperature,
        threshold=points[0].threshold,
        operating_points=points,
    )
    write_predictions(run, rows, sides, raw, probability)
    detector.write(run / "detector.json")
    return detector
