"""Figures of a detector's results. Each function returns a Figure and neither shows nor saves it.

``predictions`` is the table that `dfutils.evaluation.metrics.compute_metrics` takes; videos without a score are not
drawn. Intervals are 95 % percentiles of a bootstrap over groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dfutils.errors import ReportError
from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores, answers_of
from dfutils.figures.style import (
    CLASS_COLORS,
    FAKE_COLOR,
    FIGURE_WIDTH,
    INK_ON_COLOR,
    LINE_COLOR,
    REAL_COLOR,
    new_figure,
    styled,
)
from dfutils.statistics.bootstrap import bootstrap_over_groups
from dfutils.statistics.estimates import FloatArray, class_weights_by_score, ratio, reliability_table


@styled
def plot_confusion(predictions: pd.DataFrame, *, threshold: float) -> Figure:
    """Plot the confusion matrix at ``threshold``: counts on the left, shares of each true class on the right."""
    scores = Scores.of(predictions)
    called_fake = scores.fake_probability >= threshold
    counts = np.array(
        [[(label & ~called_fake).sum(), (label & called_fake).sum()] for label in (~scores.is_fake, scores.is_fake)]
    ).astype(float)
    shares = ratio(counts, np.repeat(counts.sum(axis=1, keepdims=True), 2, axis=1))
    figure = new_figure(FIGURE_WIDTH, 3.2)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_matrix(left, shares, [[f"{value:.0f}" for value in row] for row in counts])
    _draw_matrix(right, shares, [["–" if np.isnan(value) else f"{value:.0%}" for value in row] for row in shares])
    left.set(title="Videos", ylabel="truth")
    right.set(title="Share of each row")
    figure.supxlabel(f"called, at threshold {threshold:.2f}", fontsize=9.5)
    return figure


def _draw_matrix(
    axes: Axes, shares: FloatArray, texts: list[list[str]], called: Sequence[str] = ("REAL", "FAKE")
) -> None:
    strength = 0.08 + 0.82 * np.nan_to_num(shares)
    axes.set(xlim=(-0.5, len(called) - 0.5), ylim=(1.5, -0.5))
    for row, column in np.ndindex(2, len(called)):
        # Translucent instead of mixed with the background, which `dark_svg` may change.
        place, color = (column - 0.5, row - 0.5), (REAL_COLOR, FAKE_COLOR)[row]
        axes.add_patch(Rectangle(place, 1, 1, facecolor=color, alpha=strength[row, column], linewidth=0))
        ink = INK_ON_COLOR if strength[row, column] > 0.65 else mpl.rcParams["text.color"]
        axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=15, color=ink)
    axes.set_xticks(range(len(called)), called)
    axes.set_yticks([0, 1], ["REAL", "FAKE"])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


@styled
def plot_answers(predictions: pd.DataFrame, *, threshold: float) -> Figure:
    """Plot how many REAL and FAKE videos are called REAL, UNDECIDED and FAKE; see `answers_of`."""
    labels = ("REAL", "UNDECIDED", "FAKE")
    is_fake, called = predictions["is_fake"].to_numpy(bool), answers_of(predictions, threshold=threshold)
    counts = np.array([[(rows & (called == label)).sum() for label in labels] for rows in (~is_fake, is_fake)], float)
    figure = new_figure(FIGURE_WIDTH, 2.9)
    axes = figure.subplots()
    shares = ratio(counts, np.repeat(counts.sum(axis=1, keepdims=True), 3, axis=1))
    _draw_matrix(axes, shares, [[f"{value:.0f}" for value in row] for row in counts], labels)
    axes.set(ylabel="truth", xlabel="answer")
    return figure


@styled
def plot_roc(predictions: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> Figure:
    """Plot the ROC curve with a bootstrap band over groups, and the AUC with its interval.

    Raises:
        ReportError: One class is absent.
    """
    scores = _scores_of_both_classes(predictions, "ROC curve")
    auc = _estimates(scores, resamples=resamples, seed=seed)["auc"]
    figure = new_figure(FIGURE_WIDTH, 4.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color=mpl.rcParams["xtick.color"], linewidth=1.2, label="coin toss")
    if auc["low"] is not None:
        grid = np.linspace(0, 1, 101)

        def true_positive_rates(weights: FloatArray) -> FloatArray:
            fakes, reals = class_weights_by_score(scores.is_fake, scores.fake_probability, weights)
            found, accused = _cumulated_share(fakes), _cumulated_share(reals)
            last = [np.searchsorted(levels, grid + 1e-9, side="right") - 1 for levels in accused]
            has_both_classes = ~np.isnan(found[:, -1] + accused[:, -1])
            return np.where(has_both_classes[:, None], np.take_along_axis(found, np.array(last), axis=1), np.nan)

        drawn = bootstrap_over_groups(scores.groups, true_positive_rates, resamples=resamples, seed=seed)
        low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
        axes.fill_between(grid, low, high, color=LINE_COLOR, alpha=0.18, linewidth=0, step="post", label="95 % band")
    fakes, reals = _class_counts(scores)
    axes.step(_cumulated_share(reals)[0], _cumulated_share(fakes)[0], where="post", color=LINE_COLOR, label="detector")
    axes.set(
        title=f"AUC {_with_interval(auc)}",
        xlabel="false positive rate (REAL called FAKE)",
        ylabel="true positive rate (FAKE found)",
    )
    _unit_square(axes)
    axes.legend(loc="lower right")
    return figure


def _class_counts(scores: Scores) -> tuple[FloatArray, FloatArray]:
    return class_weights_by_score(scores.is_fake, scores.fake_probability, np.ones((1, len(scores.is_fake))))


def _cumulated_share(weights: FloatArray) -> FloatArray:
    """Return the share called FAKE as the threshold falls from above the highest score, ``(B, levels + 1)``."""
    cumulated = np.cumsum(weights[:, ::-1], axis=1)
    shares = ratio(cumulated, np.repeat(cumulated[:, -1:], cumulated.shape[1], axis=1))
    return np.concatenate([np.zeros((len(shares), 1)), shares], axis=1)


@styled
def plot_precision_recall(predictions: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> Figure:
    """Plot precision against recall, with the prevalence as the chance level.

    Raises:
        ReportError: One class is absent.
    """
    scores = _scores_of_both_classes(predictions, "precision-recall curve")
    average_precision = _estimates(scores, resamples=resamples, seed=seed)["average_precision"]
    fakes, reals = (np.cumsum(counts[0, ::-1]) for counts in _class_counts(scores))
    precision, recall = fakes / (fakes + reals), fakes / fakes[-1]
    prevalence = scores.is_fake.mean()
    figure = new_figure(FIGURE_WIDTH, 4.0)
    axes = figure.subplots()
    axes.axhline(
        prevalence, ls="--", color=mpl.rcParams["xtick.color"], linewidth=1.2, label=f"chance: {prevalence:.0%} FAKE"
    )
    axes.step(np.r_[0, recall], np.r_[precision[0], precision], where="pre", color=LINE_COLOR, label="detector")
    axes.set(
        title=f"Average precision {_with_interval(average_precision)}",
        xlabel="recall (share of FAKE found)",
        ylabel="precision (share FAKE of called FAKE)",
    )
    _unit_square(axes)
    axes.legend(loc="lower left")
    return figure


@styled
def plot_scores(predictions: pd.DataFrame, *, threshold: float, answer_range: tuple[float, float]) -> Figure:
    """Plot histograms of the scores, REAL above FAKE, with one tick per video, the threshold and what is UNDECIDED."""
    scores = Scores.of(predictions)
    figure = new_figure(FIGURE_WIDTH, 3.7)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, (label, color), rows in zip(panels, CLASS_COLORS.items(), (~scores.is_fake, scores.is_fake), strict=True):
        values = scores.fake_probability[rows]
        if len(values):  # an empty artist outside the axes breaks the layout
            sns.histplot(x=values, bins=20, binrange=(0, 1), color=color, alpha=0.75, linewidth=0.4, ax=axes)
            axes.plot(
                values, np.full(len(values), -0.04), "|", transform=axes.get_xaxis_transform(), clip_on=False,
                color=color, markersize=5, mew=0.8,
            )  # fmt: skip
        axes.axvspan(*answer_range, color=mpl.rcParams["xtick.color"], alpha=0.15, linewidth=0)
        axes.axvline(threshold, color=mpl.rcParams["text.color"], linewidth=1.2)
        axes.tick_params(axis="x", pad=7)
        axes.set_title(f"{label}: {len(values)} videos", fontweight="bold")
        axes.set_ylabel("videos")
        axes.yaxis.set_major_locator(_whole_numbers(4))
    panels[0].set_title(f"grey: UNDECIDED; line: threshold {threshold:.2f}", loc="right", fontsize=8.5)
    panels[1].set(xlabel="predicted fake probability", xlim=(-0.01, 1.01))
    return figure


@styled
def plot_reliability(predictions: pd.DataFrame, *, bins: int = 10, resamples: int = 1000, seed: int = 0) -> Figure:
    """Plot the share of fakes against predicted probability (reliability), with the number of videos below.

    The error bars are Wilson intervals, which treat videos as independent.
    """
    scores = Scores.of(predictions)
    table = reliability_table(scores.is_fake, scores.fake_probability, bins)
    figure = new_figure(FIGURE_WIDTH, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    top.plot([0, 1], [0, 1], "--", color=mpl.rcParams["xtick.color"], linewidth=1.2, label="perfect calibration")
    filled = table[table["count"] > 0]
    spread = np.abs(filled[["fake_share_low", "fake_share_high"]].to_numpy().T - filled["fake_share"].to_numpy())
    top.errorbar(
        filled["mean_probability"], filled["fake_share"], yerr=spread, fmt="o-", color=LINE_COLOR, markersize=5,
        linewidth=1.2, elinewidth=1.0, label="detector, 95 % Wilson interval",
    )  # fmt: skip
    _unit_square(top)
    top.set(
        title=f"Expected calibration error {_with_interval(_estimates(scores, resamples=resamples, seed=seed)['ece'])}",
        ylabel="share of FAKE",
    )
    top.legend(loc="best")
    bottom.bar(table["low"], table["count"], width=1 / bins, align="edge", color=LINE_COLOR, alpha=0.6, linewidth=0.4)
    bottom.set(xlabel="predicted fake probability", ylabel="videos")
    bottom.yaxis.set_major_locator(_whole_numbers(3))
    return figure


@styled
def plot_differences(rows: Sequence[Mapping[str, Any]], *, key: str, label: str) -> Figure:
    """Plot estimates with their intervals as a forest plot around zero.

    Args:
        rows: Each with a ``name`` and an estimate under ``key``.
        key: Key of the estimate.
        label: Label of the axis.
    """
    figure = new_figure(1.5 * FIGURE_WIDTH, 1.1 + 0.38 * len(rows))
    axes = figure.subplots()
    axes.axvline(0, ls="--", color=mpl.rcParams["xtick.color"], linewidth=1.2)
    for place, row in enumerate(rows):
        estimate = row[key]
        if estimate["value"] is None:
            continue
        if estimate["low"] is not None:
            axes.plot([estimate["low"], estimate["high"]], [place, place], color=LINE_COLOR, alpha=0.5, linewidth=4)
        axes.plot(estimate["value"], place, "o", color=LINE_COLOR)
    axes.set_yticks(range(len(rows)), [str(row["name"]) for row in rows])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=label)
    axes.margins(y=0.3 if len(rows) < 3 else 0.1)
    return figure


@styled
def plot_stress(rows: Sequence[Mapping[str, Any]], *, title: str, label: str) -> Figure:
    """Plot AUC and coverage against the strength of one kind of damage.

    Args:
        rows: ``strength``, ``auc`` (an estimate) and ``coverage``, in drawing order, the untouched videos first.
        title: Title of the figure.
        label: Label of the axis of strengths.
    """
    names = [str(row["strength"]) for row in rows]
    places = np.arange(len(rows))
    known = [place for place, row in enumerate(rows) if row["auc"]["value"] is not None]
    figure = new_figure(FIGURE_WIDTH, 3.2)
    axes = figure.subplots()
    axes.axhline(0.5, ls="--", color=mpl.rcParams["xtick.color"], linewidth=1.2, label="coin toss")
    bounded = [place for place in known if rows[place]["auc"]["low"] is not None]
    if bounded:
        low, high = ([rows[place]["auc"][end] for place in bounded] for end in ("low", "high"))
        axes.fill_between(bounded, low, high, color=LINE_COLOR, alpha=0.18, linewidth=0, label="95 % band")
    axes.plot(known, [rows[place]["auc"]["value"] for place in known], "o-", color=LINE_COLOR, label="AUC")
    axes.plot(
        places,
        [row["coverage"] for row in rows],
        "s:",
        color=mpl.rcParams["xtick.color"],
        markersize=4,
        linewidth=1.2,
        label="share of videos scored",
    )
    axes.set_xticks(places, names)
    axes.set(title=title, xlabel=label, ylabel="AUC", ylim=(-0.02, 1.04))
    axes.legend(loc="lower left")
    return figure


@styled
def plot_frame_scores(
    times_seconds: Sequence[float], frame_probabilities: Sequence[float], *, threshold: float, clip: float
) -> Figure:
    """Plot the fake probability of each frame over time, coloured by its verdict.

    Args:
        times_seconds: Time of each frame.
        frame_probabilities: Score of each frame.
        threshold: Operating point.
        clip: Score of the whole clip.
    """
    times, scores = np.asarray(times_seconds, float), np.asarray(frame_probabilities, float)
    figure = new_figure(FIGURE_WIDTH, 2.6)
    axes = figure.subplots()
    axes.axhline(threshold, color=mpl.rcParams["text.color"], linewidth=1.2, label=f"threshold {threshold:.2f}")
    axes.axhline(clip, ls=":", color=mpl.rcParams["xtick.color"], linewidth=1.2, label=f"the clip, {clip:.2f}")
    axes.plot(times, scores, color=mpl.rcParams["xtick.color"], linewidth=1)
    for name, chosen in (("REAL", scores < threshold), ("FAKE", scores >= threshold)):
        axes.plot(times[chosen], scores[chosen], "o", color=CLASS_COLORS[name], markersize=6)
    axes.set(xlabel="time (seconds)", ylabel="fake probability", ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def _scores_of_both_classes(predictions: pd.DataFrame, figure: str) -> Scores:
    scores = Scores.of(predictions)
    if not scores.has_both_classes:
        raise ReportError(
            f"{figure}: needs REAL and FAKE videos ({len(scores.is_fake)} of one class). Add the other class."
        )
    return scores


def _estimates(scores: Scores, *, resamples: int, seed: int) -> dict[str, dict[str, float | None]]:
    return estimate_metrics(scores, threshold=0.5, resamples=resamples, seed=seed)


def _with_interval(estimate: dict[str, float | None]) -> str:
    if estimate["low"] is None:
        return f"{estimate['value']:.2f}"
    return f"{estimate['value']:.2f} (95 %: {estimate['low']:.2f}–{estimate['high']:.2f})"


def _whole_numbers(ticks: int) -> MaxNLocator:
    return MaxNLocator(nbins=ticks, integer=True)


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
