"""Figures of how a detector does. Each function returns a Figure and neither shows nor saves it.

``predictions`` is the table that `dfutils.evaluation.metrics.compute_metrics` takes; videos without a score are in no
figure. Wherever there is an interval, it is the 95 % percentile bootstrap over groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dfutils.errors import ReportError
from dfutils.evaluation.metrics import estimate_metrics
from dfutils.evaluation.predictions import Scores
from dfutils.figures.style import CLASS_COLORS, FAKE_COLOR, INK_ON_COLOR, LINE_COLOR, REAL_COLOR, new_figure, styled
from dfutils.records import Crops, Image, MotionTrace
from dfutils.statistics.bootstrap import bootstrap_over_groups
from dfutils.statistics.estimates import FloatArray, class_weights_by_score, ratio, reliability_table

_WIDTH = 4.4  # inches: small enough that 9.5 pt stays readable on a telephone


@styled
def plot_confusion(predictions: pd.DataFrame, *, threshold: float) -> Figure:
    """Confusion matrix at ``threshold``: counts on the left, shares of each true class on the right."""
    scores = Scores.of(predictions)
    called_fake = scores.fake_probability >= threshold
    counts = np.array(
        [[(label & ~called_fake).sum(), (label & called_fake).sum()] for label in (~scores.is_fake, scores.is_fake)]
    ).astype(float)
    shares = ratio(counts, np.repeat(counts.sum(axis=1, keepdims=True), 2, axis=1))
    figure = new_figure(_WIDTH, 3.2)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_matrix(left, shares, [[f"{value:.0f}" for value in row] for row in counts])
    _draw_matrix(right, shares, [["–" if np.isnan(value) else f"{value:.0%}" for value in row] for row in shares])
    left.set(title="Videos", ylabel="truth")
    right.set(title="Share of each row")
    figure.supxlabel(f"called, at threshold {threshold:.2f}", fontsize=9.5)
    return figure


def _draw_matrix(axes: Axes, shares: FloatArray, texts: list[list[str]]) -> None:
    strength = 0.08 + 0.82 * np.nan_to_num(shares)
    axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
    for row, column in np.ndindex(2, 2):
        # See-through rather than mixed with the paper, which may be made dark later.
        place, color = (column - 0.5, row - 0.5), (REAL_COLOR, FAKE_COLOR)[row]
        axes.add_patch(Rectangle(place, 1, 1, facecolor=color, alpha=strength[row, column], linewidth=0))
        ink = INK_ON_COLOR if strength[row, column] > 0.65 else mpl.rcParams["text.color"]
        axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=15, color=ink)
    axes.set_xticks([0, 1], ["REAL", "FAKE"])
    axes.set_yticks([0, 1], ["REAL", "FAKE"])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


@styled
def plot_roc(predictions: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> Figure:
    """ROC curve with a bootstrap band over groups, and the AUC with its interval.

    Raises:
        ReportError: One class is absent.
    """
    scores = _scores_of_both_classes(predictions, "ROC curve")
    auc = _estimates(scores, resamples=resamples, seed=seed)["auc"]
    figure = new_figure(_WIDTH, 4.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color=mpl.rcParams["xtick.color"], linewidth=1.2, label="coin toss")
    if auc["low"] is not None:
        _draw_roc_band(axes, scores, resamples=resamples, seed=seed)
    fakes, reals = _class_counts(scores)
    axes.step(_cumulated_share(reals)[0], _cumulated_share(fakes)[0], where="post", color=LINE_COLOR, label="detector")
    axes.set(title=f"AUC {_worded(auc)}", xlabel="REAL videos called FAKE (share)", ylabel="FAKE videos found (share)")
    _unit_square(axes)
    axes.legend(loc="lower right")
    return figure


def _draw_roc_band(axes: Axes, scores: Scores, *, resamples: int, seed: int) -> None:
    grid = np.linspace(0, 1, 101)

    def statistic(weights: FloatArray) -> FloatArray:
        fakes, reals = class_weights_by_score(scores.is_fake, scores.fake_probability, weights)
        return _hit_rates(_cumulated_share(reals), _cumulated_share(fakes), grid)

    drawn = bootstrap_over_groups(scores.groups, statistic, resamples=resamples, seed=seed)
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    axes.fill_between(grid, low, high, color=LINE_COLOR, alpha=0.18, linewidth=0, step="post", label="95 % band")


def _hit_rates(false_alarms: FloatArray, hits: FloatArray, grid: FloatArray) -> FloatArray:
    """Share of fakes found while at most ``grid`` of the reals are called FAKE, ``(B, len(grid))``."""
    rates = [
        hit[np.searchsorted(alarm, grid + 1e-9, side="right") - 1]
        for alarm, hit in zip(false_alarms, hits, strict=True)
    ]
    has_both_classes = ~np.isnan(false_alarms[:, -1] + hits[:, -1])
    return np.where(has_both_classes[:, None], np.array(rates), np.nan)


def _class_counts(scores: Scores) -> tuple[FloatArray, FloatArray]:
    return class_weights_by_score(scores.is_fake, scores.fake_probability, np.ones((1, len(scores.is_fake))))


def _cumulated_share(weights: FloatArray) -> FloatArray:
    """Share called FAKE as the threshold falls from above the highest score, ``(B, levels + 1)``; NaN where none."""
    cumulated = np.cumsum(weights[:, ::-1], axis=1)
    shares = ratio(cumulated, np.repeat(cumulated[:, -1:], cumulated.shape[1], axis=1))
    return np.concatenate([np.zeros((len(shares), 1)), shares], axis=1)


@styled
def plot_precision_recall(predictions: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> Figure:
    """Precision against recall, with the prevalence as the line of chance.

    Raises:
        ReportError: One class is absent.
    """
    scores = _scores_of_both_classes(predictions, "precision-recall curve")
    average_precision = _estimates(scores, resamples=resamples, seed=seed)["average_precision"]
    fakes, reals = (np.cumsum(counts[0, ::-1]) for counts in _class_counts(scores))
    precision, recall = fakes / (fakes + reals), fakes / fakes[-1]
    prevalence = scores.is_fake.mean()
    figure = new_figure(_WIDTH, 4.0)
    axes = figure.subplots()
    axes.axhline(
        prevalence, ls="--", color=mpl.rcParams["xtick.color"], linewidth=1.2, label=f"chance: {prevalence:.0%} FAKE"
    )
    axes.step(np.r_[0, recall], np.r_[precision[0], precision], where="pre", color=LINE_COLOR, label="detector")
    axes.set(
        title=f"Average precision {_worded(average_precision)}",
        xlabel="recall: FAKE videos found (share)",
        ylabel="precision: FAKE among those called FAKE",
    )
    _unit_square(axes)
    axes.legend(loc="lower left")
    return figure


@styled
def plot_scores(predictions: pd.DataFrame, *, threshold: float) -> Figure:
    """Histogram of the scores, REAL above FAKE, with a tick a video and the threshold."""
    scores = Scores.of(predictions)
    figure = new_figure(_WIDTH, 3.7)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, (label, color), rows in zip(panels, CLASS_COLORS.items(), (~scores.is_fake, scores.is_fake), strict=True):
        values = scores.fake_probability[rows]
        if len(values):  # an empty line drawn outside the axes would upset the layout
            sns.histplot(x=values, bins=20, binrange=(0, 1), color=color, alpha=0.75, linewidth=0.4, ax=axes)
            _draw_ticks_below(axes, values, color)
        axes.axvline(threshold, color=mpl.rcParams["text.color"], linewidth=1.2)
        axes.tick_params(axis="x", pad=7)
        axes.set_title(f"{label}: {len(values)} videos", fontweight="bold")
        axes.set_ylabel("videos")
        axes.yaxis.set_major_locator(_whole_numbers(4))
    panels[0].set_title(f"line: threshold {threshold:.2f}", loc="right", fontsize=8.5)
    panels[1].set(xlabel="predicted fake probability", xlim=(-0.01, 1.01))
    return figure


def _draw_ticks_below(axes: Axes, values: FloatArray, color: str) -> None:
    height = np.full(len(values), -0.04)
    axes.plot(
        values, height, "|", transform=axes.get_xaxis_transform(), clip_on=False, color=color, markersize=5, mew=0.8
    )


@styled
def plot_reliability(predictions: pd.DataFrame, *, bins: int = 10, resamples: int = 1000, seed: int = 0) -> Figure:
    """Reliability diagram: share of fakes against predicted probability, with the number of videos below.

    The bars are Wilson intervals, which take videos for independent.
    """
    scores = Scores.of(predictions)
    table = reliability_table(scores.is_fake, scores.fake_probability, bins)
    figure = new_figure(_WIDTH, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    top.plot([0, 1], [0, 1], "--", color=mpl.rcParams["xtick.color"], linewidth=1.2, label="honest probabilities")
    filled = table[table["count"] > 0]
    spread = np.abs(filled[["fake_share_low", "fake_share_high"]].to_numpy().T - filled["fake_share"].to_numpy())
    top.errorbar(
        filled["mean_probability"], filled["fake_share"], yerr=spread, fmt="o-", color=LINE_COLOR, markersize=5,
        linewidth=1.2, elinewidth=1.0, label="detector, 95 % Wilson interval",
    )  # fmt: skip
    _unit_square(top)
    top.set(
        title=f"Expected calibration error {_worded(_estimates(scores, resamples=resamples, seed=seed)['ece'])}",
        ylabel="FAKE among them (share)",
    )
    top.legend(loc="best")
    bottom.bar(table["low"], table["count"], width=1 / bins, align="edge", color=LINE_COLOR, alpha=0.6, linewidth=0.4)
    bottom.set(xlabel="predicted fake probability", ylabel="videos")
    bottom.yaxis.set_major_locator(_whole_numbers(3))
    return figure


@styled
def plot_history(history: pd.DataFrame) -> Figure:
    """Training curves: a panel a quantity, training beside validation, whatever columns ``history`` has.

    Args:
        history: A row an epoch; ``epoch`` if it has one, then columns such as ``loss, val_loss, auc, val_auc``.

    Raises:
        ReportError: There is no epoch, or nothing numeric to draw.
    """
    numbers = history.select_dtypes("number")
    names = [name for name in numbers if name != "epoch" and not (name.startswith("val_") and name[4:] in numbers)]
    if numbers.empty or not names:
        raise ReportError(f"history: has nothing to draw ({len(history)} rows). Train for at least one epoch.")
    epochs = numbers["epoch"] if "epoch" in numbers else pd.Series(range(1, len(numbers) + 1), index=numbers.index)
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(_WIDTH, 1.0 + 1.9 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw_history(axes, epochs, numbers, name)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(names) - columns) : len(names)]:
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    panels[0].legend()
    return figure


def _draw_history(axes: Axes, epochs: pd.Series, numbers: pd.DataFrame, name: str) -> None:
    axes.plot(epochs, numbers[name], "o-", color=mpl.rcParams["xtick.color"], markersize=3, label="training")
    if f"val_{name}" in numbers:
        axes.plot(epochs, numbers[f"val_{name}"], "o-", color=LINE_COLOR, markersize=3, label="validation")
    axes.set_title({"auc": "AUC"}.get(name, name.replace("_", " ")))
    axes.xaxis.set_major_locator(_whole_numbers(5))


@styled
def plot_motion(trace: MotionTrace, chosen_seconds: Sequence[float], *, segments: int = 0) -> Figure:
    """Motion of every frame over time, with the chosen frames marked.

    Args:
        trace: From `dfutils.extraction.clips.extract_clips`.
        chosen_seconds: Times of the chosen frames, such as `dfutils.records.FaceClip.times_seconds`.
        segments: Draw the borders of so many segments of equal time; 0 draws none.

    Raises:
        ValueError: The trace is empty: a still image has no motion.
    """
    if not trace.times_seconds:
        raise ValueError("trace: holds no frame; a still image has no motion to draw")
    times, motion = np.array(trace.times_seconds), 100 * np.array(trace.motion)
    chosen = [int(np.argmin(np.abs(times - second))) for second in sorted(set(chosen_seconds))]
    figure = new_figure(1.6 * _WIDTH, 2.6)
    axes = figure.subplots()
    axes.grid(visible=False, axis="x")
    for border in np.linspace(times[0], _end_of(times), segments + 1)[1:-1] if segments else ():
        axes.axvline(border, color=mpl.rcParams["grid.color"], linewidth=0.8, zorder=0)
    for cut in trace.cuts:
        axes.axvline(times[cut], color=mpl.rcParams["text.color"], ls=":", linewidth=1.2)
    axes.plot(times, motion, color=mpl.rcParams["xtick.color"], linewidth=1.2, label="every frame")
    axes.plot(times[chosen], motion[chosen], "o", color=LINE_COLOR, markersize=6, label="chosen frame")
    axes.set(xlabel="time (seconds)", ylabel="change of brightness (%)", ylim=(0, None))
    axes.set_title(f"{len(chosen)} of {len(times)} frames chosen")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=2)
    return figure


def _end_of(times: FloatArray) -> float:
    """Where the last frame ends, if it lasts as long as the others."""
    return float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0.0))


@styled
def plot_contact_sheet(
    images: Crops | Sequence[Image], *, titles: Sequence[str] | None = None, columns: int = 5
) -> Figure:
    """Images in reading order, at most ``columns`` a row.

    Args:
        images: ``(T, size, size, 3)`` uint8 RGB, or a list of images of any sizes.
        titles: One an image; a title that starts with REAL or FAKE gets that colour.
        columns: Images a row.
    """
    if not len(images) or columns < 1:
        raise ValueError(f"images, columns: need at least one of each. Received: {len(images)}, {columns}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles: need one an image ({len(images)}). Received: {len(titles)}")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.5 * columns, (1.5 + 0.25 * (titles is not None)) * rows, photographs=True)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for index, (axes, image) in enumerate(zip(panels, images, strict=False)):
        axes.imshow(image)
        if titles is not None:
            color = CLASS_COLORS.get(titles[index][:4], mpl.rcParams["text.color"])
            axes.set_title(titles[index], fontsize=8.5, color=color, loc="center", pad=3)
    return figure


def _scores_of_both_classes(predictions: pd.DataFrame, figure: str) -> Scores:
    scores = Scores.of(predictions)
    if not scores.has_both_classes:
        raise ReportError(
            f"{figure}: needs REAL and FAKE videos ({len(scores.is_fake)} of one class). Add the other class."
        )
    return scores


def _estimates(scores: Scores, *, resamples: int, seed: int) -> dict[str, dict[str, float | None]]:
    return estimate_metrics(scores, threshold=0.5, resamples=resamples, seed=seed)[0]


def _worded(estimate: dict[str, float | None]) -> str:
    if estimate["low"] is None:
        return f"{estimate['value']:.2f}"
    return f"{estimate['value']:.2f} (95 %: {estimate['low']:.2f}–{estimate['high']:.2f})"


def _whole_numbers(ticks: int) -> MaxNLocator:
    return MaxNLocator(nbins=ticks, integer=True)


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
