"""Some clips with what the detector looked at, and whether that explanation is to be believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from dfutils.evaluation.scoring import Measured
from dfutils.figures.curve_plots import plot_frame_scores
from dfutils.prediction.detector import Detector
from dfutils.prediction.explanation import grad_cam, measure_faithfulness, occlusion_maps, overlay
from dfutils.report.sections import Column, FigurePlan, ImageStrip, Section, Table


def explanation_section(detector: Detector, measured: Measured, *, count: int) -> Section:
    """Explain the clips with the highest and the lowest scores: strips of frames, and what deletion says of them."""
    order = sorted(range(len(measured.rows)), key=lambda index: measured.scores[index].fake_probability)
    chosen = order[::-1][: (count + 1) // 2] + order[: count // 2]
    strips, rows, figures = [], [], []
    for number, index in enumerate(dict.fromkeys(chosen)):
        row, score = measured.rows[index], measured.scores[index]
        crops = measured.dataset.load_clip(row)
        title = f"{'FAKE' if row.is_fake else 'REAL'}, given {score.fake_probability:.2f}: {row.video}"
        strips.append(ImageStrip(title, "What the detector was shown.", list(crops)))
        for method, maps in (("Grad-CAM", grad_cam(detector, crops)), ("occlusion", occlusion_maps(detector, crops))):
            found = measure_faithfulness(detector, crops, maps)
            images = [overlay(image, heat) for image, heat in zip(crops, maps, strict=True)]
            strips.append(ImageStrip(f"The same by {method}", found.sentence(), images))
            rows.append(_faithfulness_row(row.video, method, found))
        if score.frame_probabilities is not None:
            figures.append(
                FigurePlan(
                    f"frames_{number}",
                    f"Frame by frame: {row.video}",
                    "Each dot is a frame, in the colour of the side of the threshold that it is on. One frame that "
                    "stands out may be a bad crop; a forgery is usually in all of them.",
                    _frames_figure(measured, index, detector.settings.threshold),
                )
            )
    return Section(
        name="explanation",
        title="What it looked at",
        text=["Bright parts of a crop are where FAKE is seen. Below each strip stands whether to believe it."],
        strips=strips,
        figures=figures,
        tables=[
            Table(
                "faithfulness",
                "Are these images to be believed?",
                "Blurring what a map marks should lower the score faster than blurring at random (deletion), and "
                "giving it back should raise it sooner (insertion). A map that is no better than random says nothing.",
                (
                    Column("video", "Video"),
                    Column("method", "Method"),
                    Column("deletion", "Deletion", "decimal3"),
                    Column("random_deletion", "Deletion, random maps", "decimal3"),
                    Column("insertion", "Insertion", "decimal3"),
                    Column("random_insertion", "Insertion, random maps", "decimal3"),
                    Column("beats_random", "Better than random"),
                ),
                rows,
            )
        ],
        document=rows,
    )


def _faithfulness_row(video: str, method: str, found: Any) -> dict[str, Any]:
    def mean(values: tuple[float, ...]) -> float:
        return round(sum(values) / len(values), 6)

    return {
        "video": video,
        "method": method,
        "deletion": round(found.deletion, 6),
        "random_deletion": mean(found.random_deletion),
        "insertion": round(found.insertion, 6),
        "random_insertion": mean(found.random_insertion),
        "beats_random": "yes" if found.beats_random else "no",
    }


def _frames_figure(measured: Measured, index: int, threshold: float) -> Callable[[], Figure]:
    row, score = measured.rows[index], measured.scores[index]
    times = [float(one["time_seconds"]) for one in measured.dataset.frame_rows if one["clip_id"] == row.clip_id]
    frames = score.frame_probabilities or ()
    return lambda: plot_frame_scores(times, frames, threshold=threshold, clip=score.fake_probability)
