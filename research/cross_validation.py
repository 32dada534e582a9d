"""Cross-validate heads on cached features; `dfutils.statistics.cross_validation` measures the scores."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """One fit, with everything that decides its result.

    Attributes:
        model: Name of the head, or ``logistic`` for logistic regression on the mean over time.
        train_features: ``(N, T, channels)`` float32 for training and validation.
        test_features: The same for testing; it differs where a fault affects prediction only.
        is_fake: ``(N,)`` labels.
        splits: ``(N,)`` names of splits.
        seed: Seed of the weights.
        epochs: Largest number of epochs.
    """

    model: str
    train_features: npt.NDArray[np.float32]
    test_features: npt.NDArray[np.float32]
    is_fake: Flags
    splits: npt.NDArray[np.str_]
    seed: int
    epochs: int

    def checksum(self) -> str:
        """Return a name for the result, by which an interrupted run finds finished fits."""
        digest = hashlib.sha256(f"{self.model} {self.seed} {self.epochs}".encode())
        for array in (self.train_features, self.test_features, self.is_fake, self.splits):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:24]


def fold_splits(rows: Sequence[ClipRow], *, folds: int, seed: int, grouped: bool) -> list[npt.NDArray[np.str_]]:
    """Return the splits of all clips in each fold; ``grouped=False`` treats every video as a group, which leaks."""
    if not grouped:
        rows = [dataclasses.replace(row, group=row.video, sha256=row.video) for row in rows]
    assignments: list[dict[str, SplitName]] = fold_videos(rows, folds=folds, seed=seed)
    return [np.array([assignment[row.video] for row in rows]) for assignment in assignments]


def cross_validate(
    name: str,
    task_of: Callable[[int, npt.NDArray[np.str_]], Task],
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
        name: Shown with the progress.
        task_of: Returns the task for a seed and the splits of a fold.
        rows: Clips.
        folds: Number of folds.
        seeds: Number of repetitions, each with its own folds and weights.
        grouped: Whether groups stay together.
        folder: Folder for finished fits, which are not repeated.
        workers: Number of processes.
    """
    tasks: list[Task] = []
    places: list[tuple[int, Flags]] = []
    fold = np.zeros((seeds, len(rows)), int)
    for seed in range(seeds):
        for number, splits in enumerate(fold_splits(rows, folds=folds, seed=seed, grouped=grouped)):
            tasks.append(task_of(seed, splits))
            places.append((seed, splits == "test"))
            fold[seed, splits == "test"] = number
    probability = np.full((seeds, len(rows)), np.nan)
    called = np.zeros((seeds, len(rows)), bool)
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator")
    results = parallel(joblib.delayed(_run_task)(task, folder) for task in tasks)
    for number, ((seed, test), (scores, calls)) in enumerate(zip(places, results, strict=True), 1):
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
    from dfutils.runs.probabilities import platt_logits, sigmoid
    from dfutils.runs.thresholds import choose_threshold, fit_platt

    score = _fit_logistic(task) if task.model == "logistic" else _fit_head(task)
    held, test = task.splits == "validation", task.splits == "test"
    raw = score(task.train_features[held])
    calibration = fit_platt(task.is_fake[held], raw)
    threshold = choose_threshold(task.is_fake[held], sigmoid(platt_logits(raw, *calibration)))
    probability = sigmoid(platt_logits(score(task.test_features[test]), *calibration))
    return probability.astype(np.float64), probability >= threshold


def _fit_head(task: Task) -> Callable[[npt.NDArray[np.float32]], Floats]:
    from dfutils.training.fit import fit_head

    train, held = task.splits == "train", task.splits == "validation"
    head = fit_head(
        task.train_features[train],
        task.is_fake[train],
        validation=(task.train_features[held], task.is_fake[held]),
        # Not validated: the head may be one of research/heads.py.
        settings=TrainingSettings(seed=task.seed, epochs=task.epochs).model_copy(update={"model": task.model}),
        progress=False,
    )
    return lambda features: head.predict(features, batch_size=256, verbose=0)[:, 0].astype(np.float64)


def _fit_logistic(task: Task) -> Callable[[npt.NDArray[np.float32]], Floats]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = task.splits == "train"
    # C was fixed before any result was seen: strong regularisation for more channels than clips.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=5000))
    model.fit(task.train_features[train].mean(axis=1), task.is_fake[train])
    return lambda features: model.predict_proba(features.mean(axis=1))[:, 1]
