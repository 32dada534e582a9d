"""A face dataset as a folder that the kaggle command line can send: checked, described, nothing sent."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dfutils.errors import PublishError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.publishing.card import data_card
from dfutils.publishing.layout import lay_out
from dfutils.publishing.rules import DATASET_FILE as METADATA_FILE
from dfutils.publishing.rules import check_dataset, check_owner, check_slug, check_title

TABLES = ("manifest.csv", "frames.csv", "skipped.csv", "extraction.json")


@dataclass(frozen=True, slots=True)
class StagedDataset:
    """What lies ready, and how to send it.

    Attributes:
        folder: Holds the tables, the crops and ``dataset-metadata.json``.
        metadata: The content of ``dataset-metadata.json``.
        clips: Clips in the manifest.
        files: Files staged, the metadata left out.
        size_bytes: Of these files together.
    """

    folder: Path
    metadata: dict[str, Any]
    clips: int
    files: int
    size_bytes: int

    @property
    def create_command(self) -> str:
        """Makes the dataset; without ``--dir-mode`` the client would leave the crops behind."""
        public = "" if self.metadata["isPrivate"] else " --public"
        return f"kaggle datasets create -p {shlex.quote(str(self.folder))} --dir-mode zip{public}"

    @property
    def version_command(self) -> str:
        """Sends a new version of a dataset that is there already."""
        return f"kaggle datasets version -p {shlex.quote(str(self.folder))} --dir-mode zip -m 'what changed'"

    @property
    def status_command(self) -> str:
        """Says ``ready`` once Kaggle has unpacked everything; the exit code of the others does not tell."""
        return f"kaggle datasets status {self.metadata['id']}"

    @property
    def files_command(self) -> str:
        """Lists what is there, with sizes."""
        return f"kaggle datasets files {self.metadata['id']} --page-size 200"


def stage_dataset(
    faces: Path,
    staging: Path,
    *,
    owner: str,
    slug: str,
    title: str,
    subtitle: str = "",
    about: str = "",
    keywords: Sequence[str] = (),
    licence: str = "other",
    public: bool = False,
) -> StagedDataset:
    """Check a face dataset and lay it out for the kaggle command line; nothing leaves the machine.

    Staged are the tables and the crops they name, and nothing else that may lie in the folder. Crops are hard links
    where the file system has them, so that staging costs no space.

    Args:
        faces: A face dataset folder.
        staging: Folder to write; what was staged there for the same dataset is replaced.
        owner: Name in the address of your Kaggle page.
        slug: Last part of the dataset's address: small letters, digits and hyphens.
        title: What people read; Kaggle would make ``slug`` of it.
        subtitle: Empty, or 20 to 80 characters.
        about: Opens the description; the numbers follow.
        keywords: Tags that Kaggle knows.
        licence: Other than ``other`` only if the faces are yours to license.
        public: Only if you may show these faces to everybody.

    Raises:
        PublishError: A name is not one that Kaggle takes, a crop is missing, or ``staging`` holds something else.
        DatasetError: The dataset is incomplete, or ``staging`` cannot be written.
    """
    check_owner(owner)
    check_slug(slug)
    check_title(title, slug)
    dataset = read_face_dataset(faces)
    files = [*TABLES, *(file for row in dataset.rows for file in dataset.files[row.clip_id])]
    size_bytes = sum(_size(faces, file) for file in files)
    metadata = {
        "title": title,
        "id": f"{owner}/{slug}",
        **({"subtitle": subtitle} if subtitle else {}),
        "licenses": [{"name": licence}],
        "isPrivate": not public,
        "keywords": list(keywords),
        "description": data_card(dataset, about=about),
    }
    check_dataset(metadata)
    lay_out(
        staging, {file: faces / file for file in files}, {METADATA_FILE: metadata}, source=faces, what="face dataset"
    )
    return StagedDataset(staging, metadata, len(dataset.rows), len(files), size_bytes)


def _size(faces: Path, file: str) -> int:
    place = PurePosixPath(file)
    if place.is_absolute() or ".." in place.parts:
        raise PublishError(f"{faces}: frames.csv names {file!r}, outside the folder. Extract the dataset again.")
    try:
        size = (faces / file).stat().st_size
    except OSError as error:
        raise PublishError(
            f"{faces / file}: cannot be read ({error.strerror}). Copy or extract the dataset again."
        ) from error
    if not size:
        raise PublishError(f"{faces / file}: is empty. Copy or extract the dataset again.")
    return size
