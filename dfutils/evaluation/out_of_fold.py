"""Measure the out-of-fold predictions of a cross-validated training, per fold and over all folds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.evaluation.metrics import INTERVALS
from dfutils.files import read_csv, write_csv, write_json
from dfutils.runs.folder import RunFolder
from dfutils.statistics.bootstrap import Estimate
from dfutils.statistics.cross_validation import MEASURES, FoldScores, measure
from dfutils.statistics.formatting import with_interval

COLUMNS = (
    "fold",
    *("clips", "groups", "real", "fake"),
    *(column for name in MEASURES for column in (name, f"{name}_low", f"{name}_high")),
)
"""Columns of ``folds.csv``."""

NOTES = (
    "AUC compares clips of the same fold only, because each fold has its own model.",
    "Each clip was scored by the one member that was not trained on its group, at that member's own operating point. "
    "These numbers describe single members; to measure the ensemble, use a dataset that no member was trained on.",
    "The intervals do not include the randomness of the training: another seed, other folds.",
)

_NAMES = {"auc": "AUC", "balanced_accuracy": "balanced accuracy", "log_loss": "log loss"}


@dataclass(frozen=True, slots=True)
class FoldMeasures:
    """Out-of-fold numbers of one fold, or of all.

    Attributes:
        fold: Number of the fold, or ``all``.
        clips: Number of clips tested.
        groups: Number of their groups.
        real: Number of REAL clips.
        fake: Number of FAKE clips.
        estimates: Each of `dfutils.statistics.cross_validation.MEASURES`.
    """

    fold: int | str
    clips: int
    groups: int
    real: int
    fake: int
    estimates: dict[str, Estimate]

    def document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        counts = {name: getattr(self, name) for name in ("fold", "clips", "groups", "real", "fake")}
        return {**counts, **self.estimates}

    def csv_row(self) -> dict[str, object]:
        """Return the values of `COLUMNS`: each estimate takes three columns."""
        values: dict[str, object] = self.document()
        for name, one in self.estimates.items():
            values |= {name: one["value"], f"{name}_low": one["low"], f"{name}_high": one["high"]}
        return values

    def line(self) -> str:
        """Return the numbers in one sentence."""
        numbers = (f"{_NAMES[name]} {with_interval(name, self.estimates[name])}" for name in MEASURES)
        whose = "Out of fold, all" if self.fold == "all" else f"Fold {self.fold}"
        return f"{whose}: {', '.join(numbers)}; {self.clips} clips of {self.groups} groups"


def summarise_folds(run: Path, *, resamples: int = 1000) -> list[FoldMeasures]:
    """Measure what `dfutils.training.folds.train_folds` wrote, and write ``folds.csv`` and ``folds.json`` beside it.

    Args:
        run: Run folder of an ensemble, with out-of-fold ``predictions.csv``.
        resamples: Bootstrap resamples behind each interval.

    Returns:
        One record per fold, then one for all folds.

    Raises:
        DatasetError: ``run`` has no out-of-fold predictions.
    """
    rows = read_csv(RunFolder(run).predictions_file, ("fold", "group", "is_fake", "fake_probability", "label"))
    folds = np.array([int(row["fold"]) for row in rows])
    all_groups = np.array([row["group"] for row in rows])
    all_is_fake = np.array([row["is_fake"] == "true" for row in rows])
    probability = np.array([float(row["fake_probability"]) for row in rows])
    # Runs of earlier versions have no column of their own for it: all their answers were REAL or FAKE.
    called_fake = np.array([row.get("called_fake", str(row["label"] == "FAKE").lower()) == "true" for row in rows])
    measured = []
    for number in [*np.unique(folds).tolist(), "all"]:
        inside = np.ones(len(rows), bool) if number == "all" else folds == number
        is_fake, groups = all_is_fake[inside], all_groups[inside]
        scores = FoldScores(probability[None, inside], called_fake[None, inside], folds[None, inside])
        measured.append(
            FoldMeasures(
                fold=number,
                clips=len(groups),
                groups=len(np.unique(groups)),
                real=int((~is_fake).sum()),
                fake=int(is_fake.sum()),
                estimates=measure(scores, is_fake, groups.tolist(), resamples=resamples),
            )
        )
    write_csv(RunFolder(run).folds_table, COLUMNS, (one.csv_row() for one in measured))
    *of_folds, of_all = (one.document() for one in measured)
    facts = {"intervals": INTERVALS, "resamples": resamples, "notes": NOTES}
    write_json(RunFolder(run).folds_file, {"all": of_all, "folds": of_folds, **facts})
    return measured
