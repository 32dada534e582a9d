"""Behaviour tests (Ribeiro et al. 2020, "Beyond Accuracy"): changes that should not change a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from dfutils.extraction.crops import fill_positions
from dfutils.extraction.dataset import FaceDataset
from dfutils.prediction.detector import Detector
from dfutils.prediction.members import score_members
from dfutils.records import ClipRow, Crops
from dfutils.statistics.estimates import FloatArray

IMAGE_CLIPS = 5
"""Clips used where images change, which needs the backbone again. All other tests are cheap and use every clip."""

SAME = 1e-4
"""Scores closer than this are equal: the batch size changes the last bits."""

NEAR = 0.05
"""A verdict may flip if its score is this close to the threshold."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A change of a clip.

    Attributes:
        name: Name in the report.
        words: Description of the change.
        may_matter: ``order``: only a recurrent model may react; ``content``: every model may, since less is visible;
            ``nothing``: the verdict should stay.
    """

    name: str
    words: str
    may_matter: Literal["order", "content", "nothing"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Scores of clips before and after a change, each ``(N,)``."""

    expectation: Expectation
    before: FloatArray
    after: FloatArray


_TIME: tuple[tuple[Expectation, Callable[[int], Sequence[int]]], ...] = (
    (Expectation("time reversed", "frames in reverse", "order"), lambda frames: range(frames)[::-1]),
    (
        Expectation("frames shuffled", "frames in a random order", "order"),
        lambda frames: np.random.default_rng(0).permutation(frames).tolist(),
    ),
    (
        Expectation("all frames the same", "only the middle frame, repeated", "content"),
        lambda frames: [frames // 2] * frames,
    ),
    (
        Expectation("short track, padded", "the first half, filled like a short track", "content"),
        lambda frames: fill_positions([float(n) for n in range(max(1, frames // 2))], frames),
    ),
)


def _with_bars(clip: Crops) -> Crops:
    rows = clip.shape[1] // 10
    barred = clip.copy()
    barred[:, :rows] = barred[:, -rows:] = 0
    return barred


def _closer(clip: Crops) -> Crops:
    size, edge = clip.shape[1], clip.shape[1] // 10
    inner = clip[:, edge : size - edge, edge : size - edge]
    return np.stack(
        [cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.uint8) for image in inner]
    )


ANOTHER_PERSON = Expectation(
    "a second person added", "a REAL clip of another group; the highest score counts", "nothing"
)

_IMAGES: tuple[tuple[Expectation, Callable[[Crops], Crops]], ...] = (
    (
        Expectation("mirrored", "left and right swapped", "nothing"),
        lambda clip: np.ascontiguousarray(clip[:, :, ::-1]),
    ),
    (Expectation("black bars on the crop", "a tenth above and below", "nothing"), _with_bars),
    (Expectation("face box smaller", "cropped a tenth closer on each side", "nothing"), _closer),
)


def run_behaviour_tests(
    detector: Detector, dataset: FaceDataset, rows: Sequence[ClipRow], features: dict[str, Any]
) -> list[Outcome]:
    """Apply each change to the clips and score them again.

    Args:
        detector: Detector under test.
        dataset: Source of the crops.
        rows: Clips of one length.
        features: Features of all ``rows``, by `Member.features_key`.
    """

    def score_in_order(order: Sequence[int]) -> FloatArray:
        scores = score_members(detector.members, lambda member: features[member.features_key][:, list(order)])
        return np.array([score.fake_probability for score in scores])

    frames = rows[0].frames
    before = score_in_order(range(frames))
    outcomes = []
    if frames > 1:
        outcomes = [Outcome(expectation, before, score_in_order(order(frames))) for expectation, order in _TIME]
    if (others := choose_other_people(rows)) is not None:
        outcomes.append(Outcome(ANOTHER_PERSON, before, np.maximum(before, before[others])))
    some = np.linspace(0, len(rows) - 1, min(IMAGE_CLIPS, len(rows))).astype(int)
    clips = [dataset.load_clip(rows[index]) for index in some]
    # One call for all: each call has a fixed cost, which would dominate for so few images.
    changed = detector.score_clips(np.stack([*clips, *(change(clip) for _, change in _IMAGES for clip in clips)]))
    as_is, *after = np.array([score.fake_probability for score in changed]).reshape(1 + len(_IMAGES), len(clips))
    outcomes += [Outcome(expectation, as_is, scores) for (expectation, _), scores in zip(_IMAGES, after, strict=True)]
    return outcomes


def judge_outcome(outcome: Outcome, *, threshold: float, is_recurrent: bool) -> dict[str, Any]:
    """Return how a change moved the scores, what was expected, and whether the expectation held."""
    moved = np.abs(outcome.after - outcome.before)
    has_flipped = (outcome.after >= threshold) != (outcome.before >= threshold)
    kind = outcome.expectation.may_matter
    if kind == "order" and not is_recurrent:
        expected, held = "no change at all", "yes" if moved.max() < SAME else "no: the order mattered"
    elif kind == "order":
        expected = "may change: the model uses time"
        held = "as expected: the order matters" if moved.max() >= SAME else "the order does not matter to this model"
    elif kind == "content":
        expected, held = "may change: less is visible", "–"
    else:
        expected = "same verdict, except near the threshold"
        is_clear = np.abs(outcome.before - threshold) > NEAR
        wrong = int((has_flipped & is_clear).sum())
        held = "yes" if not wrong else f"no: {wrong} of {int(is_clear.sum())} clear verdicts flipped"
    return {
        "change": outcome.expectation.name,
        "what": outcome.expectation.words,
        "clips": len(moved),
        "moved": round(float(moved.mean()), 6),
        "turned": round(float(has_flipped.mean()), 6),
        "expected": expected,
        "held": held,
    }


def choose_other_people(rows: Sequence[ClipRow]) -> list[int] | None:
    """Choose for each clip a REAL clip of another group, using all of them in turn; None if some clip has none."""
    real = [index for index, row in enumerate(rows) if not row.is_fake]
    chosen = []
    for start, row in enumerate(rows):
        candidates = (real[(start + step) % len(real)] for step in range(len(real)))
        other = next((index for index in candidates if rows[index].group != row.group), None)
        if other is None:
            return None
        chosen.append(other)
    return chosen
