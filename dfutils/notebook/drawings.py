"""Small figures for the notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dfutils.evaluation.predictions import read_predictions
from dfutils.extraction.dataset import FaceDataset
from dfutils.extraction.video import iter_frames
from dfutils.figures.frames import plot_contact_sheet
from dfutils.figures.style import LINE_COLOR, new_figure, styled
from dfutils.notebook.display import Markdown
from dfutils.prediction.detector import Detector
from dfutils.prediction.explanation import heat_images
from dfutils.records import Box, ClipRow, Extraction, FaceClip, Verdict
from dfutils.report.examples import worst_mistakes

PERSON_MARKS = ("o-", "s--", "^:", "D-.")
PERSON_COLORS = (LINE_COLOR, "#CC79A7", "#56B4E9", "#7a828c")
"""None of them is the colour of REAL or FAKE."""


def plot_faces(dataset: FaceDataset, *, pairs: int = 5) -> Figure:
    """Show the middle crop of REAL clips, above FAKE clips of the same groups if there are any."""
    reals = {row.group: row for row in reversed(dataset.rows) if not row.is_fake}
    fakes = {row.group: row for row in reversed(dataset.rows) if row.is_fake}
    shared = sorted(reals.keys() & fakes.keys())
    pairs = min(pairs, *(len(shared or clips) for clips in (reals, fakes) if clips))
    upper = [reals[group] for group in (shared or sorted(reals))[:pairs]]
    lower = [fakes[group] for group in (shared or sorted(fakes))[:pairs]]
    titles = [f"{'FAKE' if row.is_fake else 'REAL'} {row.group}" for row in (*upper, *lower)]
    return plot_contact_sheet(_middle_crops(dataset, [*upper, *lower]), titles=titles, columns=pairs)


@styled
def plot_face_step(path: Path, clip: FaceClip, *, frames: int = 3) -> Figure:
    """Show whole frames of a video with the detected face and the square that is cropped.

    Args:
        path: The video. It is decoded in this process, so it must be one that you trust.
        clip: The clip that was extracted from it.
        frames: Number of frames to show, evenly spread over the clip.
    """
    places = np.linspace(0, len(clip.crops) - 1, min(frames, len(clip.crops))).round().astype(int)
    crops = {clip.crops[place].frame_index: clip.crops[place] for place in places}
    shown = [(frame.image(), crops[frame.index]) for frame in iter_frames(path) if frame.index in crops]
    figure = new_figure(2.5 * len(shown), 2.3, photographs=True)
    for axes, (image, crop) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        axes.imshow(image)
        axes.set_axis_off()
        axes.set_title(f"{crop.time_seconds:.1f} s", fontsize=8.5, loc="center")
        _outline(axes, crop.square, "white", "--")
        if crop.face is not None:
            _outline(axes, crop.face.box, LINE_COLOR, "-")
            for point in crop.face.landmarks:
                axes.plot(*point, "o", color=LINE_COLOR, markersize=3)
    return figure


def _outline(axes: Axes, box: Box, color: str, style: str) -> None:
    axes.add_patch(Rectangle((box.left, box.top), box.width, box.height, fill=False, ec=color, ls=style, lw=1.5))


def plot_timeline(verdict: Verdict, *, answer_range: tuple[float, float]) -> Figure | Markdown:
    """Plot the score of each person over time, per frame if the model scores frames, and what is UNDECIDED.

    Without a face, this function and the next two return the reason as text, so that a notebook continues.
    """
    return _draw_timeline(verdict, answer_range) if verdict.tracks else _without_face(verdict)


@styled
def _draw_timeline(verdict: Verdict, answer_range: tuple[float, float]) -> Figure:
    figure = new_figure(7.0, 2.5)
    axes = figure.subplots()
    for number, track in enumerate(verdict.tracks, start=1):
        times = [frame.time_seconds for frame in track.frames]
        frame_scores = (frame.fake_probability for frame in track.frames)
        scores = [track.fake_probability if score is None else score for score in frame_scores]
        name = f"person {number}: {track.fake_probability:.2f}"
        place = (number - 1) % len(PERSON_MARKS)
        axes.plot(times, scores, PERSON_MARKS[place], color=PERSON_COLORS[place], markersize=5, label=name)
    real_up_to, fake_from = answer_range
    axes.axhspan(real_up_to, fake_from, color=mpl.rcParams["xtick.color"], alpha=0.15, linewidth=0)
    for height, answer, side in ((fake_from, "FAKE from here", "bottom"), (real_up_to, "REAL up to here", "top")):
        axes.axhline(height, color=mpl.rcParams["text.color"], linewidth=1.0)
        axes.text(1, height, f" {answer}", transform=axes.get_yaxis_transform(), va=side, fontsize=8.5)
    axes.set(xlabel="time (seconds)", ylabel="fake probability", ylim=(-0.02, 1.02))
    axes.legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=4, borderaxespad=0)
    return figure


def _without_face(verdict: Verdict) -> Markdown:
    return Markdown(f"> {verdict.label} ({verdict.reason}): {verdict.detail}")


def show_mistakes(report: Path, dataset: FaceDataset, *, threshold: float, count: int = 5) -> Figure | Markdown:
    """Show a crop of each of the most confident mistakes, false positives before missed fakes."""
    predictions = read_predictions(report / "predictions.csv")
    mistakes = worst_mistakes(predictions, threshold=threshold, count=count)
    if not mistakes:
        return Markdown("> No video was classified wrongly.")
    main = {row.video: row for row in dataset.rows if row.track == 0}
    titles = [f"{'FAKE' if one.is_fake else 'REAL'} given {one.fake_probability:.2f}" for one in mistakes]
    return plot_contact_sheet(_middle_crops(dataset, [main[one.video] for one in mistakes]), titles=titles)


def plot_ranking(report: Path, dataset: FaceDataset, *, most: int = 10) -> Figure:
    """Show a crop of each video of a report in the order of their scores, with label and score."""
    predictions = read_predictions(report / "predictions.csv").dropna(subset=["fake_probability"])
    scores = predictions.set_index("video")["fake_probability"].sort_values(ascending=False)
    main = {row.video: row for row in dataset.rows if row.track == 0}
    shown = [main[video] for video in scores.index if video in main][:most]
    titles = [f"{'FAKE' if row.is_fake else 'REAL'} {scores[row.video]:.2f}" for row in shown]
    return plot_contact_sheet(_middle_crops(dataset, shown), titles=titles)


def plot_verdict(verdict: Verdict, extraction: Extraction | None) -> Figure | Markdown:
    """Show the crops behind a verdict, person by person in order of time, with their scores if known."""
    if extraction is None:
        return _without_face(verdict)
    images = [image for clip in extraction.clips for image in clip.images]
    titles = [
        (f"person {number}, " if len(verdict.tracks) > 1 else "")
        + f"{frame.time_seconds:.1f} s"
        + ("" if frame.fake_probability is None else f": {frame.fake_probability:.2f}")
        for number, track in enumerate(verdict.tracks, start=1)
        for frame in track.frames
    ]
    return plot_contact_sheet(images, titles=titles)


def plot_heat_maps(detector: Detector, verdict: Verdict, extraction: Extraction | None) -> Figure | Markdown:
    """Show the first person's crops, brighter where something raises the network's score (Grad-CAM)."""
    if extraction is None:
        return _without_face(verdict)
    clip = extraction.clips[0]
    images = heat_images(detector, clip)
    return plot_contact_sheet(
        list(images.values()), titles=[f"{clip.crops[number].time_seconds:.1f} s" for number in images]
    )


def _middle_crops(dataset: FaceDataset, rows: Sequence[ClipRow]) -> list[Any]:
    return [dataset.load_clip(row)[row.frames // 2] for row in rows]
