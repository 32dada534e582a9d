"""The curves of a training, as an image in its run folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dfutils.figures.plots import plot_history
from dfutils.figures.style import figure_png
from dfutils.files import replacing
from dfutils.runs.folder import RunFolder


def write_history_figure(run: Path) -> Path:
    """Draw ``history.csv`` of a run folder and write it as ``history.png`` beside it; returns its path.

    Raises:
        ReportError: ``history.csv`` has no epoch.
    """
    path = RunFolder(run).history_figure
    figure = plot_history(pd.read_csv(RunFolder(run).history_file))
    with replacing(path) as temporary:
        temporary.write_bytes(figure_png(figure))
    return path
