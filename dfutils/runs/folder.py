"""Reading what a finished run says of itself, without TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dfutils.errors import RunError
from dfutils.files import read_json, sha256_of, write_json
from dfutils.runs.record import DetectorRecord, MemberRecord

PREDICTION_COLUMNS = ("clip_id", "video", "split", "is_fake", "raw_probability", "fake_probability")
"""Columns of ``predictions.csv``."""

BELIEVED = ("detector.json", "splits.csv", "leaks.json", "history.csv")
"""Files of a run whose checksums stand in ``run.json``: another threshold or a clip on another side would make a wrong
number."""

BELIEVED_OF_FOLDS = ("detector.json", "predictions.csv")
"""The same of an ensemble: its predictions say what its members were trained on."""


def read_detector(run: Path) -> DetectorRecord:
    """Read a run's ``detector.json``.

    Raises:
        RunError: There is none.
    """
    if not (run / "detector.json").is_file():
        raise RunError(
            f"{run}: is no finished run folder (no detector.json). Make one with `dfutils train FACES --out RUN`."
        )
    return DetectorRecord.read(run / "detector.json")


def read_about(run: Path) -> dict[str, Any]:
    """Read a run's ``run.json``, and check that what a report believes is what the run was finished with.

    Runs of earlier versions hold fewer checksums, or none: what has none is believed as it is.

    Raises:
        RunError: A file is missing or was altered.
        DatasetError: ``run.json`` is missing or no JSON.
    """
    about = read_json(run / "run.json")
    if not isinstance(about, dict) or not {"identity", "backbone", "versions", "clips", "groups"} <= set(about):
        raise RunError(f"{run / 'run.json'}: was altered since training. Copy the run folder again, whole.")
    for name, checksum in about.get("files", {}).items():
        if not (run / name).is_file() or sha256_of(run / name) != checksum:
            raise RunError(
                f"{run / name}: is missing or was altered since training. Copy the run folder again, whole. "
                "Thresholds are changed by `dfutils calibrate`."
            )
    return about


def checksums(run: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files of a run, as ``run.json`` holds them under ``files``."""
    return {name: sha256_of(run / name) for name in names}


def refresh_checksums(run: Path, names: Iterable[str]) -> None:
    """Note in ``run.json`` that these files were changed on purpose; nothing where there is none."""
    if not (run / "run.json").is_file():
        return
    about = read_json(run / "run.json")
    write_json(run / "run.json", {**about, "files": {**about.get("files", {}), **checksums(run, names)}})


def checked_weights(run: Path, settings: DetectorRecord) -> Path:
    """The weight file of a run of one detector, after a checksum.

    Raises:
        RunError: It is missing, or is not the one that the run was finished with.
    """
    weights = run / "model.weights.h5"
    if not weights.is_file() or sha256_of(weights) != settings.weights_sha256:
        raise RunError(f"{weights}: is missing or was altered since training. Copy the run folder again, whole.")
    return weights


def iter_runs(folder: Path, settings: DetectorRecord) -> Iterator[tuple[Path, DetectorRecord]]:
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


def members_checksum(members: Sequence[MemberRecord]) -> str:
    """Checksum of an ensemble: over those of its members, in their order."""
    return hashlib.sha256("".join(f"{member.folder} {member.sha256}\n" for member in members).encode()).hexdigest()
