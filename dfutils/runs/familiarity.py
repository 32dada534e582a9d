"""How far crops are from those that a detector was trained on, by statistics that natural images have in common.

The features of a network that was trained to tell REAL from FAKE say little about it: they drop whatever does not help
with that question. Statistics of contrast and colour tell drawings, filters and damage from photographs, whatever face
they show.

Sources: Mittal, Soundararajan and Bovik, "Making a 'Completely Blind' Image Quality Analyzer" (2013),
https://doi.org/10.1109/LSP.2012.2227726, for normalised contrast; Lee et al., "A Simple Unified Framework for Detecting
Out-of-Distribution Samples" (2018), https://arxiv.org/abs/1807.03888, for Mahalanobis distances.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError
from dfutils.files import write_bytes
from dfutils.records import Crops, Image
from dfutils.runs.record import FamiliarityRecord
from dfutils.statistics.conformal import score_seldom_exceeded

Floats = npt.NDArray[np.float64]

MAX_UNFAMILIAR_RATE = 0.03
"""Share of REAL videos of new people that may be called unfamiliar."""

MOST_CROPS = 1000
"""Training crops that the statistics are computed from."""

FEWEST_COLOURED = 50
"""Coloured crops from which the distribution of colours is known."""

SCALES = 3
COLOURS = 7
"""Number of `colour_statistics`."""
GREY = 0.02
"""Mean saturation below which an image has no colours to judge."""


@dataclass(frozen=True, slots=True, eq=False)
class _Normal:
    """A normal distribution of statistics.

    Attributes:
        mean: ``(D,)``.
        precision: ``(D, D)``, the inverse of the covariance.
    """

    mean: Floats
    precision: Floats

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Fit it to values ``(N, D)``."""
        covariance = np.cov(values.T) + 1e-3 * np.diag(values.var(axis=0) + 1e-9)
        return cls(values.mean(axis=0), np.asarray(np.linalg.inv(covariance), np.float64))

    def distances(self, values: Floats) -> Floats:
        """Return the squared Mahalanobis distances ``(N,)``, divided by D."""
        apart = values - self.mean
        return np.einsum("ni,ij,nj->n", apart, self.precision, apart) / len(self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """The statistics of a detector's training crops.

    Attributes:
        contrast: Distribution of `contrast_statistics`.
        colour: Distribution of `colour_statistics`.
        scale: Median distances of colour and contrast, which make the two comparable.
    """

    contrast: _Normal
    colour: _Normal
    scale: tuple[float, float]

    @classmethod
    def of(cls, crops: Crops) -> Self:
        """Fit it to training crops ``(N, size, size, 3)``."""
        contrast = np.array([contrast_statistics(crop) for crop in crops])
        of_contrast = _Normal.of(contrast)
        scale = float(np.median(of_contrast.distances(contrast)))
        colour = np.array([colour_statistics(crop) for crop in crops if not is_grey(crop)])
        if len(colour) < FEWEST_COLOURED:  # grey training crops: colours are not judged
            return cls(of_contrast, _Normal(np.zeros(COLOURS), np.zeros((COLOURS, COLOURS))), (scale, 1.0))
        of_colour = _Normal.of(colour)
        return cls(of_contrast, of_colour, (scale, float(np.median(of_colour.distances(colour)))))

    def distance(self, clip: Crops) -> float:
        """Return the distance of a clip ``(T, size, size, 3)``: the median over its frames.

        Contrast and colour are compared apart, in units in which 1 is the median of the training crops, and the larger
        distance counts; a grey image has contrast only.
        """
        distances = self.contrast.distances(np.array([contrast_statistics(crop) for crop in clip])) / self.scale[0]
        coloured = [number for number, crop in enumerate(clip) if not is_grey(crop)]
        if coloured:
            values = np.array([colour_statistics(clip[number]) for number in coloured])
            distances[coloured] = np.maximum(distances[coloured], self.colour.distances(values) / self.scale[1])
        return float(np.median(distances))

    def write(self, path: Path) -> str:
        """Write it to a file and return the file's SHA-256."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            contrast_mean=self.contrast.mean,
            contrast_precision=self.contrast.precision,
            colour_mean=self.colour.mean,
            colour_precision=self.colour.precision,
            scale=np.array(self.scale),
        )
        write_bytes(path, buffer.getvalue())
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    @classmethod
    def read(cls, path: Path, *, sha256: str) -> Self:
        """Read what `write` wrote.

        Raises:
            RunError: The file is missing or was altered.
        """
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RunError(
                f"{path}: is missing or was altered since training. Copy the run folder again, or train it again."
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            contrast = _Normal(file["contrast_mean"], file["contrast_precision"])
            colour = _Normal(file["colour_mean"], file["colour_precision"])
            return cls(contrast, colour, tuple(file["scale"].tolist()))


def fit_limit(distances: Floats, groups: npt.NDArray[Any], *, sha256: str) -> FamiliarityRecord:
    """Return the record with the limit that REAL clips of new people seldom exceed.

    Args:
        distances: ``(N,)``, of REAL clips that were not trained on.
        groups: ``(N,)`` group of each.
        sha256: Checksum of the file.
    """
    bounded = score_seldom_exceeded(distances, groups, max_rate=MAX_UNFAMILIAR_RATE)
    return FamiliarityRecord(
        sha256=sha256, limit=bounded.score, bound=bounded.bound, real_groups=len(np.unique(groups))
    )


def is_grey(image: Image) -> bool:
    """Return whether an image has no colours."""
    return float(_saturation(image).mean()) < GREY


def contrast_statistics(image: Image) -> Floats:
    """Return ten statistics of luma at each of three scales ``(30,)``, most of contrast normalised by its surroundings.

    Args:
        image: ``(height, width, 3)`` uint8 RGB.
    """
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    found: list[float] = []
    for scale in range(SCALES):
        if scale:
            luma = cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
        mean = cv2.GaussianBlur(luma, (7, 7), 7 / 6)
        deviation = np.sqrt(np.abs(cv2.GaussianBlur(luma * luma, (7, 7), 7 / 6) - mean * mean))
        contrast = (luma - mean) / (deviation + 1)
        variance = float(contrast.var()) + 1e-6
        found += [
            float(np.log(deviation.mean() + 0.1)),
            float(np.log((deviation < 1).mean() + 0.005)),  # flat areas
            float(np.log(deviation.std() / (deviation.mean() + 0.1) + 0.01)),
            float(0.5 * np.log(variance)),
            float(np.log(np.abs(contrast).mean() + 1e-3)),
            float((contrast**3).mean() / variance**1.5),
            float((contrast**4).mean() / variance**2 / 10),
            *(
                float((contrast * np.roll(contrast, step, (0, 1))).mean() / variance)  # neighbours
                for step in ((0, 1), (1, 0), (1, 1))
            ),
        ]
    return np.array(found)


def colour_statistics(image: Image) -> Floats:
    """Return statistics of chroma and saturation ``(7,)``.

    Args:
        image: ``(height, width, 3)`` uint8 RGB.
    """
    chroma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)[..., 1:]
    saturation = _saturation(image)
    edges = cv2.Laplacian(np.ascontiguousarray(chroma[..., 0]), cv2.CV_32F)
    return np.array(
        [
            *(chroma.mean(axis=(0, 1)) / 255),
            *np.log(chroma.std(axis=(0, 1)) + 1),
            saturation.mean(),
            saturation.std(),
            np.log(np.abs(edges).mean() + 0.1),
        ],
        np.float64,
    )


def _saturation(image: Image) -> npt.NDArray[np.float32]:
    return cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1].astype(np.float32) / 255
