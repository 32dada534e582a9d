"""Identity of a run: the settings and data that determine its weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from dfutils.errors import RunError
from dfutils.files import read_csv, read_json
from dfutils.records import SplitName
from dfutils.runs.folder import RunFolder
from dfutils.settings import DeviceSettings, FinetuneSettings, TrainingSettings

_CHECKPOINTING = ("time_budget_hours", "checkpoint_minutes")


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Two runs with equal identities train the same detector, so that one may continue or replace the other.

    Attributes:
        settings: Only what can change the weights; settings of where and how long training runs, and how it is
            reported, are reset to their defaults.
        dataset: SHA-256 of the dataset's ``manifest.csv``.
        splits_file: SHA-256 of the splits file that was given; None without one.
        assignment: `assignment_checksum` of the splits that were given; None without any.
        folds: Number of folds of an ensemble; None for one detector.
        precision: For checkpoints only: the Keras dtype policy, since other precisions have other variables.
    """

    settings: TrainingSettings
    dataset: str
    splits_file: str | None = None
    assignment: str | None = None
    folds: int | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        usual = FinetuneSettings()
        finetune = self.settings.finetune.model_copy(update={name: getattr(usual, name) for name in _CHECKPOINTING})
        update = {"devices": DeviceSettings(), "tensorboard": False, "finetune": finetune}
        object.__setattr__(self, "settings", self.settings.model_copy(update=update))

    def document(self) -> dict[str, Any]:
        """Return plain JSON values, as ``run.json`` and checkpoints hold them."""
        settings = self.settings.model_dump(mode="json", exclude={"devices", "tensorboard"})
        finetune = {name: value for name, value in settings["finetune"].items() if name not in _CHECKPOINTING}
        others = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        return {
            "settings": {**settings, "finetune": finetune},
            **{name: value for name, value in others.items() if value is not None},
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, source: str) -> Self:
        """Read what `document` or an earlier version wrote; ``source`` names it in errors.

        Documents of earlier versions use older names, and lack settings that were added since; those get their
        defaults.

        Raises:
            DfutilsError: A setting is unknown or invalid.
        """
        settings = TrainingSettings.parse(document["settings"], source=source)
        others: dict[str, Any] = {field.name: document.get(field.name) for field in fields(cls)[1:]}
        return cls(settings, **others)


def assignment_checksum(assignment: Mapping[str, SplitName]) -> str:
    """Return the SHA-256 over every video and its split."""
    return hashlib.sha256(json.dumps(sorted(assignment.items())).encode()).hexdigest()


def is_finished(run: RunFolder, identity: RunIdentity) -> bool:
    """Return whether ``run`` holds a complete run of exactly these settings and data.

    A run that its time budget cut off, or that an earlier version continued without a finite loss, is not complete.

    Raises:
        RunError: It holds a finished run of other settings or data.
    """
    if not run.about_file.is_file():
        return False
    about = read_json(run.about_file)
    before = RunIdentity.parse(about["identity"], source=str(run.about_file))
    if before == identity:
        rows = read_csv(run.history_file, ("loss",)) if run.history_file.is_file() else []
        is_finite = all(row["loss"] and math.isfinite(float(row["loss"])) for row in rows)
        return is_finite and bool(about.get("is_complete", True))
    if before.settings != identity.settings:
        what = "with other settings"
    elif before.folds != identity.folds:
        was, now = (f"{one.folds} folds" if one.folds else "one detector" for one in (before, identity))
        what = f"of {was}, not of {now}"
    else:
        what = "with other data or splits"
    raise RunError(f"{run}: holds a finished run {what}. Choose another --out, or delete the folder.")
