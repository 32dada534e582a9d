"""Training curves, as a figure and as an image in the run folder."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dfutils.errors import ReportError
from dfutils.figures.style import FIGURE_WIDTH, LINE_COLOR, figure_png, new_figure, styled
from dfutils.files import replacing
from dfutils.runs.folder import RunFolder


@styled
def plot_history(history: pd.DataFrame) -> Figure:
    """Plot training curves: one panel per quantity, with training and validation together.

    Args:
        history: One row per epoch; optionally ``epoch``, then any columns such as ``loss, val_loss, auc, val_auc``.

    Raises:
        ReportError: There is no epoch, or no numeric column.
    """
    numbers = history.select_dtypes("number")
    names = [name for name in numbers if name != "epoch" and not (name.startswith("val_") and name[4:] in numbers)]
    if numbers.empty or not names:
        raise ReportError(f"history: has nothing to draw ({len(history)} rows). Train for at least one epoch.")
    epochs = numbers["epoch"] if "epoch" in numbers else pd.Series(range(1, len(numbers) + 1), index=numbers.index)
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(FIGURE_WIDTH, 1.0 + 1.9 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        axes.plot(epochs, numbers[name], "o-", color=mpl.rcParams["xtick.color"], markersize=3, label="training")
        if f"val_{name}" in numbers:
            axes.plot(epochs, numbers[f"val_{name}"], "o-", color=LINE_COLOR, markersize=3, label="validation")
        axes.set_title({"auc": "AUC"}.get(name, name.replace("_", " ")))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(names) - columns) : len(names)]:
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    panels[0].legend()
    return figure


def write_history_figure(run: Path) -> Path:
    """Draw ``history.csv`` of a run folder, write it as ``history.png`` beside it and return its path.

    Raises:
        ReportError: ``history.csv`` has no epoch.
    """
    path = RunFolder(run).history_figure
    figure = plot_history(pd.read_csv(RunFolder(run).history_file))
    with replacing(path) as temporary:
        temporary.write_bytes(figure_png(figure))
    return path
