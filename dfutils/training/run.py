"""Train a detector, from a face dataset to a run folder: split, leak report, features, training, calibration."""

from __future__ import annotations

import logging
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dfutils
from dfutils.errors import RunError, TimeBudgetError
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.files import only_job, read_csv, refuse_other_content, sha256_of, write_csv, write_json
from dfutils.pretrained import resolve_detector
from dfutils.records import SPLIT_NAMES, ClipRow, SplitName
from dfutils.runs.familiarity import MAX_UNFAMILIAR_RATE, MOST_CROPS, Familiarity, fit_limit
from dfutils.runs.folder import CHECKSUMMED, PREDICTION_COLUMNS, RunFolder
from dfutils.runs.identity import RunIdentity, assignment_checksum, is_finished
from dfutils.runs.probabilities import calibrated_logits, sigmoid
from dfutils.runs.record import DetectorRecord, FamiliarityRecord
from dfutils.runs.thresholds import HeldOutScores, fit_decision
from dfutils.settings import TrainingSettings, has_frame_head
from dfutils.statistics.conformal import fewest_groups
from dfutils.training.augmentation import augment_clip
from dfutils.training.backbones import Backbone, build_backbone, rebuilt_as
from dfutils.training.backend import keras, tf
from dfutils.training.devices import Devices, require_one_worker, training_devices
from dfutils.training.families import family_of, keras_name
from dfutils.training.features import Features, clip_features, feature_cache_key
from dfutils.training.finetune import Start, finetune
from dfutils.training.fit import Flags, fit_head
from dfutils.training.job import Trained, TrainingData, TrainingJob
from dfutils.training.leaks import find_leaks
from dfutils.training.model import compose, detector_name
from dfutils.training.saved_network import load_network, read_network, write_weights
from dfutils.training.splits import extend_split, group_videos, read_splits, split_videos, write_splits

logger = logging.getLogger(__name__)


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

    Features are computed once and cached, so that an interrupted run does not repeat the slow part. A finished run is
    left alone.

    Args:
        faces: A face dataset folder.
        run: The run folder to write.
        settings: Saved as ``settings.json``.
        splits_file: A ``splits.csv`` of an earlier run; its groups stay in their splits.
        assignment: The split of every video, as from `dfutils.training.splits`; replaces ``splits_file``.
        since: When the time budget began, by `time.monotonic`; by default now.
        progress: Show bars on a terminal.

    Raises:
        RunError: ``run`` holds a finished run with other settings or data, the loss is not a number, or ``TF_CONFIG``
            names several machines.
        TimeBudgetError: The time budget is used up. ``run`` holds a detector with the best epoch so far, and the same
            call continues the training.
        DfutilsError: The dataset, split or weights cannot be used, ``run`` holds something else than a run, or another
            job trains into it; the message says why.
    """
    require_one_worker()
    family_of(settings.backbone)  # fail now, not after the leak report
    dataset = read_face_dataset(faces)
    rows = training_rows(dataset)
    folder = RunFolder(run)
    identity = RunIdentity(
        settings,
        dataset=sha256_of(faces / "manifest.csv"),
        splits_file=sha256_of(splits_file) if splits_file else None,
        assignment=None if assignment is None else assignment_checksum(assignment),
    )
    if is_finished(folder, identity):
        logger.info("%s: is already finished", run)
        return folder.detector()
    refuse_other_content(run, "a run")
    if rows[0].frames == 1 and not has_frame_head(settings.model):
        raise RunError(
            f"model {settings.model}: needs clips, but this dataset holds still images. Choose a model with a frame "
            "head such as inception_mean."
        )
    dataset = _framed(dataset, settings)
    started = time.monotonic()
    with only_job(run):
        if assignment is None:
            old = read_splits(splits_file) if splits_file else None
            assignment = split_videos(rows, settings.split) if old is None else extend_split(old, rows, settings.split)
        leaks = find_leaks(rows, assignment, lambda row: dataset.load_clip(row)[0])
        settings.write(folder.settings_file)
        write_splits(folder.splits_file, rows, assignment)
        write_json(folder.leaks_file, {**leaks.as_document(), "lines": leaks.lines()})
        for line in leaks.lines():
            logger.info("Leak report: %s", line)

        data = TrainingData(dataset, rows, np.array([assignment[row.video] for row in rows]))
        logger.info("Clips: %s", ", ".join(f"{len(data.in_splits(name))} {name}" for name in SPLIT_NAMES))
        job = TrainingJob(data, settings, folder, identity, started if since is None else since, progress)
        # Keras counts layers per process and writes their names into the weight file: without counting anew, the same
        # training would write other bytes after another training.
        keras.backend.clear_session()
        with training_devices(settings) as devices:
            start = _start(settings, dataset)
            backbone = start.backbone
            described = (backbone.family, backbone.weights, backbone.origin, devices.names)
            logger.info("Backbone %s, weights: %s (%s); devices: %s", *described)
            trained = _train_head(job, backbone) if settings.mode == "cached" else finetune(job, start)
        folder.about_file.unlink(missing_ok=True)  # left by an earlier call that the time budget ended
        detector = _write_detector(job, trained, backbone, devices)
        about = {"leaks": leaks.lines(), "seconds": round(time.monotonic() - started, 1)}
        write_json(folder.about_file, {**_about(job, trained, backbone, devices), **about})
        if not trained.is_complete:
            raise TimeBudgetError(
                f"{run}: the time budget of {settings.finetune.time_budget_hours:g} h is used up; the best epoch so "
                "far is kept as a detector. Repeat the same command to continue."
            )
        for path in (folder.checkpoint_file, folder.best_file):
            path.unlink(missing_ok=True)
        return detector


def training_rows(dataset: FaceDataset) -> tuple[ClipRow, ...]:
    """Return the clips to train on: the main person of each video."""
    return tuple(row for row in dataset.rows if row.track == 0)


def _framed(dataset: FaceDataset, settings: TrainingSettings) -> FaceDataset:
    """Return the dataset with the crops to train on: those of the settings, or else of the network to start from.

    Larger crops than that network was trained on are reduced, as they are when it is evaluated.

    Raises:
        DatasetError: The stored crops are too small.
        RunError: The network to start from was trained on crops of another size.
    """
    start, size = settings.init_from, settings.size
    if start is None:
        return dataset.reframed(size=size, margin=settings.margin)
    needed = RunFolder(resolve_detector(start)).detector().extraction.size
    if size not in (None, needed):
        raise RunError(
            f"{start}: was trained on crops of {needed} pixels, but the setting size is {size}. "
            f"Set size to {needed}, or leave it out."
        )
    framed = dataset.reframed(size=needed, margin=settings.margin)
    if size is None and needed != dataset.settings.size:
        logger.info("%s: takes crops of %d pixels; those of %d are reduced", start, needed, dataset.settings.size)
    return framed


def _start(settings: TrainingSettings, dataset: FaceDataset) -> Start:
    size = dataset.settings.size
    if settings.init_from is None:
        return Start(build_backbone(settings.backbone_weights, size=size, seed=settings.seed, family=settings.backbone))
    network, known = load_network(resolve_detector(settings.init_from))
    is_same = known.backbone == settings.backbone
    if keras_name(known.backbone) != keras_name(settings.backbone):
        raise RunError(
            f"{settings.init_from}: its backbone is {known.backbone}, not {settings.backbone}. "
            f"Set backbone to {known.backbone} in the settings."
        )
    origin = f"fine-tuned by the run {known.name}, from {known.backbone_weights}"
    if not is_same and settings.mode == "finetune":
        logger.info("The head of %s is not used: it reads features of %s", known.name, known.backbone)
    model = network.backbone if is_same else rebuilt_as(settings.backbone, network.backbone, size=size)
    backbone = Backbone(model, known.backbone_weights, known.weights_sha256, origin, settings.backbone)
    return Start(backbone, network.head if is_same and known.model == settings.model else None)


def _train_head(job: TrainingJob, backbone: Backbone) -> Trained:
    data, settings, size = job.data, job.settings, job.data.dataset.settings.size
    key = feature_cache_key(backbone.checksum, size=size, family=backbone.family)

    def labelled_features(name: SplitName, *, copies: int = 0) -> tuple[Features, Flags]:
        rows = data.in_splits(name)
        seen = [
            clip_features(data.dataset, rows, backbone.features, cache_key=key, copy=copy, progress=job.show_progress)
            for copy in range(1 + copies)
        ]
        return np.concatenate(seen), np.tile([row.is_fake for row in rows], 1 + copies)

    features, is_fake = labelled_features("train", copies=settings.augmented_copies)
    validation = labelled_features("validation")
    started = time.monotonic()
    head = fit_head(
        features,
        is_fake,
        validation=validation,
        settings=settings,
        history_file=job.run.history_file,
        callbacks=job.callbacks(),
        progress=job.show_progress,
    )
    seconds = time.monotonic() - started
    images = len(read_csv(job.run.history_file, ())) * features.shape[0] * features.shape[1]
    return Trained(compose(backbone.model, head, frames=data.frames, size=size), images / seconds)


def _write_detector(job: TrainingJob, trained: Trained, backbone: Backbone, devices: Devices) -> DetectorRecord:
    """Calibrate on the validation split and write weights, predictions and ``detector.json``."""
    data, settings, run = job.data, job.settings, job.run
    network, extraction = trained.network, data.dataset.settings
    write_weights(run.path, network)
    if settings.mode == "finetune" or devices.strategy == "mirrored":
        # Score with the network as it will be loaded, not with the mirrored, half-precision one that was trained.
        network = read_network(
            run.weights_file, model=settings.model, frames=data.frames, size=extraction.size, family=backbone.family
        )
    checksum = sha256_of(run.weights_file)
    # The features of a frozen backbone are identified by its own weights, those of a trained one by all weights.
    backbone_checksum = backbone.checksum if settings.mode == "cached" else checksum
    key = feature_cache_key(backbone_checksum, size=extraction.size, family=backbone.family)
    # Scoring every training crop of a large dataset again would take longer than it is worth.
    is_scored = np.array([settings.mode == "cached" or split != "train" for split in data.splits])
    rows = tuple(row for row, scored in zip(data.rows, is_scored, strict=True) if scored)
    splits = data.splits[is_scored]
    features = clip_features(data.dataset, rows, network.features, cache_key=key, progress=job.show_progress)
    raw, _ = network.score(features)
    is_fake, held = np.array([row.is_fake for row in rows]), splits == "validation"
    groups = {video: group.name for group in group_videos(data.rows) for video in group.videos}
    scores = HeldOutScores(is_fake[held], raw[held], np.array([groups[row.video] for row in rows])[held])
    detector = DetectorRecord(
        name=detector_name(settings.model, backbone.family),
        version=dfutils.__version__,
        model=settings.model,
        extraction=extraction,
        backbone=backbone.family,
        backbone_weights=backbone.weights,
        backbone_checksum=backbone_checksum,
        weights_sha256=checksum,
        **fit_decision(scores),
    )
    familiarity = _fit_familiarity(job, scores.groups[~scores.is_fake])
    detector = detector.model_copy(update={"familiarity": familiarity})
    probability = sigmoid(calibrated_logits(detector, raw))
    predictions = (
        (row.clip_id, row.video, split, str(row.is_fake).lower(), f"{one:.9g}", f"{fake:.9g}")
        for row, split, one, fake in zip(rows, splits, raw, probability, strict=True)
    )
    write_csv(
        run.predictions_file,
        PREDICTION_COLUMNS,
        (dict(zip(PREDICTION_COLUMNS, values, strict=True)) for values in predictions),
    )
    detector.write(run.detector_file)
    return detector


def _fit_familiarity(job: TrainingJob, groups: npt.NDArray[Any]) -> FamiliarityRecord | None:
    """Write the statistics of the training crops, as they are and augmented; None with too few validation groups.

    Args:
        job: The training.
        groups: Group of each REAL validation clip.
    """
    if len(set(groups)) < fewest_groups(MAX_UNFAMILIAR_RATE):
        return None
    data = job.data
    rows = data.in_splits("train")
    rng = np.random.default_rng(job.settings.seed)
    sizes = Counter(row.dataset for row in rows)
    chances = np.array([1 / sizes[row.dataset] for row in rows])  # all data sets alike, however large
    chosen = rng.choice(len(rows), min(len(rows), MOST_CROPS), replace=False, p=chances / chances.sum())
    crops = np.stack([data.dataset.load_frames(rows[number], [data.frames // 2])[0] for number in chosen])
    known = Familiarity.of(np.concatenate([crops, *(augment_clip(crop[None], rng=rng) for crop in crops)]))
    real = [row for row in data.in_splits("validation") if not row.is_fake]
    distances = np.array([known.distance(data.dataset.load_clip(row)) for row in real])
    return fit_limit(distances, groups, sha256=known.write(job.run.familiarity_file))


def _about(job: TrainingJob, trained: Trained, backbone: Backbone, devices: Devices) -> dict[str, Any]:
    """Return the content of ``run.json``: what was trained, on what, and by which versions."""
    commit = None
    with suppress(OSError, subprocess.TimeoutExpired):  # no git, or no checkout: there is no commit
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        commit = done.stdout.strip() or None
    return {
        "identity": job.identity.document(),
        "clips": len(job.data.rows),
        "groups": len({row.group for row in job.data.rows}),
        "backbone": {name: getattr(backbone, name) for name in ("family", "weights", "checksum", "origin")},
        **asdict(devices),
        "images_per_second": round(trained.images_per_second, 1),
        "is_complete": trained.is_complete,
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "versions": {
            "dfutils": dfutils.__version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        "commit": commit,
        "files": job.run.checksums(CHECKSUMMED),
    }
