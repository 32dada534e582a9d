"""Figures of decisions, comparisons and robustness: risk–coverage, calibration, differences, stress curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dfutils.evaluation.decisions import GRID, risk_coverage
from dfutils.evaluation.predictions import Scores, check_predictions
from dfutils.figures.style import CLASS_COLORS, LINE_COLOR, new_figure, styled
from dfutils.statistics.estimates import reliability_table

_WIDTH = 4.4


@styled
def plot_risk_coverage(
    predictions: pd.DataFrame,
    *,
    threshold: float,
    decided: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Share of wrong verdicts while more and more videos are decided, the surest first.

    Args:
        predictions: A row a video.
        threshold: Operating point.
        decided: Share of the videos outside of the detector's band, to be marked.
        resamples: Of the band around the curve.
        seed: Of the resamples.
    """
    curve = risk_coverage(predictions, threshold=threshold, resamples=resamples, seed=seed)
    figure = new_figure(_WIDTH, 3.4)
    axes = figure.subplots()
    if curve.low is not None and curve.high is not None:
        axes.fill_between(GRID, curve.low, curve.high, color=LINE_COLOR, alpha=0.18, linewidth=0, label="95 % band")
    axes.plot(curve.coverage, curve.risk, color=LINE_COLOR, drawstyle="steps-pre", label="detector")
    if decided is not None:
        axes.axvline(decided, ls=":", color=mpl.rcParams["text.color"], linewidth=1.2, label="its undecided band")
    axes.set(
        title=f"Mean over all coverages: {curve.area:.3f}",
        xlabel="videos that are decided, the surest first (share)",
        ylabel="wrong verdicts among them (share)",
        xlim=(0, 1.02),
        ylim=(-0.01, max(0.12, 1.1 * float(np.nanmax(curve.risk if curve.high is None else curve.high)))),
    )
    axes.legend(loc="upper left")
    return figure


@styled
def plot_calibration(predictions: pd.DataFrame, *, bins: int = 10) -> Figure:
    """Reliability before and after calibration: share of FAKE against the mean probability of each bin.

    Args:
        predictions: A row a video, with ``raw_probability``.
        bins: Of equal width.
    """
    rows = check_predictions(predictions)
    tables = {
        "before": (rows.assign(fake_probability=rows["raw_probability"]), mpl.rcParams["xtick.color"], "s--"),
        "after": (rows, LINE_COLOR, "o-"),
    }
    figure = new_figure(_WIDTH, 4.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color=mpl.rcParams["grid.color"], linewidth=1.2, label="honest probabilities")
    for when, (table, color, marks) in tables.items():
        scores = Scores.of(table)
        filled = reliability_table(scores.is_fake, scores.fake_probability, bins).query("count > 0")
        axes.plot(
            filled["mean_probability"],
            filled["fake_share"],
            marks,
            color=color,
            markersize=5,
            linewidth=1.2,
            label=f"{when} calibration",
        )
    axes.set(xlabel="predicted fake probability", ylabel="FAKE among them (share)", xlim=(-0.02, 1.02))
    axes.set(ylim=(-0.02, 1.02), title="One mark a tenth of the scale that holds videos")
    axes.legend(loc="best")
    return figure


@styled
def plot_differences(rows: Sequence[Mapping[str, Any]], *, key: str, label: str) -> Figure:
    """Estimates with their intervals as a forest plot, a row each, around a line at zero.

    Args:
        rows: ``name`` and an estimate under ``key``.
        key: Of the estimate.
        label: Of the axis.
    """
    figure = new_figure(1.5 * _WIDTH, 1.1 + 0.38 * len(rows))
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
    """AUC and coverage of one kind of damage against its strength.

    Args:
        rows: ``strength``, ``auc`` (an estimate) and ``coverage``, in the order to draw, the untouched videos first.
        title: Of the figure.
        label: Of the axis of strengths.
    """
    names = [str(row["strength"]) for row in rows]
    places = np.arange(len(rows))
    known = [place for place, row in enumerate(rows) if row["auc"]["value"] is not None]
    figure = new_figure(_WIDTH, 3.2)
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
        label="videos with a score (share)",
    )
    axes.set_xticks(places, names)
    axes.set(title=title, xlabel=label, ylabel="AUC", ylim=(-0.02, 1.04))
    axes.legend(loc="lower left")
    return figure


@styled
def plot_frame_scores(
    times_seconds: Sequence[float], frame_probabilities: Sequence[float], *, threshold: float, clip: float
) -> Figure:
    """Fake probability of each frame over time, coloured by the side of the threshold that it is on.

    Args:
        times_seconds: Of each frame.
        frame_probabilities: Of each frame.
        threshold: Operating point.
        clip: Score of the clip as a whole.
    """
    times, scores = np.asarray(times_seconds, float), np.asarray(frame_probabilities, float)
    figure = new_figure(_WIDTH, 2.6)
    axes = figure.subplots()
    axes.axhline(threshold, color=mpl.rcParams["text.color"], linewidth=1.2, label=f"threshold {threshold:.2f}")
    axes.axhline(clip, ls=":", color=mpl.rcParams["xtick.color"], linewidth=1.2, label=f"the clip, {clip:.2f}")
    axes.plot(times, scores, color=mpl.rcParams["xtick.color"], linewidth=1)
    for name, side in (("REAL", scores < threshold), ("FAKE", scores >= threshold)):
        axes.plot(times[side], scores[side], "o", color=CLASS_COLORS[name], markersize=6)
    axes.set(xlabel="time (seconds)", ylabel="fake probability", ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure
