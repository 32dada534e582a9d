"""Measure a detector with ``dfutils predict`` on people that it was not trained on.

    python -m research.measure WORK RUN NAME [--parts dfdc_validation ffpp_c23 …] [--most 600]

WORK holds ``sets/`` with the label files that ``research/README.md`` describes. Verdicts are written to
``WORK/measured/NAME/PART.csv``, one row per file, and are not made twice; the figures are printed and written beside
them. Intervals are 95 % percentiles of 2,000 bootstrap resamples of whole groups: people, or source pairs; that of a
share which is the same in all groups, such as 0, is exact (Clopper–Pearson) over groups.

``dfdc_validation`` and ``photos_validation`` are for choices; the other parts are measured once, when a detector is
final. Half of DFDC's test people are not measured: the shipped detector is calibrated on them (`research.ship`).
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores, read_predictions, write_predictions
from dfutils.files import read_csv, write_json
from dfutils.prediction.detector import Detector, load_detector
from dfutils.statistics.bootstrap import SHARE, Estimate, bootstrap_estimates
from research.train_detector import GENERATORS, dfdc_split_of_file, fold_of_group, split_of_group

FILES_AT_ONCE = 200
"""Number of verdicts between two writes."""


@dataclass(frozen=True, slots=True)
class MeasuredPart:
    """Files that are measured together.

    Attributes:
        labels: Label file in ``WORK/sets``.
        is_in: Tells whether a row of it belongs to the part; receives WORK and the row.
    """

    labels: str
    is_in: Callable[[Path, dict[str, str]], bool]


def calibrates(group: str) -> bool:
    """Return whether calibration and thresholds are fitted to this person of DFDC's test part, by its name alone."""
    return int(hashlib.sha256(f"half {group}".encode()).hexdigest()[-8:], 16) % 2 == 0


def _dfdc(split: str) -> Callable[[Path, dict[str, str]], bool]:
    return lambda work, row: (
        dfdc_split_of_file(work)(row["file"]) == split and not (split == "test" and calibrates(row["group"]))
    )


def _photos(split: str) -> Callable[[Path, dict[str, str]], bool]:
    return lambda _, row: split_of_group(row["group"]) == split


def _named(*beginnings: str) -> Callable[[Path, dict[str, str]], bool]:
    return lambda _, row: row["dataset"].startswith(beginnings)


def _is_unseen(row: dict[str, str]) -> bool:
    """Return whether a talking head, real or made, is one that fold 0 leaves out of training."""
    is_talking = row["dataset"].startswith("talking") and fold_of_group(row["group"]) == 0
    return is_talking or row["dataset"] == GENERATORS[0]


PARTS = {
    "dfdc_validation": MeasuredPart("dfdc.csv", _dfdc("validation")),
    "photos_validation": MeasuredPart("photos.csv", _photos("validation")),
    "dfdc_test": MeasuredPart("dfdc.csv", _dfdc("test")),
    "photos_test": MeasuredPart("photos.csv", _photos("test")),
    "celeba": MeasuredPart("celeba.csv", lambda _work, _row: True),
    "ffpp_c23": MeasuredPart("clips.csv", _named("ffpp_c23")),
    "ffpp_c40": MeasuredPart("clips.csv", _named("ffpp_c40")),
    "modern": MeasuredPart("clips.csv", _named("talking", "echomimic", "edtalk")),
    "modern_unseen": MeasuredPart("clips.csv", lambda _, row: _is_unseen(row)),
}


def predict_part(work: Path, detector: Detector, name: str, out: Path, *, most: int) -> pd.DataFrame:
    """Predict at most ``most`` files of each label, and return one row per file; verdicts in ``out`` are kept."""
    part = PARTS[name]
    rows = [row for row in read_csv(work / "sets" / part.labels, ("file", "label", "group")) if part.is_in(work, row)]
    rows.sort(key=lambda row: hashlib.sha256(row["file"].encode()).hexdigest())
    chosen = [row for label in ("REAL", "FAKE") for row in [one for one in rows if one["label"] == label][:most]]
    known = read_predictions(out) if out.is_file() else None
    done = set() if known is None else set(known["video"])
    todo = [row for row in chosen if row["file"] not in done]
    for start in range(0, len(todo), FILES_AT_ONCE):
        some = todo[start : start + FILES_AT_ONCE]
        verdicts = detector.predict_many([work / "sets" / row["file"] for row in some], workers=2)
        table = pd.DataFrame(
            [
                {
                    "video": row["file"],
                    "dataset": row["dataset"],
                    "group": row["group"],
                    "is_fake": row["label"] == "FAKE",
                    "fake_probability": math.nan if verdict.fake_probability is None else verdict.fake_probability,
                    "label": str(verdict.label),
                }
                for row, verdict in zip(some, verdicts, strict=True)
            ]
        )
        known = table if known is None else pd.concat([known, table], ignore_index=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(out, known)
    assert known is not None
    return known


def figures_of(table: pd.DataFrame, threshold: float) -> dict[str, Any]:
    """Return AUC, log loss, calibration error at an even mix, and the shares called FAKE, with intervals."""
    scored = table.dropna(subset=["fake_probability"])
    figures: dict[str, Any] = {"files": len(table), "without_a_score": len(table) - len(scored)}
    for label, rows in (("real", table[~table["is_fake"]]), ("fake", table[table["is_fake"]])):
        if len(rows):
            groups = rows["group"].to_numpy()
            called = (rows["fake_probability"] >= threshold).to_numpy(float)
            figures[f"{label}_called_fake"] = share(called, groups)
            for answer in ("REAL", "FAKE"):
                given = (rows["label"] == answer).to_numpy(float)
                figures[f"{label}_answered_{answer.lower()}"] = share(given, groups)
    answered = table[table["label"] != "UNDECIDED"]
    figures["answered"] = share((table["label"] != "UNDECIDED").to_numpy(float), table["group"].to_numpy())
    if len(answered):
        is_right = (answered["is_fake"] == (answered["label"] == "FAKE")).to_numpy(float)
        figures["answered_right"] = share(is_right, answered["group"].to_numpy())
    if scored["is_fake"].nunique() == 2:
        metrics = estimate_metrics(Scores.of(scored), threshold=threshold, resamples=2000, seed=0)
        figures |= {name: metrics[name] for name in ("auc", "log_loss", "balanced_accuracy")}
        figures["ece_even_mix"] = even_calibration_error(scored)
    return figures


def share(is_in: npt.NDArray[np.float64], groups: npt.NDArray[Any]) -> Estimate:
    """Return the mean of 0 and 1 with an interval over groups."""
    found = bootstrap_estimates(
        groups,
        lambda weights: weights @ is_in / weights.sum(axis=1),
        {"share": ()},
        ranges={"share": SHARE},
        resamples=2000,
    )
    return found["share"]


def even_calibration_error(scored: pd.DataFrame) -> float:
    """Return the expected calibration error of ten bins, with equal weight for REAL and FAKE."""
    is_fake, probability = scored["is_fake"].to_numpy(bool), scored["fake_probability"].to_numpy(float)
    weights = np.where(is_fake, 0.5 / is_fake.sum(), 0.5 / (~is_fake).sum())
    bins = np.minimum((probability * 10).astype(int), 9)
    gaps = np.bincount(bins, weights * (probability - is_fake), minlength=10)
    return round(float(np.abs(gaps).sum()), 4)


def by_generator(table: pd.DataFrame, threshold: float) -> dict[str, Any]:
    """Return the figures of each data set of forgeries with all REAL files of the part."""
    real, fake = table[~table["is_fake"]], table[table["is_fake"]]
    return {name: figures_of(pd.concat([real, some]), threshold) for name, some in fake.groupby("dataset")}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("run", help="run folder, or name of an included detector")
    parser.add_argument("name", help="name of the folder for its verdicts")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["dfdc_validation", "photos_validation"])
    parser.add_argument("--most", type=int, default=600, help="most files of each label (default: %(default)s)")
    options = parser.parse_args()
    folder = options.work / "measured" / options.name
    detector = load_detector(options.run)
    threshold = detector.settings.threshold
    results: dict[str, Any] = {}
    for name in options.parts:
        table = predict_part(options.work, detector, name, folder / f"{name}.csv", most=options.most)
        results[name] = figures_of(table, threshold)
        if table["is_fake"].nunique() == 2 and table["dataset"].nunique() > 2:
            results[name]["by_data_set"] = by_generator(table, threshold)
        print(name, {key: value for key, value in results[name].items() if key != "by_data_set"}, flush=True)
        for generator, figures in results[name].get("by_data_set", {}).items():
            print("   ", generator, figures["auc"], figures["fake_called_fake"])
        write_json(folder / f"{name}.json", results[name])


if __name__ == "__main__":
    main()
