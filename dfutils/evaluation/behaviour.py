"""Behaviour tests (Ribeiro et al. 2020, "Beyond Accuracy"): what should not change a verdict, and whether it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfutils.extraction.crops import fill_positions
from dfutils.extraction.dataset import FaceDataset
from dfutils.prediction.detector import Detector
from dfutils.prediction.members import Member, score_members
from dfutils.records import ClipRow, Crops, Image
from dfutils.statistics.estimates import FloatArray

IMAGE_CLIPS = 5
"""Clips for the tests that change images, which need the backbone anew: the others cost nothing, and take all."""

SAME = 1e-4
"""Scores closer than this are alike; batches of another size move the last bits."""


NEAR = 0.05
"""A verdict whose score lies this near to the threshold may turn for nothing."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a change may do to a verdict: ``order`` may matter to a recurrent model only, ``none`` to nobody."""

    name: str
    words: str
    may_matter: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Scores of some clips before and after a change."""

    expectation: Expectation
    before: FloatArray
    after: FloatArray


ORDER = "order"
_TIME: tuple[tuple[Expectation, Callable[[int], Sequence[int]]], ...] = (
    (Expectation("time reversed", "frames in reverse", ORDER), lambda frames: range(frames)[::-1]),
    (
        Expectation("frames shuffled", "frames in a random order", ORDER),
        lambda frames: np.random.default_rng(0).permutation(frames).tolist(),
    ),
    (
        Expectation("all frames the same", "the middle frame only, repeated: less to see", "content"),
        lambda frames: [frames // 2] * frames,
    ),
    (
        Expectation("short track, padded", "the first half, filled as short tracks are", "content"),
        lambda frames: [
            list(range(max(1, frames // 2)))[place]
            for place in fill_positions([float(n) for n in range(max(1, frames // 2))], frames)
        ],
    ),
)


def _mirrored(clip: Crops) -> Crops:
    return np.ascontiguousarray(clip[:, :, ::-1])


def _barred(clip: Crops) -> Crops:
    """A tenth of the height black above and below, the face as it was."""
    rows = clip.shape[1] // 10
    barred = clip.copy()
    barred[:, :rows] = barred[:, -rows:] = 0
    return barred


def _closer(clip: Crops) -> Crops:
    """As if the box had been a tenth smaller on each side: what a wider one shows is not in a crop."""
    import cv2

    size, edge = clip.shape[1], clip.shape[1] // 10
    inner: list[Image] = [
        cv2.resize(image[edge : size - edge, edge : size - edge], (size, size), interpolation=cv2.INTER_CUBIC).astype(
            np.uint8
        )
        for image in clip
    ]
    return np.stack(inner)


ANOTHER_PERSON = Expectation(
    "a second person added", "a REAL clip of another group; the highest score counts", "nothing"
)

_IMAGES: tuple[tuple[Expectation, Callable[[Crops], Crops]], ...] = (
    (Expectation("mirrored", "left and right exchanged", "nothing"), _mirrored),
    (Expectation("black bars on the crop", "a tenth above and below", "nothing"), _barred),
    (Expectation("face box smaller", "cut a tenth closer on each side", "nothing"), _closer),
)


def run_behaviour_tests(
    detector: Detector, dataset: FaceDataset, rows: Sequence[ClipRow], features: dict[str, Any]
) -> list[Outcome]:
    """Change the clips in every way that a face dataset allows, and score them again.

    Args:
        detector: To be tested.
        dataset: Where the crops are.
        rows: Clips of one length.
        features: Of all ``rows``, by backbone checksum.
    """
    outcomes = []
    before = _probabilities(score_members(detector.members, lambda member: _own(features, member)))
    if rows[0].frames > 1:
        for expectation, order in _TIME:
            places = list(order(rows[0].frames))
            scores = score_members(detector.members, lambda member, at=places: _own(features, member)[:, at])  # type: ignore[misc]
            outcomes.append(Outcome(expectation, before, _probabilities(scores)))
    if (others := _other_people(rows)) is not None:
        outcomes.append(Outcome(ANOTHER_PERSON, before, np.maximum(before, before[others])))
    some = np.linspace(0, len(rows) - 1, min(IMAGE_CLIPS, len(rows))).astype(int)
    clips = [dataset.load_clip(rows[index]) for index in some]
    # All in one call: each has a cost of its own, and few images would be all cost.
    changed = np.stack([change(clip) for _, change in _IMAGES for clip in clips])
    after = _probabilities(detector.score_clips(changed)).reshape(len(_IMAGES), len(clips))
    outcomes += [
        Outcome(expectation, before[some], scores) for (expectation, _), scores in zip(_IMAGES, after, strict=True)
    ]
    return outcomes


def judge_outcome(outcome: Outcome, *, threshold: float, is_recurrent: bool) -> dict[str, Any]:
    """What a change did to the verdicts, what was expected of it, and whether that held."""
    moved = np.abs(outcome.after - outcome.before)
    is_turned = (outcome.after >= threshold) != (outcome.before >= threshold)
    turned, clear = float(is_turned.mean()), np.abs(outcome.before - threshold) > NEAR
    kind = outcome.expectation.may_matter
    order_is_blind = kind == ORDER and not is_recurrent
    if order_is_blind:
        expected, held = "no change at all", "yes" if moved.max() < SAME else "no: the order mattered"
    elif kind == ORDER:
        expected = "may change: the model looks at time"
        held = "as expected: the order matters" if moved.max() >= SAME else "the order does not matter to this model"
    elif kind == "content":
        expected, held = "may change: there is less to see", "–"
    else:
        expected = "no other verdict, but for clips near the threshold"
        wrongly = int((is_turned & clear).sum())
        held = "yes" if not wrongly else f"no: {wrongly} of {int(clear.sum())} clear verdicts turned"
    return {
        "change": outcome.expectation.name,
        "what": outcome.expectation.words,
        "clips": len(moved),
        "moved": round(float(moved.mean()), 6),
        "turned": round(turned, 6),
        "expected": expected,
        "held": held,
    }


def _other_people(rows: Sequence[ClipRow]) -> list[int] | None:
    """For each clip a REAL one of another group, all of them in turn; None where some clip has none."""
    real = [index for index, row in enumerate(rows) if not row.is_fake]
    chosen = []
    for place, row in enumerate(rows):
        turned = real[place % len(real) :] + real[: place % len(real)] if real else []
        other = next((index for index in turned if rows[index].group != row.group), None)
        if other is None:
            return None
        chosen.append(other)
    return chosen


def _own(features: dict[str, Any], member: Member) -> Any:
    return features[member.settings.backbone_checksum]


def _probabilities(scores: Sequence[Any]) -> FloatArray:
    return np.array([score.fake_probability for score in scores])
