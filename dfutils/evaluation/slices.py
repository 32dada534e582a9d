"""Scores broken down by manipulation, by group, by a column of the labels, and by track and frame instead of video."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dfutils.errors import ReportError
from dfutils.evaluation.metrics import ANSWER_METRICS, answer_shares, estimate_answers, estimate_metrics, estimate_rates
from dfutils.evaluation.predictions import Scores, answers_of, check_predictions
from dfutils.statistics.bootstrap import Estimate, bootstrap_over_groups, most_unlike_groups
from dfutils.statistics.estimates import BoolArray, FloatArray, class_weights_by_score, weighted_auc

SLICE = "slice: "
"""Beginning of the name of a column that `with_columns` adds."""

NOT_STATED = "not stated"
"""Value of a column for videos that its table does not list, or for which it is empty."""

FEWEST_GROUPS = 5
"""Fewest groups in a slice, and outside it, for saying that they differ: with fewer, intervals are far too narrow."""

_DIFFERENCES = (
    ("REAL videos are called FAKE {} often than others", "more", "less"),
    ("the AUC is {} than that of others", "higher", "lower"),
)

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


def with_columns(predictions: pd.DataFrame, values: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Return the table with a column for each further column of the labels; its name begins with `SLICE`.

    Args:
        predictions: One row per video.
        values: Values by the file's path relative to the label file. That path is the video's name, or the end of it,
            or ends with it, as the folder that was extracted may be above or below that of the label file.

    Raises:
        ReportError: No video is among the files.
    """
    if not values:
        return predictions
    files = match_files(predictions["video"], values)
    if not any(files.values()):
        raise ReportError(
            f"slices: none of the {len(files)} videos is in the label file (first: {min(files)}). Give the label file "
            "that the faces were extracted with."
        )
    columns = next(iter(values.values()))
    found = {
        f"{SLICE}{column}": [(values[file][column] if (file := files[video]) else "") or NOT_STATED for video in files]
        for column in columns
    }
    return predictions.assign(**found)


def match_files(videos: Iterable[str], files: Collection[str]) -> dict[str, str | None]:
    """Return, for each video, the entry of a label file that names it, or None.

    An entry names a video if it is the whole path, or the longest possible end of it, or else if it is the only entry
    that ends with the video's name.

    Args:
        videos: Names or paths.
        files: Entries: paths relative to the label file, whose folder may be above or below that of the names.

    Example:
        >>> match_files(["/data/a/1.mp4", "2.mp4", "3.mp4"], {"a/1.mp4", "b/2.mp4"})
        {'/data/a/1.mp4': 'a/1.mp4', '2.mp4': 'b/2.mp4', '3.mp4': None}
    """
    by_key = {_key(file): file for file in files}
    by_ending: dict[str, set[str]] = {}
    for key in by_key:
        for ending in _endings(key):
            by_ending.setdefault(ending, set()).add(key)
    matched: dict[str, str | None] = {}
    for video in videos:
        key = _key(video)
        # The longest end of the video that is a file; else the one file that ends with the whole video.
        ends = [ending for ending in (key, *_endings(key)) if ending in by_key]
        if not ends and len(longer := by_ending.get(key, set())) == 1:
            ends = list(longer)
        matched[video] = by_key[ends[0]] if ends else None
    return matched


def _key(path: str) -> str:
    """Return a path with the separators and the Unicode form that all systems can agree on."""
    return unicodedata.normalize("NFC", path.replace("\\", "/"))


def _endings(path: str) -> list[str]:
    """Return the ends of a path that begin after a separator, the longest first."""
    parts = path.split("/")
    return ["/".join(parts[place:]) for place in range(1, len(parts))]


def by_column(
    predictions: pd.DataFrame, column: str, *, threshold: float, resamples: int = 1000
) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure the videos of each value of a column, such as an age or a camera.

    Args:
        predictions: One row per video, with ``column``.
        column: A column of text.
        threshold: Operating point of a table without answers; see `dfutils.evaluation.predictions.answers_of`.
        resamples: Bootstrap resamples; groups stay whole.

    Returns:
        One row per value, and a sentence for each value that differs from all others for certain: the interval of the
        difference, at 95 % for all values together (Bonferroni), excludes 0.
    """
    rows = check_predictions(predictions)
    called = answers_of(rows, threshold=threshold)
    values = rows[column].to_numpy(str)
    names = sorted(set(values))
    table, sentences = [], []
    for name in names:
        inside = values == name
        part = rows[inside]
        scored = part.dropna(subset=["fake_probability"])
        auc: Estimate = {"value": None, "low": None, "high": None}
        if len(scored):
            auc = estimate_metrics(Scores.of(scored), threshold=threshold, resamples=resamples)["auc"]
        table.append(
            {
                "value": name,
                "videos": len(part),
                "groups": int(part["group"].nunique()),
                "real": int((~part["is_fake"]).sum()),
                "fake": int(part["is_fake"].sum()),
                **estimate_answers(part, threshold=threshold, resamples=resamples),
                "auc": auc,
            }
        )
        if name != NOT_STATED and len(names) > 1:
            found = _differences(rows, called, inside, tests=len(names), resamples=resamples)
            sentences += [f"{column.removeprefix(SLICE)} {name}: {sentence}" for sentence in found]
    return table, sentences


def _differences(
    rows: pd.DataFrame, called: npt.NDArray[np.str_], inside: BoolArray, *, tests: int, resamples: int
) -> list[str]:
    """Return what differs for certain between the videos of a slice and all others.

    A share of 0 or 1 does not vary between resamples, so its exact uncertainty is added to that of the difference, as
    the root of the sum of squares. Source: Newcombe, "Interval Estimation for the Difference between Independent
    Proportions" (1998), method 10, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I.
    """
    if min(rows["group"][inside].nunique(), rows["group"][~inside].nunique()) < FEWEST_GROUPS or not resamples:
        return []
    is_fake = rows["is_fake"].to_numpy(bool)
    probability = rows["fake_probability"].to_numpy(float)
    is_scored = ~np.isnan(probability)
    ranked = np.where(is_scored, probability, 0.0)

    def of(mask: BoolArray, weights: FloatArray) -> FloatArray:
        auc = weighted_auc(*class_weights_by_score(is_fake, ranked, weights * (mask & is_scored)))
        shares = answer_shares(is_fake, called, weights * mask)
        return np.column_stack([shares[:, ANSWER_METRICS.index("real_called_fake")], auc])

    def difference(weights: FloatArray) -> FloatArray:
        return of(inside, weights) - of(~inside, weights)

    drawn = bootstrap_over_groups(rows["group"].to_numpy(), difference, resamples=resamples)
    once = np.ones((1, len(rows)))
    value = difference(once)[0]
    sentences = []
    for index, (sentence, more, less) in enumerate(_DIFFERENCES):
        present = drawn[:, index][~np.isnan(drawn[:, index])]
        if np.isnan(value[index]) or not len(present):
            continue
        low, high = np.percentile(present, [2.5 / tests, 100 - 2.5 / tests])
        for mask, sign in ((inside, 1), (~inside, -1)) if index == 0 else ():
            if (share := of(mask, once)[0, 0]) not in (0, 1):
                continue
            unlike = most_unlike_groups(rows["group"][mask & ~is_fake].nunique(), error=0.05 / tests)
            if (share == 0) == (sign == 1):  # a larger share of this mask would move the difference up
                high = value[0] + np.hypot(high - value[0], unlike)
            else:
                low = value[0] - np.hypot(value[0] - low, unlike)
        if low > 0 or high < 0:
            interval = f"{value[index]:+.2f} ({low:+.2f} to {high:+.2f})".replace("-", "−")
            sentences.append(f"{sentence.format(more if low > 0 else less)}: {interval}.")
    return sentences
