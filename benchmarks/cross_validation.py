"""Grouped cross-validation of heads on cached features; `dfutils.statistics.cross_validation` measures it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt

from dfutils.files import replacing
from dfutils.records import ClipRow, SplitName
from dfutils.settings import TrainingSettings
from dfutils.statistics.cross_validation import FoldScores
from dfutils.training.splits import fold_videos

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One fit: everything that decides its result.

    Attributes:
        model: Name of the head, or ``logistic`` for logistic regression on the mean over time.
        train_features: ``(N, T, channels)`` for training and validation.
        test_features: The same for the clips that are scored; other features where a fault is in prediction only.
        is_fake: ``(N,)``.
        sides: ``(N,)`` names of splits.
        seed: Of the weights.
        epochs: Most epochs.
    """

    model: str
    train_features: npt.NDArray[np.float32]
    test_features: npt.NDArray[np.float32]
    is_fake: Flags
    sides: npt.NDArray[np.str_]
    seed: int
    epochs: int

    def checksum(self) -> str:
        """Names the result, so that a run that was interrupted finds what is finished."""
        digest = hashlib.sha256(f"{self.model} {self.seed} {self.epochs}".encode())
        for array in (self.train_features, self.test_features, self.is_fake, self.sides):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:24]


def fold_sides(rows: Sequence[ClipRow], *, folds: int, seed: int, grouped: bool) -> list[npt.NDArray[np.str_]]:
    """Splits of every clip in each fold; ``grouped=False`` makes every video a group of its own: the leaking split."""
    if not grouped:
        rows = [_alone(row) for row in rows]
    assignments: list[dict[str, SplitName]] = fold_videos(rows, folds=folds, seed=seed)
    return [np.array([assignment[row.video] for row in rows]) for assignment in assignments]


def run_tasks(tasks: Sequence[Task], folder: Path, *, workers: int) -> Iterator[tuple[Floats, Flags]]:
    """Probabilities and calls of each task's test clips, in the order of ``tasks``; finished ones are read."""
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator")
    yield from parallel(joblib.delayed(_run_task)(task, folder) for task in tasks)


def cross_validate(
    name: str,
    tasks_of: Callable[[int, npt.NDArray[np.str_]], Task],
    rows: Sequence[ClipRow],
    *,
    folds: int,
    seeds: int,
    grouped: bool,
    folder: Path,
    workers: int,
) -> FoldScores:
    """Score every clip once per seed, by a model that saw no clip of its fold.

    Args:
        name: For the log of progress.
        tasks_of: Makes the task of a seed and the sides of a fold.
        rows: The clips.
        folds: Number of folds.
        seeds: Number of repetitions; each has its own folds and weights.
        grouped: Whether groups stay together.
        folder: Where finished fits are kept.
        workers: Processes.
    """
    tasks: list[Task] = []
    places: list[tuple[int, Flags]] = []
    fold = np.zeros((seeds, len(rows)), int)
    for seed in range(seeds):
        for number, sides in enumerate(fold_sides(rows, folds=folds, seed=seed, grouped=grouped)):
            tasks.append(tasks_of(seed, sides))
            places.append((seed, sides == "test"))
            fold[seed, sides == "test"] = number
    probability = np.full((seeds, len(rows)), np.nan)
    called = np.zeros((seeds, len(rows)), bool)
    for number, ((seed, test), (scores, calls)) in enumerate(
        zip(places, run_tasks(tasks, folder, workers=workers), strict=True), 1
    ):
        probability[seed, test], called[seed, test] = scores, calls
        print(f"\r{name}: {number} of {len(tasks)} fits", end="", flush=True)
    print()
    if np.isnan(probability).any():
        raise AssertionError(f"{name}: a clip was in no test fold")
    return FoldScores(probability, called, fold)


def _run_task(task: Task, folder: Path) -> tuple[Floats, Flags]:
    path = folder / f"{task.checksum()}.npz"
    if not path.is_file():
        probability, called = _fit_and_score(task)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, probability=probability, called=called)
    with np.load(path) as kept:
        return kept["probability"], kept["called"]


def _fit_and_score(task: Task) -> tuple[Floats, Flags]:
    from dfutils.runs.thresholds import calibrated, choose_threshold, fit_temperature

    score = _fit_logistic(task) if task.model == "logistic" else _fit_head(task)
    held, test = task.sides == "validation", task.sides == "test"
    raw = score(task.train_features[held])
    temperature = fit_temperature(task.is_fake[held], raw)
    threshold = choose_threshold(task.is_fake[held], calibrated(raw, temperature))
    probability = calibrated(score(task.test_features[test]), temperature)
    return probability.astype(np.float64), probability >= threshold


def _fit_head(task: Task) -> Callable[[npt.NDArray[np.float32]], Floats]:
    from dfutils.training.fit import fit_head

    train, held = task.sides == "train", task.sides == "validation"
    head = fit_head(
        task.train_features[train],
        task.is_fake[train],
        validation=(task.train_features[held], task.is_fake[held]),
        settings=TrainingSettings(model=task.model, seed=task.seed, epochs=task.epochs),
        progress=False,
    )
    return lambda features: head.predict(features, batch_size=256, verbose=0)[:, 0].astype(np.float64)


def _fit_logistic(task: Task) -> Callable[[npt.NDArray[np.float32]], Floats]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = task.sides == "train"
    # C was fixed before any result was seen: strong regularisation for more channels than clips.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=5000))
    model.fit(task.train_features[train].mean(axis=1), task.is_fake[train])
    return lambda features: model.predict_proba(features.mean(axis=1))[:, 1]


def _alone(row: ClipRow) -> ClipRow:
    values: Mapping[str, Any] = {name: getattr(row, name) for name in row.__slots__}
    return ClipRow(**{**values, "group": row.video, "sha256": row.video})
