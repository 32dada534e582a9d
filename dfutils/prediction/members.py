"""Networks of a detector: a single one, or those of an ensemble, whose calibrated logits are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError
from dfutils.prediction.runtime import Engine, Network, network_loader
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Scores of one clip.

    Attributes:
        raw_probability: Mean of the members' probabilities before calibration.
        fake_probability: Mean of the members' calibrated logits, as a probability.
        frame_probabilities: Calibrated probability of each frame; None without a frame head.
        view_probabilities: For a detector with views, the calibrated probability of each, first of the crops as they
            are; `fake_probability` is their mean, as logits.
        distance: From the training crops, as a share of the limit; above 1 the face is unfamiliar. None for a detector
            that cannot tell.
    """

    raw_probability: float
    fake_probability: float
    frame_probabilities: tuple[float, ...] | None
    view_probabilities: tuple[float, ...] = ()
    distance: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One network, with the calibration that was fitted for it.

    Attributes:
        settings: Content of its ``detector.json``.
        network: The network on the chosen engine.
        export_key: Checksums of the export that the backbone was read from; empty if it was built from the weights.
        precision: Precision in which the backbone runs, such as ``float32`` and ``int8``.
    """

    settings: DetectorRecord
    network: Network
    export_key: str = ""
    precision: str = "float32"

    @property
    def features_key(self) -> str:
        """Key of the features: with equal keys they are equal but for the rounding of float32 by either engine."""
        return self.settings.backbone_key + self.export_key


def load_members(folder: Path, settings: DetectorRecord, *, engine: Engine = "keras") -> list[Member]:
    """Load the networks of a run folder; members of an ensemble with the same frozen backbone share it.

    Raises:
        RunError: The folder is incomplete, a member was altered since training, or the engine is not available.
    """
    load = network_loader(engine)
    return [Member(own, *load(run.path, own)) for run, own in RunFolder(folder).members(settings)]


def score_members(
    members: Sequence[Member], features_of: Callable[[Member], npt.NDArray[np.float32]]
) -> list[ClipScore]:
    """Score clips with every member and average the scores.

    Args:
        members: At least one; all with the same head.
        features_of: Computes the features ``(N, T, channels)`` of a member's backbone; called once per backbone.

    Raises:
        RunError: A network's score is NaN or infinite.
    """
    from dfutils.runs.probabilities import calibrated_logits, sigmoid

    raw, logits, frame_logits = [], [], []

    def key_of(member: Member) -> str:
        return member.features_key

    for _, sharing in groupby(sorted(members, key=key_of), key=key_of):
        first, *others = sharing
        features = features_of(first)
        for member in (first, *others):
            clips, frames = member.network.score(features)
            if wrong := int((~np.isfinite(clips)).sum()):
                raise RunError(
                    f"{member.settings.name}: its network returned NaN for {wrong} of {len(clips)} clips. "
                    "The training went wrong or the features are damaged: train again, with an empty cache."
                )
            raw.append(clips)
            logits.append(calibrated_logits(member.settings, clips))
            if frames is not None:
                frame_logits.append(calibrated_logits(member.settings, frames))
    raw_means, probabilities = np.mean(raw, axis=0), sigmoid(np.mean(logits, axis=0))
    per_frame = sigmoid(np.mean(frame_logits, axis=0)).tolist() if frame_logits else None
    return [
        ClipScore(float(raw_means[n]), float(probabilities[n]), None if per_frame is None else tuple(per_frame[n]))
        for n in range(len(probabilities))
    ]
