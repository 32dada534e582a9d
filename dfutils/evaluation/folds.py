"""What a training in folds is worth: its out-of-fold predictions measured, fold by fold and together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dfutils.evaluation.metrics import INTERVALS
from dfutils.files import read_csv, write_csv, write_json
from dfutils.runs.folder import RunFolder
from dfutils.statistics.cross_validation import MEASURES, Estimate, FoldScores, measure
from dfutils.statistics.estimates import BoolArray
from dfutils.statistics.formatting import with_interval

COLUMNS = (
    "fold",
    *("clips", "groups", "real", "fake"),
    *(column for name in MEASURES for column in (name, f"{name}_low", f"{name}_high")),
)
"""Of ``folds.csv``."""

NOTES = (
    "AUC compares clips of one fold only, since each fold has a model of its own.",
    "Each clip was scored by the one member that saw nothing of its group, at that member's own operating point. These "
    "numbers are of single members; the ensemble of all is measured by a dataset that none of them was trained on.",
    "The intervals leave out the luck of the training: another seed, other folds.",
)

_NAMES = {"auc": "AUC", "balanced_accuracy": "balanced accuracy", "log_loss": "log loss"}


@dataclass(frozen=True, slots=True)
class FoldMeasures:
    """Out-of-fold numbers of one fold, or of all.

    Attributes:
        fold: Number of the fold, or ``all``.
        clips: Clips tested.
        groups: Their groups.
        real: How many are REAL.
        fake: How many are FAKE.
        estimates: Each of `dfutils.statistics.cross_validation.MEASURES`.
    """

    fold: int | str
    clips: int
    groups: int
    real: int
    fake: int
    estimates: dict[str, Estimate]

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        counts = {name: getattr(self, name) for name in ("fold", "clips", "groups", "real", "fake")}
        return {**counts, **self.estimates}

    def line(self) -> str:
        """The same in words."""
        numbers = (f"{_NAMES[name]} {with_interval(name, self.estimates[name])}" for name in MEASURES)
        whose = "Out of fold, all" if self.fold == "all" else f"Fold {self.fold}"
        return f"{whose}: {', '.join(numbers)}; {self.clips} clips of {self.groups} groups"


def summarise_folds(run: Path, *, resamples: int = 1000) -> list[FoldMeasures]:
    """Measure what `dfutils.training.folds.train_folds` wrote, and write ``folds.csv`` and ``folds.json`` beside it.

    Args:
        run: The run folder of an ensemble; the numbers are of its ``predictions.csv``.
        resamples: Bootstrap resamples behind each interval.

    Returns:
        One record a fold, then that of all.

    Raises:
        DatasetError: ``run`` holds no out-of-fold predictions.
    """
    folder = RunFolder(run)
    table = _read(folder.predictions_file)
    numbers = [*np.unique(table.fold).tolist(), "all"]
    measured = [_measure(table, number, resamples=resamples) for number in numbers]
    write_csv(folder.folds_table, COLUMNS, (_csv_row(one) for one in measured))
    *folds, together = (one.document() for one in measured)
    facts = {"intervals": INTERVALS, "resamples": resamples, "notes": NOTES}
    write_json(folder.folds_file, {"all": together, "folds": folds, **facts})
    return measured


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Columns ``(N,)`` of out-of-fold predictions."""

    fold: npt.NDArray[np.int_]
    groups: npt.NDArray[np.str_]
    is_fake: BoolArray
    probability: npt.NDArray[np.float64]
    called_fake: BoolArray


def _read(path: Path) -> _Table:
    rows = read_csv(path, ("fold", "group", "is_fake", "fake_probability", "label"))
    return _Table(
        fold=np.array([int(row["fold"]) for row in rows]),
        groups=np.array([row["group"] for row in rows]),
        is_fake=np.array([row["is_fake"] == "true" for row in rows]),
        probability=np.array([float(row["fake_probability"]) for row in rows]),
        called_fake=np.array([row["label"] == "FAKE" for row in rows]),
    )


def _measure(table: _Table, number: int | str, *, resamples: int) -> FoldMeasures:
    inside = np.ones(len(table.fold), bool) if number == "all" else table.fold == number
    is_fake, groups = table.is_fake[inside], table.groups[inside]
    scores = FoldScores(table.probability[None, inside], table.called_fake[None, inside], table.fold[None, inside])
    return FoldMeasures(
        fold=number,
        clips=len(groups),
        groups=len(np.unique(groups)),
        real=int((~is_fake).sum()),
        fake=int(is_fake.sum()),
        estimates=measure(scores, is_fake, groups.tolist(), resamples=resamples),
    )


def _csv_row(one: FoldMeasures) -> dict[str, object]:
    values = one.document()
    for name in MEASURES:
        estimate = values.pop(name)
        values |= {name: estimate["value"], f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}
    return values
