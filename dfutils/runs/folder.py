"""The run folder: the names of its files, and reading and checking them without TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfutils.errors import RunError
from dfutils.files import read_json, sha256_of, write_json

if TYPE_CHECKING:  # pydantic would slow every start of the command line
    from dfutils.runs.record import DetectorRecord, MemberRecord

PREDICTION_COLUMNS = ("clip_id", "video", "split", "is_fake", "raw_probability", "fake_probability")
"""Columns of ``predictions.csv``."""

DETECTOR_NEEDS = ("detector.json", "model.weights.h5")
"""The files that prediction needs of a run of one detector."""

DETECTOR_EXTRAS = (
    *("export/export.json", "export/backbone.xml", "export/backbone.bin", "familiarity.npz"),
    *("metrics.json", "LICENSE", "MODEL_CARD.md"),
)
"""Files that prediction uses if they are there, and texts that have to be passed on. With `DETECTOR_NEEDS`, all that is
published of a run: its tables name the videos of other people's data sets. None of them can hold code."""

CHECKSUMMED = ("detector.json", "splits.csv", "leaks.json", "history.csv")
"""Files of a run whose checksums are in ``run.json``: another threshold, or a clip in another split, would falsify
reported results."""

CHECKSUMMED_OF_FOLDS = ("detector.json", "predictions.csv")
"""The same for an ensemble, whose predictions record which member was not trained on which clip."""


class RunFolder:
    """The results of a training run. The folder of an ensemble holds a run folder for each of its members."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / "settings.json"  # the training settings
        self.splits_file = path / "splits.csv"
        self.leaks_file = path / "leaks.json"
        self.history_file = path / "history.csv"  # one row per epoch
        self.history_figure = path / "history.png"
        self.tensorboard_folder = path / "tensorboard"
        self.checkpoint_file = path / "checkpoint.npz"  # only during training: its current state
        self.best_file = path / "best.npz"  # only during training: the weights of the best epoch
        self.weights_file = path / "model.weights.h5"  # what this package loads
        self.familiarity_file = path / "familiarity.npz"  # statistics of its training crops
        self.predictions_file = path / "predictions.csv"
        self.detector_file = path / "detector.json"
        self.about_file = path / "run.json"  # written last: its presence shows that the run is finished
        self.export_folder = path / "export"  # read by OpenVINO
        self.export_file = self.export_folder / "export.json"
        self.folds_table = path / "folds.csv"  # for an ensemble: metrics of its members
        self.folds_file = path / "folds.json"

    def __str__(self) -> str:
        return str(self.path)

    def fold(self, number: int) -> RunFolder:
        """Return the run folder of one member of an ensemble."""
        return RunFolder(self.path / f"fold-{number}")

    @property
    def is_packed(self) -> bool:
        """Whether this is a detector without the tables of its training, such as those that come with the package."""
        tables = (self.about_file, self.splits_file, self.predictions_file, self.leaks_file, self.history_file)
        return self.detector_file.is_file() and not any(path.is_file() for path in tables)

    def detector(self) -> DetectorRecord:
        """Read ``detector.json``.

        Raises:
            RunError: There is none.
        """
        from dfutils.runs.record import DetectorRecord

        if not self.detector_file.is_file():
            raise RunError(
                f"{self}: is not a finished run folder (no detector.json). "
                "Make one with `dfutils train FACES --out RUN`."
            )
        return DetectorRecord.read(self.detector_file)

    def about(self) -> dict[str, Any]:
        """Read ``run.json``, and check that the files that a report relies on are unchanged.

        Runs of earlier versions hold fewer checksums, or none; files without one are trusted. For a packed
        detector, only its record is known.

        Raises:
            RunError: A file is missing or was altered.
            DatasetError: ``run.json`` is missing or not valid JSON.
        """
        if self.is_packed:
            known = self.detector()
            backbone = {"weights": known.backbone_weights, "origin": "packed without the tables of its training"}
            versions = {"dfutils": known.version}
            return {"identity": {"dataset": None}, "backbone": backbone, "versions": versions, "clips": 0, "groups": 0}
        about = read_json(self.about_file)
        if not isinstance(about, dict) or not {"identity", "backbone", "versions", "clips", "groups"} <= set(about):
            raise _altered(self.about_file)
        for name, checksum in about.get("files", {}).items():
            if not _is_unchanged(self.path / name, checksum):
                raise _altered(self.path / name, " Change thresholds with `dfutils calibrate`.")
        return about

    def checksums(self, names: Iterable[str]) -> dict[str, str]:
        """Return the SHA-256 of files of the run, as ``run.json`` holds them under ``files``."""
        return {name: sha256_of(self.path / name) for name in names}

    def refresh_checksums(self, names: Iterable[str]) -> None:
        """Update the checksums of these files in ``run.json``, if it exists."""
        if self.about_file.is_file():
            about = read_json(self.about_file)
            write_json(self.about_file, {**about, "files": {**about.get("files", {}), **self.checksums(names)}})

    def checked_weights(self, detector: DetectorRecord) -> Path:
        """Verify the weight file of a run of one detector, and return its path.

        Raises:
            RunError: It is missing, or was altered since training.
        """
        if not _is_unchanged(self.weights_file, detector.weights_sha256):
            raise _altered(self.weights_file)
        return self.weights_file

    def members(self, detector: DetectorRecord) -> Iterator[tuple[RunFolder, DetectorRecord]]:
        """Yield the run folder and record of each network of a detector: this one, or each member of an ensemble.

        Raises:
            RunError: A member was altered since the ensemble was finished.
        """
        if not detector.members:
            yield self, detector
            return
        if members_checksum(detector.members) != detector.weights_sha256:
            raise _altered(self.detector_file)
        for known in detector.members:
            member = RunFolder(self.path / known.folder)
            if not _is_unchanged(member.detector_file, known.sha256):
                raise _altered(member.detector_file)
            yield member, member.detector()


def members_checksum(members: Sequence[MemberRecord]) -> str:
    """Return the checksum of an ensemble, over those of its members in order."""
    return hashlib.sha256("".join(f"{member.folder} {member.sha256}\n" for member in members).encode()).hexdigest()


def _is_unchanged(path: Path, checksum: str) -> bool:
    return path.is_file() and sha256_of(path) == checksum


def _altered(path: Path, advice: str = "") -> RunError:
    return RunError(f"{path}: is missing or was altered since training. Copy the run folder again, whole.{advice}")
