"""The worst mistakes with a face and what may have led the detector astray."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dfutils.evaluation.report import Mistake, worst_mistakes
from dfutils.evaluation.scoring import Measured

_SMALL_FACE = 0.4
_NEAR = 0.1


def error_gallery(measured: Sequence[Measured], *, threshold: float, count: int = 6) -> list[Mistake]:
    """The worst false FAKE and false REAL of all datasets, the most confident first within each."""
    mistakes = []
    for one in measured:
        middle = {row.video: row for row in one.rows if row.track == 0}
        scores = dict(zip((row.clip_id for row in one.rows), one.scores, strict=True))
        for mistake in worst_mistakes(one.predictions, threshold=threshold, count=count):
            row = middle[mistake.video]
            frames = scores[row.clip_id].frame_probabilities
            picture = one.dataset.load_frames(row, [row.frames // 2])[0]
            reason = _reason(one, row.clip_id, mistake.fake_probability, frames, threshold)
            mistakes.append(dataclasses.replace(mistake, picture=picture, reason=reason))
    false_fakes = sorted((m for m in mistakes if not m.is_fake), key=lambda m: -m.fake_probability)
    false_reals = sorted((m for m in mistakes if m.is_fake), key=lambda m: m.fake_probability)
    return false_fakes[:count] + false_reals[:count]


def _reason(measured: Measured, clip_id: str, score: float, frames: tuple[float, ...] | None, threshold: float) -> str:
    """What stands out about a clip, in the order of weight; empty where nothing does."""
    size = measured.dataset.settings.size
    crops = [row for row in measured.dataset.frame_rows if row["clip_id"] == clip_id]
    side = float(np.median([float(row["crop_right"]) - float(row["crop_left"]) for row in crops]))
    different = len({row["frame_index"] for row in crops})
    reasons = []
    if side < _SMALL_FACE * size:
        reasons.append(f"small face: {side:.0f} pixels, enlarged to {size}")
    if different < len(crops):
        reasons.append(f"{different} different frames of {len(crops)}")
    if frames is not None and len(frames) > 1:
        called = sum(value >= threshold for value in frames)
        if 0.2 <= called / len(frames) <= 0.8:
            reasons.append(f"its frames disagree: {called} of {len(frames)} look FAKE")
    if abs(score - threshold) < _NEAR:
        reasons.append("near the threshold")
    tracks = sum(row.video == clip_video(measured, clip_id) for row in measured.rows)
    if tracks > 1:
        reasons.append(f"{tracks} people, the highest score counts")
    text = "; ".join(reasons)
    return text[:1].upper() + text[1:]


def clip_video(measured: Measured, clip_id: str) -> str:
    """The video of a clip."""
    return next(row.video for row in measured.rows if row.clip_id == clip_id)
