"""Views of the same crops: copies as a web site, a messenger or a screen would make them.

A forgery is still one in each of them, so the score of a clip is the mean over its views. If two views get opposite
answers, the verdict is UNDECIDED.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dfutils.prediction.members import ClipScore
from dfutils.records import Crops, Image
from dfutils.settings import View

COPIED_FRAMES = 4
"""Frames of a video that are copied for each view. A view is scored by how far its copies move the score of the same
frames; copies of more frames change little and cost time (``research/LOG.md``)."""

JPEG_QUALITY = 60
SHARE = 0.6
"""Size of a rescaled crop before it is enlarged again, as a share of the side."""


def mirrored(crops: Crops) -> Crops:
    """Return the mirror images of crops ``(N, height, width, 3)``."""
    return np.ascontiguousarray(crops[:, :, ::-1])


def compressed(crops: Crops) -> Crops:
    """Return crops ``(N, height, width, 3)`` after JPEG compression."""
    import cv2  # takes 0.1 s, needlessly for a detector without views

    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]

    def one(crop: Image) -> Image:
        decoded = cv2.imdecode(cv2.imencode(".jpg", crop[..., ::-1], options)[1], cv2.IMREAD_COLOR)
        return np.asarray(decoded, np.uint8)[..., ::-1]

    return np.stack([one(crop) for crop in crops])


def rescaled(crops: Crops) -> Crops:
    """Return crops ``(N, height, width, 3)`` scaled down, and up again."""
    import cv2

    height, width = crops.shape[1:3]

    def one(crop: Image) -> Image:
        small = cv2.resize(crop, (round(width * SHARE), round(height * SHARE)), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)

    return np.stack([one(crop) for crop in crops])


VIEWS: Mapping[View, Callable[[Crops], Crops]] = {
    "mirrored": mirrored,
    "compressed": compressed,
    "rescaled": rescaled,
}

IN_WORDS: Mapping[str, str] = {
    "as_is": "for the original",
    "mirrored": "when mirrored",
    "compressed": "when compressed again",
    "rescaled": "when scaled down",
}
"""Each view in a sentence: "the answer changes: FAKE …"."""


def spread_frames(frames: int) -> list[int]:
    """Return the positions of the frames of a clip that are copied, from the first to the last, evenly spread."""
    return np.linspace(0, frames - 1, min(frames, COPIED_FRAMES)).round().astype(int).tolist()


def view_of_frames(view: View, frames: Sequence[int]) -> tuple[Callable[[Crops], Crops], str]:
    """Return the function that makes a view of these frames of a clip, and its part of the key of cached features."""
    return lambda clip: VIEWS[view](clip[list(frames)]), f" {view} view, JPEG {JPEG_QUALITY}, size {SHARE}, {frames}"


def mean_of_views(
    clips: Sequence[ClipScore], copied: Sequence[ClipScore], views: Sequence[Sequence[ClipScore]]
) -> list[ClipScore]:
    """Return the scores of clips, averaged as logits over their views; the first view is the clip as it is.

    The score of another view is that of the clip, moved as far as its copies move the score of the copied frames.

    Args:
        clips: Scores of the whole, unchanged clips.
        copied: Scores of the copied frames alone, unchanged.
        views: For each view, scores of its copies of these frames.
    """
    from dfutils.runs.probabilities import logit, sigmoid

    def logit_of(score: ClipScore) -> float:
        return float(logit(np.array(score.fake_probability)))

    found = []
    for score, unchanged, *copies in zip(clips, copied, *views, strict=True):
        moved = np.array([0.0, *(logit_of(copy) - logit_of(unchanged) for copy in copies)])
        raw_moved = [0.0, *(copy.raw_probability - unchanged.raw_probability for copy in copies)]
        frames = score.frame_probabilities
        found.append(
            ClipScore(
                float(np.clip(score.raw_probability + np.mean(raw_moved), 0, 1)),
                float(sigmoid(logit_of(score) + moved.mean())),
                None if frames is None else tuple(sigmoid(logit(np.array(frames)) + moved.mean()).tolist()),
                tuple(sigmoid(logit_of(score) + moved).tolist()),
            )
        )
    return found
