"""The worst mistakes with a face and what may have led the detector astray."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dfutils.evaluation.scoring import Measured
from dfutils.prediction.detector import face_pixels
from dfutils.prediction.members import ClipScore
from dfutils.records import ClipRow
from dfutils.report.report import Mistake, worst_mistakes

_SMALL_FACE = 0.4
_NEAR = 0.1


def error_gallery(measured: Sequence[Measured], *, threshold: float, count: int = 6) -> list[Mistake]:
    """The worst false FAKE and false REAL of all datasets, the most confident first within each."""
    mistakes = []
    for one in measured:
        people: dict[str, list[tuple[ClipRow, ClipScore]]] = {}
        for row, score in zip(one.rows, one.scores, strict=True):
            people.setdefault(row.video, []).append((row, score))
        for mistake in worst_mistakes(one.predictions, threshold=threshold, count=count):
            some = people[mistake.video]
            # The person whose score the video's is, and not the first one.
            row, score = min(some, key=lambda pair: abs(pair[1].fake_probability - mistake.fake_probability))
            image = one.dataset.load_frames(row, [row.frames // 2])[0]
            reason = _reason(one, row, score, people=len(some), threshold=threshold)
            mistakes.append(dataclasses.replace(mistake, image=image, reason=reason))
    false_fakes = sorted((m for m in mistakes if not m.is_fake), key=lambda m: -m.fake_probability)
    false_reals = sorted((m for m in mistakes if m.is_fake), key=lambda m: m.fake_probability)
    return false_fakes[:count] + false_reals[:count]


def _reason(measured: Measured, row: ClipRow, score: ClipScore, *, people: int, threshold: float) -> str:
    """What stands out about a clip, in the order of weight; empty where nothing does."""
    dataset, frames = measured.dataset, score.frame_probabilities
    size, side = dataset.settings.size, face_pixels(dataset.boxes[row.clip_id])
    different = len({one["frame_index"] for one in dataset.frame_rows if one["clip_id"] == row.clip_id})
    reasons = []
    if side < _SMALL_FACE * size:
        reasons.append(f"small face: {side:.0f} pixels, enlarged to {size}")
    if different < row.frames:
        reasons.append(f"{different} different frames of {row.frames}")
    if frames is not None and len(frames) > 1:
        called = sum(value >= threshold for value in frames)
        if 0.2 <= called / len(frames) <= 0.8:
            reasons.append(f"its frames disagree: {called} of {len(frames)} look FAKE")
    if abs(score.fake_probability - threshold) < _NEAR:
        reasons.append("near the threshold")
    if people > 1:
        reasons.append(f"{people} people, the highest score counts")
    text = "; ".join(reasons)
    return text[:1].upper() + text[1:]
