"""Staging a trained detector as a Kaggle model, sending it, and looking whether it arrived."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError
from dfutils.files import sha256_of
from dfutils.publishing.datasets import check_arrived, check_not_poorer
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.kept import check_kept, kept_of_model
from dfutils.publishing.layout import lay_out
from dfutils.publishing.model_text import described
from dfutils.publishing.rules import MODEL_FILE, VARIATION_FILE, check_model, uploaded_files
from dfutils.publishing.templates import read_document
from dfutils.runs.folder import RunFolder

logger = logging.getLogger(__name__)

_RUN = RunFolder(Path())
NEEDED = (_RUN.detector_file.name, _RUN.weights_file.name)
"""What prediction loads. A run's tables stay at home: they name the videos of other people's data sets."""
WELCOME = (_RUN.keras_file.name, f"{_RUN.export_folder.name}/*", "LICENSE", "MODEL_CARD.md")
"""What goes along if it is there: for those who have Keras only, for OpenVINO, and what the weights may be used
for: the shipped detector's licence demands to be passed on."""

_VERSION = re.compile(r'"version": (\d+)')


@dataclass(frozen=True, slots=True)
class StagedModel:
    """A detector that lies ready.

    Attributes:
        folder: Holds the detector and both metadata files.
        model: The content of ``model-metadata.json``.
        variation: The content of ``model-instance-metadata.json``.
    """

    folder: Path
    model: dict[str, Any]
    variation: dict[str, Any]

    @property
    def name(self) -> str:
        """Owner and model."""
        return f"{self.model['ownerSlug']}/{self.model['slug']}"

    @property
    def variation_name(self) -> str:
        """Owner, model, framework and variation."""
        return f"{self.name}/{self.variation['framework']}/{self.variation['instanceSlug']}"


def stage_model(run: Path, staging: Path, *, model: Mapping[str, Any], variation: Mapping[str, Any]) -> StagedModel:
    """Lay out what prediction needs of a run folder, after a checksum, named and described after its network.

    Args:
        run: A finished run folder.
        staging: Folder to write.
        model: The content of ``model-metadata.json``.
        variation: The content of ``model-instance-metadata.json``.

    Raises:
        PublishError: The run folder is incomplete, altered or an ensemble's, or the metadata breaks one of Kaggle's
            rules.
    """
    folder = RunFolder(run)
    if folder.fold(0).path.is_dir():
        raise PublishError(
            f"{run}: is an ensemble of folds; only one network is sent. Name one of them: {folder.fold(0)}."
        )
    missing = [name for name in NEEDED if not (run / name).is_file()]
    if missing:
        raise PublishError(f"{run}: is no finished run folder (no {missing[0]}). Make one with `dfutils train`.")
    detector = read_document(folder.detector_file)
    if sha256_of(folder.weights_file) != detector.get("weights_sha256"):
        raise PublishError(f"{folder.weights_file}: was altered since training. Copy the run folder again, whole.")
    model, variation = described(run, model, variation)
    network = str(detector.get("model", "")).replace("_", "-")
    documents = {
        MODEL_FILE: dict(model),
        VARIATION_FILE: {**variation, "modelSlug": model["slug"], "instanceSlug": network or variation["instanceSlug"]},
    }
    check_model(documents[MODEL_FILE], documents[VARIATION_FILE])
    found = [path for pattern in (*NEEDED, *WELCOME) for path in sorted(run.glob(pattern)) if path.is_file()]
    files = {path.relative_to(run).as_posix(): path for path in found}
    lay_out(staging, files, documents, source=run, what="run folder")
    check_model(documents[MODEL_FILE], documents[VARIATION_FILE], staging)
    return StagedModel(staging, documents[MODEL_FILE], documents[VARIATION_FILE])


def push_model(kaggle: Kaggle, staged: StagedModel, *, notes: str, fewer_files: bool = False) -> list[str]:
    """Make the model and its variation, or a new version of it, and compare what arrived.

    Args:
        kaggle: The client.
        staged: What lies ready.
        notes: What changed, for a version.
        fewer_files: Whether a version may lack files of the one it replaces.

    Returns:
        What happened, in lines.

    Raises:
        PublishError: It was refused, would lose files, would be seen by others than was staged, or did not arrive
            whole.
    """
    name, files, lines = staged.variation_name, uploaded_files(staged.folder), list[str]()
    logger.info("%s: sending %d files, %.1f MB", name, len(files), sum(files.values()) / 1e6)
    if kaggle.ask(staged.name, "models", "get", staged.name) is None:
        arguments = ["models", "create", "-p", str(staged.folder)]
        lines.append(kaggle.send(staged.name, arguments, success="Your model was created"))
        before = 0
    else:
        before = _latest_version(kaggle, name)
        lines += check_kept(
            staged.name,
            kept_of_model(kaggle, staged.name, name if before else None),
            private=staged.model["isPrivate"],
            title=staged.model["title"],
            licence=staged.variation["licenseName"],
        )
    upload = ["-p", str(staged.folder), "--dir-mode", "zip"]
    if before:
        check_not_poorer(name, _files(kaggle, name, before), files, allowed=fewer_files)
        arguments = ["models", "instances", "versions", "create", name, *upload, "-n", notes]
        lines.append(kaggle.send(name, arguments, success="Your model instance version was created"))
    else:
        arguments = ["models", "instances", "create", *upload]
        lines.append(kaggle.send(name, arguments, success="Your model instance was created"))
    version = kaggle.wait(
        lambda: _newer(_latest_version(kaggle, name), before),
        otherwise=lambda: f"{name}: no new version after {kaggle.wait_seconds:.0f} s. Look at its page on Kaggle.",
    )
    check_arrived(f"{name}/{version}", files, _files(kaggle, name, version))
    return [*lines, f"{name}/{version}: {len(files)} files of {sum(files.values())} bytes arrived"]


def _newer(version: int, before: int) -> int | None:
    return version if version > before else None


def _latest_version(kaggle: Kaggle, variation: str) -> int:
    """Number of the newest version; 0 when there is none, or no such variation."""
    arguments = ("models", "instances", "versions", "list", variation, "--format", "json", "--page-size", "200")
    answer = kaggle.ask(variation, *arguments)
    found = [int(word) for word in _VERSION.findall(answer.stdout)] if answer else []
    return max(found, default=0)


def _files(kaggle: Kaggle, variation: str, version: int) -> dict[str, int]:
    place = f"{variation}/{version}"
    return kaggle.files(place, "models", "instances", "versions", "files", place) or {}
