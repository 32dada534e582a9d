"""Views of the same crops: copies as a web site, a messenger or a screen would make them.

A forgery is still one in each of them, so the score of a clip is the mean over its views, and an answer that turns into
its opposite in one of them is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dfutils.prediction.members import ClipScore
from dfutils.records import Crops, Image
from dfutils.settings import View

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


def view_key(name: View) -> str:
    """Return what the features of a view depend on besides the crops and the network."""
    return f" {name} view, JPEG {JPEG_QUALITY}, size {SHARE}"


def mean_of_views(scores: Sequence[Sequence[ClipScore]]) -> list[ClipScore]:
    """Return the scores of clips, averaged as logits over their views; the first view is the crops as they are.

    Args:
        scores: For each view, the scores of the same clips.
    """
    from dfutils.runs.probabilities import logit, sigmoid

    def mean(values: Sequence[npt.ArrayLike]) -> npt.NDArray[np.float64]:
        return sigmoid(np.mean([logit(np.asarray(value, np.float64)) for value in values], axis=0))

    found = []
    for views in zip(*scores, strict=True):
        frames = [score.frame_probabilities for score in views]
        found.append(
            ClipScore(
                float(np.mean([score.raw_probability for score in views])),
                float(mean([score.fake_probability for score in views])),
                None if frames[0] is None else tuple(mean([one for one in frames if one is not None]).tolist()),
                tuple(score.fake_probability for score in views),
            )
        )
    return found
