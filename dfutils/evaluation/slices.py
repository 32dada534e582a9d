"""The same scores cut in other ways: by manipulation, by group, and by track and frame instead of video."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dfutils.evaluation.comparison import rate_estimates
from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores, check_predictions

LEVEL_METRICS = ("auc", "balanced_accuracy", "log_loss", "ece")


def family_of(name: str, names: Sequence[str]) -> str:
    """The data set that a name with its manipulation belongs to: what it shares with another name but the last word.

    Example:
        >>> family_of("faceforensics_c23_deepfakes", ["faceforensics_c23_deepfakes", "faceforensics_c23_original"])
        'faceforensics_c23'
        >>> family_of("celebdf", ["celebdf", "dfdc"])
        'celebdf'
    """
    stem = re.sub(r"[_/\\-][^_/\\-]*$", "", name)
    shared = [other for other in names if other != name and re.sub(r"[_/\\-][^_/\\-]*$", "", other) == stem]
    return stem if stem != name and shared else name


def by_manipulation(
    predictions: pd.DataFrame, *, threshold: float, resamples: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Each data set's FAKE videos against all REAL videos of its family, so that every manipulation has an AUC.

    The REAL videos are shared by the manipulations of a family: their rows are not independent of each other.
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
        measured, _ = estimate_metrics(scores, threshold=threshold, resamples=resamples, seed=seed)
        rates = rate_estimates(
            scores.is_fake,
            scores.fake_probability,
            scores.groups,
            threshold=threshold,
            resamples=resamples,
            seed=seed,
        )
        table.append(
            {
                "manipulation": name,
                "fakes": len(fakes),
                "against": f"{len(reals)} REAL of {families[name]}",
                "auc": measured["auc"],
                "true_positive_rate": rates["true_positive_rate"],
                "balanced_accuracy": measured["balanced_accuracy"],
            }
        )
    return table


def by_group(predictions: pd.DataFrame, *, threshold: float) -> list[dict[str, Any]]:
    """A row a group, the worst first: a group stands or falls as one, so there is no interval."""
    rows = check_predictions(predictions).dropna(subset=["fake_probability"])
    right = (rows["fake_probability"] >= threshold) == rows["is_fake"]
    rows = rows.assign(wrong=~right)
    table = []
    for name, part in rows.groupby("group", sort=True):
        means = part.groupby("is_fake")["fake_probability"].mean()
        table.append(
            {
                "group": str(name),
                "datasets": ", ".join(sorted(part["dataset"].unique())),
                "real": int((~part["is_fake"]).sum()),
                "fake": int(part["is_fake"].sum()),
                "wrong": int(part["wrong"].sum()),
                "share_wrong": round(float(part["wrong"].mean()), 6),
                "mean_real": _mean(means, is_fake=False),
                "mean_fake": _mean(means, is_fake=True),
            }
        )
    return sorted(table, key=lambda row: (-row["wrong"], -row["share_wrong"], row["group"]))


def by_level(
    tables: Mapping[str, pd.DataFrame], *, threshold: float, resamples: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """The same metrics of other units than the video.

    Args:
        tables: Name of a level and its rows: columns ``group, is_fake, fake_probability``, no NaN.
        threshold: Operating point of the videos, used for all.
        resamples: Bootstrap resamples; groups stay whole.
        seed: Same seed, same document.
    """
    levels = []
    for name, rows in tables.items():
        scores = Scores(
            rows["is_fake"].to_numpy(bool), rows["fake_probability"].to_numpy(float), rows["group"].to_numpy()
        )
        measured, _ = estimate_metrics(scores, threshold=threshold, resamples=resamples, seed=seed)
        levels.append({"level": name, "rows": len(rows), **{key: measured[key] for key in LEVEL_METRICS}})
    return levels


def _mean(means: pd.Series, *, is_fake: bool) -> float | None:
    value = means.get(is_fake, np.nan)
    return None if np.isnan(value) else round(float(value), 6)
