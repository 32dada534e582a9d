"""Views of the same crops: copies as a web site, a messenger or a screen would make them.

A forgery is still one in each of them, so the score of a clip is the mean over its views, and an answer that turns into
its opposite in one of them is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dfutils.prediction.members import ClipScore
from dfutils.records import Crops, Image
from dfutils.settings import View

FRAMES_OF_VIDEO = 4
"""Frames of a video of which copies are made. A copy tells how far it moves the score of the same frames, and so little
differs between the frames of one video that more of them only cost time (``research/LOG.md``)."""

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


def frames_of_copies(frames: int) -> list[int]:
    """Return the positions, evenly spread, of those frames of a clip of which copies are made."""
    return np.linspace(0, frames - 1, min(frames, FRAMES_OF_VIDEO)).round().astype(int).tolist()


def copier(view: View, chosen: Sequence[int]) -> tuple[Callable[[Crops], Crops], str]:
    """Return a function that copies the chosen frames of a clip, and what its features depend on besides the crops."""
    return lambda clip: VIEWS[view](clip[list(chosen)]), f" {view} view, JPEG {JPEG_QUALITY}, size {SHARE}, {chosen}"


def mean_of_views(
    scores: Sequence[ClipScore], of_chosen: Sequence[ClipScore], copies: Sequence[Sequence[ClipScore]]
) -> list[ClipScore]:
    """Return the scores of clips, averaged as logits over their views.

    The score of a view is that of the clip, moved as far as the copies of the chosen frames move their score.

    Args:
        scores: Of the clips as they are.
        of_chosen: Of their chosen frames alone, as they are.
        copies: Of each kind of copy of the chosen frames.
    """
    from dfutils.runs.probabilities import logit, sigmoid

    def logit_of(score: ClipScore) -> float:
        return float(logit(np.array(score.fake_probability)))

    found = []
    for score, chosen, *copied in zip(scores, of_chosen, *copies, strict=True):
        moved = np.array([0.0, *(logit_of(copy) - logit_of(chosen) for copy in copied)])
        raw = score.raw_probability + np.mean([0.0, *(one.raw_probability - chosen.raw_probability for one in copied)])
        frames = score.frame_probabilities
        found.append(
            ClipScore(
                float(np.clip(raw, 0, 1)),
                float(sigmoid(logit_of(score) + moved.mean())),
                None if frames is None else tuple(sigmoid(logit(np.array(frames)) + moved.mean()).tolist()),
                tuple(sigmoid(logit_of(score) + moved).tolist()),
            )
        )
    return found
