"""One detector out of several trainings from the same start: the mean of their weights.

Networks that went a short way from one start in different directions are often best half-way between them, at the cost
of one (Wortsman et al. 2022, "Model soups").
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv, replacing, sha256_of, write_json
from dfutils.prediction.detector import load_detector
from dfutils.settings import DetectorSettings
from dfutils.training.finished import BELIEVED, checksums, read_about, read_detector
from dfutils.training.run_folder import PREDICTION_COLUMNS, write_predictions

COPIED = ("settings.json", "splits.csv", "leaks.json", "history.csv")


def average_runs(runs: Sequence[Path], folder: Path, faces: Path) -> DetectorSettings:
    """Write a run folder with the mean weights of finished runs; it is ready to be calibrated.

    What it was trained on, its splits and its history are the first run's. ``predictions.csv`` holds its own scores of
    that run's validation and test parts, on which the others may have been trained.

    Args:
        runs: Of one model and backbone, fine-tuned from one start; the first names what is told of the whole.
        folder: Left alone where it is finished.
        faces: The face dataset of the first run.

    Raises:
        ValueError: The runs are of different models, crops or backbones.
        RunError: One of them is not finished, or was altered.
    """
    if (folder / "run.json").is_file():
        return read_detector(folder)
    settings = [read_detector(run) for run in runs]
    if len({(own.model, own.backbone, own.extraction.model_dump_json()) for own in settings}) > 1:
        raise ValueError("only runs of one model, on the same crops, have weights that can be averaged")
    about, *_ = (read_about(run) for run in runs)
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copy(runs[0] / name, folder)
    weights = folder / "model.weights.h5"
    write_mean_weights([run / weights.name for run in runs], weights)
    checksum = sha256_of(weights)
    update = {"weights_sha256": checksum, "backbone_checksum": checksum}
    settings[0].model_copy(update=update).write(folder / "detector.json")
    _write_scores(folder, runs[0], faces)
    write_json(folder / "run.json", {**about, "files": checksums(folder, BELIEVED)})
    return read_detector(folder)


def write_mean_weights(sources: Sequence[Path], target: Path) -> None:
    """Write a ``model.weights.h5`` whose every variable is the mean of those of ``sources``, atomically."""
    with replacing(target) as temporary:
        shutil.copy(sources[0], temporary)
        with h5py.File(temporary, "r+") as file:
            others = [h5py.File(source) for source in sources]
            try:
                file.visititems(lambda name, item: _set_mean(name, item, others))
            finally:
                for other in others:
                    other.close()


def _set_mean(name: str, item: h5py.Group | h5py.Dataset, others: Sequence[h5py.File]) -> None:
    if isinstance(item, h5py.Dataset) and np.issubdtype(item.dtype, np.floating):
        item[...] = np.mean([other[name][()] for other in others], axis=0, dtype=np.float64)


def _write_scores(folder: Path, first: Path, faces: Path) -> None:
    known = {row["clip_id"]: row["split"] for row in read_csv(first / "predictions.csv", PREDICTION_COLUMNS)}
    dataset = read_face_dataset(faces)
    rows = [row for row in dataset.rows if known.get(row.clip_id) in ("validation", "test")]
    scores = load_detector(folder, engine="keras").score_dataset(dataset, rows)
    raw = np.array([score.raw_probability for score in scores])
    probability = np.array([score.fake_probability for score in scores])
    write_predictions(folder, rows, np.array([known[row.clip_id] for row in rows]), raw, probability)
