"""Reading what a finished run says of itself, without TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dfutils.errors import RunError
from dfutils.files import sha256_of
from dfutils.settings import DetectorSettings, MemberSettings


def read_detector(run: Path) -> DetectorSettings:
    """Read a run's ``detector.json``.

    Raises:
        RunError: There is none.
    """
    if not (run / "detector.json").is_file():
        raise RunError(
            f"{run}: is no finished run folder (no detector.json). Make one with `dfutils train FACES --out RUN`."
        )
    return DetectorSettings.read(run / "detector.json")


def checked_weights(run: Path, settings: DetectorSettings) -> Path:
    """The weight file of a run of one detector, after a checksum.

    Raises:
        RunError: It is missing, or is not the one that the run was finished with.
    """
    weights = run / "model.weights.h5"
    if not weights.is_file() or sha256_of(weights) != settings.weights_sha256:
        raise RunError(f"{weights}: is missing or was altered since training. Copy the run folder again, whole.")
    return weights


def iter_runs(folder: Path, settings: DetectorSettings) -> Iterator[tuple[Path, DetectorSettings]]:
    """The run folder of each network of a detector with its settings: its own, or those of an ensemble's members.

    Raises:
        RunError: A member is not the one that the ensemble was finished with.
    """
    if not settings.members:
        yield folder, settings
        return
    if members_checksum(settings.members) != settings.weights_sha256:
        raise RunError(f"{folder / 'detector.json'}: its members were altered. Copy the run folder again, whole.")
    for known in settings.members:
        document = folder / known.folder / "detector.json"
        if not document.is_file() or sha256_of(document) != known.sha256:
            raise RunError(f"{document}: is missing or was altered since training. Copy the run folder again, whole.")
        yield document.parent, read_detector(document.parent)


def members_checksum(members: Sequence[MemberSettings]) -> str:
    """Checksum of an ensemble: over those of its members, in their order."""
    return hashlib.sha256("".join(f"{member.folder} {member.sha256}\n" for member in members).encode()).hexdigest()
