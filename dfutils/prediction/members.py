"""The networks behind a detector: one, or several whose calibrated logits are averaged."""

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
        raw_probability: Before calibration, the mean over the members.
        fake_probability: Calibrated: the mean of the members' calibrated logits, as a probability.
        frame_probabilities: The same of each frame; None without a frame head.
    """

    raw_probability: float
    fake_probability: float
    frame_probabilities: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One network, with the calibration that was fitted for it."""

    settings: DetectorRecord
    network: Network


def load_members(folder: Path, settings: DetectorRecord, *, engine: Engine = "keras") -> list[Member]:
    """Load the networks of a run folder; members of an ensemble that start from one frozen backbone share it.

    Args:
        folder: A run folder, of one detector or of an ensemble.
        settings: Its ``detector.json``.
        engine: What runs them.

    Raises:
        RunError: The folder is incomplete, a member is not the one that it was finished with, or the engine is not
            there.
    """
    loader = network_loader(engine)
    return [Member(own, loader(run.path, own)) for run, own in RunFolder(folder).members(settings)]


def score_members(
    members: Sequence[Member], features_of: Callable[[Member], npt.NDArray[np.float32]]
) -> list[ClipScore]:
    """Score clips with every member and average.

    Args:
        members: At least one; all with the same head.
        features_of: Computes the features ``(N, T, channels)`` of a member's backbone; asked once a backbone.

    Raises:
        RunError: A network answers with something that is no number.
    """
    from dfutils.runs.thresholds import calibrated_logits, sigmoid

    raw, logits, frame_logits = [], [], []

    def backbone(member: Member) -> str:
        # Each export is a backbone of its own: in 8 bits, two made of the same weights differ.
        return member.settings.backbone_checksum + member.network.exported

    for _, sharing in groupby(sorted(members, key=backbone), key=backbone):
        first, *others = sharing
        features = features_of(first)
        for member in (first, *others):
            clips, frames = member.network.score(features)
            _require_numbers(member, clips)
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


def _require_numbers(member: Member, scores: npt.NDArray[np.floating]) -> None:
    if wrong := int((~np.isfinite(scores)).sum()):
        raise RunError(
            f"{member.settings.name}: its network gave no number for {wrong} of {len(scores)} clips (NaN). "
            "The training went wrong or the features are damaged: train again, with an empty cache."
        )
