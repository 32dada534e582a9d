"""Stage folders that Kaggle's command line can send: check and describe them, but send nothing."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dfutils.errors import DatasetError, PublishError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_json, sha256_of, write_json, writing_error
from dfutils.publishing.card import TABLES, data_card, network_text
from dfutils.publishing.metadata import (
    DATASET_FILE,
    METADATA_FILES,
    MODEL_FILE,
    VARIATION_FILE,
    check_metadata,
    read_metadata,
)
from dfutils.runs.folder import DETECTOR_EXTRAS, DETECTOR_NEEDS, RunFolder

TOP_LEVEL_FILES = 50
DATASET_BYTES = 200 * 10**9

CREATE, CREATE_MODEL, CREATE_VARIATION = "create the dataset", "create the model", "create its variation"
VERSION, PUSH = "send a new version", "run it"


@dataclass(frozen=True, slots=True)
class Staged:
    """A folder that is ready to be sent.

    Attributes:
        name: Address on Kaggle.
        folder: Holds the files and their metadata.
        metadata: Content of the metadata file that names it.
        files: Name and size in bytes of each file that is sent; metadata files are not.
        commands: Purpose of each command of Kaggle's client, and its arguments.
        remarks: Further notes for the user.
    """

    name: str
    folder: Path
    metadata: dict[str, Any]
    files: dict[str, int]
    commands: dict[str, list[str]]
    remarks: list[str] = field(default_factory=list)

    def shell_commands(self) -> list[tuple[str, str]]:
        """Return the purpose and the text of each command, to be pasted into a shell."""
        return [(purpose, shlex.join(["kaggle", *arguments])) for purpose, arguments in self.commands.items()]


def stage_dataset(
    faces: Path,
    staging: Path,
    *,
    owner: str,
    slug: str,
    title: str,
    metadata: Mapping[str, Any] | None = None,
    notes: str = "what changed",
) -> Staged:
    """Check a face dataset and lay it out with its data card: the tables, the crops they name, and nothing else.

    Its address is ``owner/slug``, and ``metadata`` may have further fields of ``dataset-metadata.json``: by default it
    is private, with the licence ``other``. An earlier staging of the same dataset is replaced.

    Raises:
        PublishError: Kaggle would refuse a name, a crop is missing, or ``staging`` holds something else.
        DatasetError: The dataset is incomplete, or ``staging`` cannot be written.
    """
    document: dict[str, Any] = {"licenses": [{"name": "other"}], "isPrivate": True, "keywords": [], **(metadata or {})}
    document |= {"id": f"{owner}/{slug}", "title": title}
    check_metadata(DATASET_FILE, document)
    dataset = read_face_dataset(faces)
    document["description"] = data_card(dataset, about=document.get("description", ""))
    files = [*TABLES, *(file for row in dataset.rows for file in dataset.files[row.clip_id])]
    for file in files:
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise PublishError(f"{faces}: frames.csv names {file!r}, outside the folder. Extract the dataset again.")
    return stage_files({file: faces / file for file in files}, staging, document, source=faces, notes=notes)


def stage_files(
    files: Mapping[str, Path], staging: Path, document: dict[str, Any], *, source: Path, notes: str
) -> Staged:
    """Check the metadata of any dataset and lay out its files; see `lay_out`."""
    check_metadata(DATASET_FILE, document)
    sizes = lay_out(staging, files, {DATASET_FILE: document}, source=source)
    name, upload = document["id"], ["-p", str(staging), "--dir-mode", "zip"]  # else the client omits sub-folders
    commands = {
        CREATE: ["datasets", "create", *upload, *([] if document["isPrivate"] else ["--public"])],
        "check whether it is ready": ["datasets", "status", name],
        "list what arrived": ["datasets", "files", name, "--page-size", "200"],
        VERSION: ["datasets", "version", *upload, "-m", notes],
    }
    return Staged(name, staging, document, sizes, commands)


def stage_model(
    run: Path, staging: Path, *, model: Mapping[str, Any], variation: Mapping[str, Any], notes: str
) -> Staged:
    """Lay out what prediction needs of a run folder, with both metadata documents completed from ``detector.json``.

    Raises:
        PublishError: The run folder is incomplete, altered or an ensemble, or Kaggle would refuse the metadata.
    """
    files, detector = files_of_detector(run)
    network, licence = network_text(run, detector), run / "LICENSE"
    description = [str(model.get("description")), f"# Network\n\n{network}"]
    if licence.is_file():
        description.append(f"# Terms of the weights\n\n{licence.read_text(encoding='utf-8').strip()}")
    model = {**model, "description": "\n\n".join(description)}
    slugs = {"modelSlug": model.get("slug"), "instanceSlug": detector["model"].replace("_", "-")}
    variation = {**variation, **slugs, "overview": network}
    check_metadata(MODEL_FILE, model)
    check_metadata(VARIATION_FILE, variation)
    sizes = lay_out(staging, files, {MODEL_FILE: model, VARIATION_FILE: variation}, source=run)

    name = f"{model['ownerSlug']}/{model['slug']}/{variation['framework']}/{variation['instanceSlug']}"
    folder, zipped = ["-p", str(staging)], ["--dir-mode", "zip"]
    commands = {
        CREATE_MODEL: ["models", "create", *folder],
        CREATE_VARIATION: ["models", "instances", "create", *folder, *zipped],
        VERSION: ["models", "instances", "versions", "create", name, *folder, *zipped, "-n", notes],
    }
    return Staged(name, staging, dict(model), sizes, commands)


def files_of_detector(run: Path) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return the files of a run folder that are published, by name, and its ``detector.json``.

    Raises:
        PublishError: The run folder is incomplete, altered or an ensemble.
    """
    if (run / "fold-0").is_dir():
        raise PublishError(f"{run}: is an ensemble of folds; only one network can be sent. Name one: {run}/fold-0.")
    missing = [name for name in DETECTOR_NEEDS if not (run / name).is_file()]
    if missing:
        raise PublishError(f"{run}: is not a finished run folder (no {missing[0]}). Make one with `dfutils train`.")
    detector = read_metadata(RunFolder(run).detector_file)
    if sha256_of(RunFolder(run).weights_file) != detector.get("weights_sha256"):
        raise PublishError(f"{run / 'model.weights.h5'}: was altered since training. Copy the run folder again, whole.")
    return {name: run / name for name in (*DETECTOR_NEEDS, *DETECTOR_EXTRAS) if (run / name).is_file()}, detector


def lay_out(
    staging: Path, files: Mapping[str, Path], documents: Mapping[str, Mapping[str, Any]], *, source: Path
) -> dict[str, int]:
    """Make ``staging`` hold exactly ``files`` and ``documents``, or leave it as it is.

    Files are hard links where the file system has them, so that staging costs no space. An earlier staging whose first
    document has the same address is replaced; ``staging`` may lie neither in ``source`` nor around it.

    Returns:
        Name and size in bytes of each file except the metadata.

    Raises:
        PublishError: A file is missing, empty, or too much for Kaggle; or ``staging`` holds something else.
        DatasetError: ``staging`` cannot be written.
    """
    _check_files(files, staging)
    here, target = source.resolve(), staging.resolve()
    if here.is_relative_to(target) or target.is_relative_to(here):
        raise PublishError(f"{staging}: lies in {source}, or around it. Choose a folder beside it (--staging).")
    marker, earlier = next(iter(documents)), None
    identity = _identity(documents[marker])
    with suppress(DatasetError, AttributeError):
        earlier = _identity(read_json(staging / marker))
    if staging.exists() and (not staging.is_dir() or (any(staging.iterdir()) and earlier != identity)):
        raise PublishError(
            f"{staging}: holds something other than a staged {identity}. Choose another folder (--staging), or delete "
            "this one."
        )
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, file in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                (partial / name).hardlink_to(file.resolve())
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(file, partial / name)
        for name, content in documents.items():
            write_json(partial / name, content)
        if staging.exists():
            shutil.rmtree(staging)
        partial.rename(target)
    except OSError as error:
        raise writing_error(staging, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {name: (staging / name).stat().st_size for name in (*files, *documents) if name not in METADATA_FILES}


def _check_files(files: Mapping[str, Path], staging: Path) -> None:
    total = 0
    for path in files.values():
        try:
            size = path.stat().st_size
        except OSError as error:
            raise PublishError(f"{path}: cannot be read ({error.strerror}). Copy it again or make it again.") from error
        if not size:
            raise PublishError(f"{path}: is empty. Copy it again or make it again.")
        total += size
    if total > DATASET_BYTES:
        raise PublishError(
            f"{staging}: {total / 1e9:.0f} GB are more than Kaggle's limit of {DATASET_BYTES // 10**9} GB. "
            "Extract with --image-format jpg, or publish a part."
        )
    if len({name.split("/")[0] for name in files}) > TOP_LEVEL_FILES:
        raise PublishError(
            f"{staging}: more than {TOP_LEVEL_FILES} files and folders at the top. Put them into sub-folders."
        )


def _identity(document: Mapping[str, Any]) -> str:
    return str(document.get("id") or f"{document.get('ownerSlug')}/{document.get('slug')}")
