"""Figures for choosing what to answer: errors by the share that is decided, and calibration before and after."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfutils.evaluation.decisions import GRID, risk_coverage
from dfutils.evaluation.predictions import Scores, check_predictions
from dfutils.figures.style import FIGURE_WIDTH, LINE_COLOR, new_figure, styled
from dfutils.statistics.estimates import reliability_table


@styled
def plot_risk_coverage(
    predictions: pd.DataFrame,
    *,
    threshold: float,
    resamples: int = 1000,
) -> Figure:
    """Plot the share of wrong verdicts against the share of videos decided, starting with the most certain ones.

    Args:
        predictions: One row per video.
        threshold: Operating point.
        resamples: Bootstrap resamples behind the confidence band.
    """
    curve = risk_coverage(predictions, threshold=threshold, resamples=resamples)
    figure = new_figure(FIGURE_WIDTH, 3.4)
    axes = figure.subplots()
    if curve.low is not None and curve.high is not None:
        axes.fill_between(GRID, curve.low, curve.high, color=LINE_COLOR, alpha=0.18, linewidth=0, label="95 % band")
    axes.plot(curve.coverage, curve.risk, color=LINE_COLOR, drawstyle="steps-pre", label="detector")
    axes.set(
        title=f"Mean over all coverages: {curve.area:.3f}",
        xlabel="share of videos decided, the most certain first",
        ylabel="share of wrong verdicts",
        xlim=(0, 1.02),
        ylim=(-0.01, max(0.12, 1.1 * float(np.nanmax(curve.risk if curve.high is None else curve.high)))),
    )
    axes.legend(loc="upper left")
    return figure


@styled
def plot_calibration(predictions: pd.DataFrame, *, bins: int = 10) -> Figure:
    """Plot the share of FAKE against the mean probability of each bin, before and after calibration.

    Args:
        predictions: One row per video, with ``raw_probability``.
        bins: Number of bins of equal width.
    """
    rows = check_predictions(predictions)
    tables = {
        "before": (rows.assign(fake_probability=rows["raw_probability"]), mpl.rcParams["xtick.color"], "s--"),
        "after": (rows, LINE_COLOR, "o-"),
    }
    figure = new_figure(FIGURE_WIDTH, 4.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color=mpl.rcParams["grid.color"], linewidth=1.2, label="perfect calibration")
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
    axes.set(xlabel="predicted fake probability", ylabel="share of FAKE", xlim=(-0.02, 1.02))
    axes.set(ylim=(-0.02, 1.02), title="One mark per bin with videos")
    axes.legend(loc="best")
    return figure
