"""One style for every figure, without changing matplotlib's global state."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette (2008): distinct for colour-blind readers, and in print by lightness.
REAL_COLOR = "#0072B2"
FAKE_COLOR = "#D55E00"
LINE_COLOR = "#009E73"
FIGURE_WIDTH = 4.4  # inches: small enough that 9.5 pt stays readable on a phone
CLASS_COLORS = {"REAL": REAL_COLOR, "FAKE": FAKE_COLOR}

_LIGHT = {"ink": "#22262b", "muted": "#656c75", "rule": "#d9dce0", "paper": "#ffffff"}
_DARK = {"ink": "#e4e6e9", "muted": "#9aa2ac", "rule": "#3a4048", "paper": "#1b1e23"}

INK_ON_COLOR = "#fffffe"
"""White text on the colour of a class: one step off white, so that `dark_svg` does not replace it."""

_STYLE_SHEET: dict[str, Any] = {
    **sns.axes_style("ticks"),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a file name with two dollar signs is not a formula
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
    "patch.edgecolor": _LIGHT["paper"],
    "figure.facecolor": _LIGHT["paper"],
    "axes.facecolor": _LIGHT["paper"],
    "axes.edgecolor": _LIGHT["muted"],
    "axes.labelcolor": _LIGHT["ink"],
    "axes.titlecolor": _LIGHT["ink"],
    "text.color": _LIGHT["ink"],
    "xtick.color": _LIGHT["muted"],
    "ytick.color": _LIGHT["muted"],
    "xtick.labelcolor": _LIGHT["ink"],
    "ytick.labelcolor": _LIGHT["ink"],
    "grid.color": _LIGHT["rule"],
}

_P = ParamSpec("_P")


class _DisplayedFigure(Figure):
    """A figure that a notebook shows without pyplot; photographs as JPEG, a tenth of the size of PNG."""

    shows_photographs = False

    def _repr_png_(self) -> bytes | None:
        return None if self.shows_photographs else figure_png(self, dpi=110)

    def _repr_jpeg_(self) -> bytes | None:
        if not self.shows_photographs:
            return None
        buffer = io.BytesIO()
        self.savefig(buffer, format="jpeg", dpi=110, pil_kwargs={"quality": 85})
        return buffer.getvalue()


def styled(plot: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Apply the style sheet to a plotting function, whatever the caller's rcParams are."""

    @functools.wraps(plot)
    def draw(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE_SHEET)
            figure = plot(*args, **kwargs)
            # Ticks are created at the first drawing and would use the style that is active at that time.
            figure.draw_without_rendering()
            # The layout is done; repeating it at each save would cost as much as drawing. With "none", a placeholder
            # would remain, for which matplotlib draws everything twice at each save.
            figure.set_layout_engine(None)
        return figure

    return draw


def new_figure(width: float, height: float, *, photographs: bool = False) -> Figure:
    """Return an empty figure of ``width`` × ``height`` inches that needs no display."""
    figure = _DisplayedFigure(figsize=(width, height), layout="constrained")
    figure.shows_photographs = photographs
    FigureCanvasAgg(figure)
    return figure


def figure_png(figure: Figure, *, dpi: int = 200) -> bytes:
    """Return the figure as PNG, byte for byte the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def figure_svg(figure: Figure) -> str:
    """Return the figure as SVG on a light background with text as outlines, the same for the same figure."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "dfutils", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def dark_svg(svg: str) -> str:
    """Return the figure on a dark background without drawing it again; REAL and FAKE keep their colours."""
    swap = {_LIGHT[name]: _DARK[name] for name in _LIGHT}
    return re.sub("|".join(swap), lambda found: swap[found.group()], svg)
