"""Example clips of a report: the worst mistakes with a likely cause, and explanations of single verdicts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import pandas as pd

from dfutils.evaluation.predictions import check_predictions
from dfutils.evaluation.scoring import Measured
from dfutils.figures.results import plot_frame_scores
from dfutils.prediction.detector import Detector, face_pixels
from dfutils.prediction.explanation import grad_cam, measure_faithfulness, occlusion_maps, overlay
from dfutils.prediction.members import ClipScore
from dfutils.records import ClipRow, Image
from dfutils.report.elements import Column, FigurePlan, ImageStrip, Section, Table
from dfutils.statistics.formatting import probability_text

_SMALL_FACE = 0.4
_NEAR = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """A video with a wrong verdict.

    Attributes:
        video: Name of the video.
        is_fake: The truth.
        fake_probability: The score.
        dataset: Name of its data set.
        image: A face crop to show, if available.
        reason: What may have misled the detector, if known.
    """

    video: str
    is_fake: bool
    fake_probability: float
    dataset: str = ""
    image: Image | None = None
    reason: str = ""


def worst_mistakes(predictions: pd.DataFrame, *, threshold: float, count: int = 4) -> list[Mistake]:
    """Return the most confident wrong verdicts: up to ``count`` false positives, then up to ``count`` missed fakes.

    Args:
        predictions: One row per video.
        threshold: Operating point, 0..1.
        count: Maximum number of mistakes per class.
    """
    rows = check_predictions(predictions).dropna(subset=["fake_probability"])
    called_fake = rows["fake_probability"] >= threshold
    false_positives = rows[~rows["is_fake"] & called_fake].sort_values(
        "fake_probability", ascending=False, kind="stable"
    )
    missed = rows[rows["is_fake"] & ~called_fake].sort_values("fake_probability", kind="stable")
    worst = pd.concat([false_positives.head(count), missed.head(count)])
    return [Mistake(row.video, row.is_fake, row.fake_probability, row.dataset) for row in worst.itertuples()]


def error_gallery(measured: Sequence[Measured], *, threshold: float, count: int = 6) -> list[Mistake]:
    """Return the worst mistakes of all datasets with a face crop and a likely cause, in the same order."""
    mistakes = []
    for one in measured:
        people = one.people()
        for mistake in worst_mistakes(one.predictions, threshold=threshold, count=count):
            clips = people[mistake.video]
            # The person whose score became the video's score is not always the first one.
            row, score = min(clips, key=lambda pair: abs(pair[1].fake_probability - mistake.fake_probability))
            image = one.dataset.load_frames(row, [row.frames // 2])[0]
            reason = _likely_cause(one, row, score, people=len(clips), threshold=threshold)
            mistakes.append(replace(mistake, image=image, reason=reason))
    false_positives = sorted((m for m in mistakes if not m.is_fake), key=lambda m: -m.fake_probability)
    missed = sorted((m for m in mistakes if m.is_fake), key=lambda m: m.fake_probability)
    return false_positives[:count] + missed[:count]


def _likely_cause(measured: Measured, row: ClipRow, score: ClipScore, *, people: int, threshold: float) -> str:
    dataset, frames = measured.dataset, score.frame_probabilities
    size, pixels = dataset.settings.size, face_pixels(dataset.boxes[row.clip_id])
    different = len({one["frame_index"] for one in dataset.frame_rows if one["clip_id"] == row.clip_id})
    reasons = []
    if pixels < _SMALL_FACE * size:
        reasons.append(f"small face: {pixels:.0f} pixels, enlarged to {size}")
    if different < row.frames:
        reasons.append(f"only {different} different frames of {row.frames}")
    if frames is not None and len(frames) > 1:
        called_fake = sum(value >= threshold for value in frames)
        if 0.2 <= called_fake / len(frames) <= 0.8:
            reasons.append(f"its frames disagree: {called_fake} of {len(frames)} look FAKE")
    if abs(score.fake_probability - threshold) < _NEAR:
        reasons.append("near the threshold")
    if people > 1:
        reasons.append(f"{people} people, the highest score counts")
    text = "; ".join(reasons)
    return text[:1].upper() + text[1:]


def explanation_section(detector: Detector, measured: Measured, *, count: int) -> Section:
    """Explain the clips with the highest and the lowest scores with heat maps, and test the maps by deletion."""
    threshold = detector.settings.threshold
    order = sorted(range(len(measured.rows)), key=lambda index: measured.scores[index].fake_probability)
    chosen = order[::-1][: (count + 1) // 2] + order[: count // 2]
    strips, rows, figures = [], [], []
    for number, index in enumerate(dict.fromkeys(chosen)):
        row, score = measured.rows[index], measured.scores[index]
        crops = measured.dataset.load_clip(row)
        title = f"{'FAKE' if row.is_fake else 'REAL'}, score {probability_text(score.fake_probability)}: {row.video}"
        strips.append(ImageStrip(title, "These crops are the detector's input.", list(crops)))
        for method, maps in (("Grad-CAM", grad_cam(detector, crops)), ("occlusion", occlusion_maps(detector, crops))):
            found = measure_faithfulness(detector, crops, maps)
            images = [overlay(image, heat) for image, heat in zip(crops, maps, strict=True)]
            strips.append(ImageStrip(f"Heat map by {method}", found.sentence(), images))
            rows.append(
                {
                    "video": row.video,
                    "method": method,
                    "deletion": round(found.deletion, 6),
                    "random_deletion": round(fmean(found.random_deletion), 6),
                    "insertion": round(found.insertion, 6),
                    "random_insertion": round(fmean(found.random_insertion), 6),
                    "beats_random": "yes" if found.beats_random else "no",
                }
            )
        if score.frame_probabilities is not None:
            frames = [one for one in measured.dataset.frame_rows if one["clip_id"] == row.clip_id]
            figures.append(
                FigurePlan(
                    f"frames_{number}",
                    f"Frame by frame: {row.video}",
                    "Each dot is a frame, coloured by its verdict. A single outlier may be a bad crop; a forgery "
                    "usually shows in all frames.",
                    functools.partial(
                        plot_frame_scores,
                        [float(one["time_seconds"]) for one in frames],
                        score.frame_probabilities,
                        threshold=threshold,
                        clip=score.fake_probability,
                    ),
                )
            )
    return Section(
        name="explanation",
        title="Explanations",
        text=[
            "Bright regions of a crop raised the fake probability. The sentence below each strip says whether to trust "
            "its heat map."
        ],
        strips=strips,
        figures=figures,
        tables=[
            Table(
                "faithfulness",
                "Can these heat maps be trusted?",
                "Blurring what a map marks should lower the score faster than blurring at random (deletion), and "
                "restoring it should raise the score sooner (insertion). A map that does not beat random maps says "
                "nothing.",
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
