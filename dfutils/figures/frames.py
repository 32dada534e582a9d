"""Figures of a video's frames: motion over time, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from dfutils.figures.style import CLASS_COLORS, FIGURE_WIDTH, LINE_COLOR, new_figure, styled
from dfutils.records import Crops, Image, MotionTrace


@styled
def plot_motion(trace: MotionTrace, chosen_seconds: Sequence[float], *, segments: int = 0) -> Figure:
    """Plot the motion of every frame over time, with the chosen frames marked.

    Args:
        trace: Motion from `dfutils.extraction.clips.extract_clips`.
        chosen_seconds: Times of the chosen frames, such as `dfutils.records.FaceClip.times_seconds`.
        segments: Number of segments of equal duration whose borders are drawn; 0 draws none.

    Raises:
        ValueError: The trace is empty: a still image has no motion.
    """
    if not trace.times_seconds:
        raise ValueError("trace: holds no frame; a still image has no motion to draw")
    times, motion = np.array(trace.times_seconds), 100 * np.array(trace.motion)
    chosen = [int(np.argmin(np.abs(times - second))) for second in sorted(set(chosen_seconds))]
    figure = new_figure(1.6 * FIGURE_WIDTH, 2.6)
    axes = figure.subplots()
    axes.grid(visible=False, axis="x")
    # The last frame ends one usual frame duration after its time.
    end = times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0.0)
    for border in np.linspace(times[0], end, segments + 1)[1:-1] if segments else ():
        axes.axvline(border, color=mpl.rcParams["grid.color"], linewidth=0.8, zorder=0)
    for cut in trace.cuts:
        axes.axvline(times[cut], color=mpl.rcParams["text.color"], ls=":", linewidth=1.2)
    axes.plot(times, motion, color=mpl.rcParams["xtick.color"], linewidth=1.2, label="every frame")
    axes.plot(times[chosen], motion[chosen], "o", color=LINE_COLOR, markersize=6, label="chosen frame")
    axes.set(xlabel="time (seconds)", ylabel="change of brightness (%)", ylim=(0, None))
    axes.set_title(f"{len(chosen)} of {len(times)} frames chosen")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=2)
    return figure


@styled
def plot_contact_sheet(
    images: Crops | Sequence[Image], *, titles: Sequence[str] | None = None, columns: int = 5
) -> Figure:
    """Show images row by row, at most ``columns`` per row.

    Args:
        images: ``(T, size, size, 3)`` uint8 RGB, or a list of images of any sizes.
        titles: One title per image; a title that starts with REAL or FAKE gets that colour.
        columns: Images per row.
    """
    if not len(images) or columns < 1:
        raise ValueError(f"images, columns: need at least one of each. Received: {len(images)}, {columns}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles: need one per image ({len(images)}). Received: {len(titles)}")
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
