"""Scores broken down by manipulation, by group, and by track and frame instead of video."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dfutils.evaluation.metrics import estimate_metrics, estimate_rates
from dfutils.evaluation.predictions import Scores, check_predictions

LEVEL_METRICS = ("auc", "balanced_accuracy", "log_loss", "ece")


def family_of(name: str, names: Sequence[str]) -> str:
    """Return the name without its last word if another name differs only in that word; else the name itself.

    Example:
        >>> family_of("faceforensics_c23_deepfakes", ["faceforensics_c23_deepfakes", "faceforensics_c23_original"])
        'faceforensics_c23'
        >>> family_of("celebdf", ["celebdf", "dfdc"])
        'celebdf'
    """
    stem = re.sub(r"[_/\\-][^_/\\-]*$", "", name)
    shared = [other for other in names if other != name and re.sub(r"[_/\\-][^_/\\-]*$", "", other) == stem]
    return stem if stem != name and shared else name


def by_manipulation(predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000) -> list[dict[str, Any]]:
    """Measure each data set's FAKE videos against all REAL videos of its family, so that each manipulation has an AUC.

    Manipulations of a family share their REAL videos, so the rows are not independent of each other.
    """
    rows = check_predictions(predictions).dropna(subset=["fake_probability"])
    names = sorted(rows["dataset"].unique())
    families = {name: family_of(name, names) for name in names}
    family = rows["dataset"].map(families)
    table = []
    for name in names:
        fakes = rows[(rows["dataset"] == name) & rows["is_fake"]]
        reals = rows[(family == families[name]) & ~rows["is_fake"]]
        if fakes.empty:
            continue
        scores = Scores.of(pd.concat([reals, fakes]))
        metrics = estimate_metrics(scores, threshold=threshold, resamples=resamples)
        rates = estimate_rates(scores, threshold=threshold, resamples=resamples)
        table.append(
            {
                "manipulation": name,
                "fakes": len(fakes),
                "against": f"{len(reals)} REAL of {families[name]}",
                "auc": metrics["auc"],
                "true_positive_rate": rates["true_positive_rate"],
                "balanced_accuracy": metrics["balanced_accuracy"],
            }
        )
    return table


def by_group(predictions: pd.DataFrame, *, threshold: float) -> list[dict[str, Any]]:
    """Return one row per group, the one with the most errors first. A single group cannot be resampled: no interval."""
    rows = check_predictions(predictions).dropna(subset=["fake_probability"])
    rows = rows.assign(wrong=(rows["fake_probability"] >= threshold) != rows["is_fake"])
    table = []
    for name, part in rows.groupby("group", sort=True):
        means = part.groupby("is_fake")["fake_probability"].mean().round(6)
        table.append(
            {
                "group": str(name),
                "datasets": ", ".join(sorted(part["dataset"].unique())),
                "real": int((~part["is_fake"]).sum()),
                "fake": int(part["is_fake"].sum()),
                "wrong": int(part["wrong"].sum()),
                "share_wrong": round(float(part["wrong"].mean()), 6),
                "mean_real": float(means[False]) if False in means else None,
                "mean_fake": float(means[True]) if True in means else None,
            }
        )
    return sorted(table, key=lambda row: (-row["wrong"], -row["share_wrong"], row["group"]))


def by_level(tables: Mapping[str, pd.DataFrame], *, threshold: float, resamples: int = 1000) -> list[dict[str, Any]]:
    """Compute the same metrics per video, track or frame.

    Args:
        tables: Name of each level and its rows: columns ``group, is_fake, fake_probability``, no NaN.
        threshold: Operating point of the videos, used for all levels.
        resamples: Bootstrap resamples; groups stay whole.
    """
    levels = []
    for name, rows in tables.items():
        scores = Scores(
            rows["is_fake"].to_numpy(bool), rows["fake_probability"].to_numpy(float), rows["group"].to_numpy()
        )
        metrics = estimate_metrics(scores, threshold=threshold, resamples=resamples)
        levels.append({"level": name, "rows": len(rows), **{key: metrics[key] for key in LEVEL_METRICS}})
    return levels
