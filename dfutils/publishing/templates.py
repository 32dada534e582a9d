"""The committed metadata in ``kaggle-metadata/``, with the owner filled in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dfutils.errors import DatasetError, PublishError
from dfutils.files import read_json
from dfutils.publishing.rules import OWNER_PLACEHOLDER, check_owner

FOLDER = "kaggle-metadata"


def metadata_folder(explicit: Path | None = None) -> Path:
    """Find ``kaggle-metadata/``: as given, in the current folder, or beside the package's sources.

    Raises:
        PublishError: It is nowhere.
    """
    places = [explicit] if explicit else [Path(FOLDER), Path(__file__).parents[2] / FOLDER]
    for place in places:
        if place.is_dir():
            return place
    raise PublishError(
        f"{places[0]}: is no folder. Give the command in the project's folder, or name it with --metadata."
    )


def read_template(path: Path, *, owner: str) -> dict[str, Any]:
    """Read one committed metadata file and put ``owner`` in the placeholder's place.

    Raises:
        PublishError: The file is missing or is no JSON object.
    """
    return {key: _filled(value, owner) for key, value in read_document(path).items()}


def read_document(path: Path) -> dict[str, Any]:
    """Read a metadata file.

    Raises:
        PublishError: The file is missing or is no JSON object.
    """
    try:
        document = read_json(path)
    except DatasetError as error:
        raise PublishError(str(error)) from error
    if not isinstance(document, dict):
        raise PublishError(f"{path}: is no JSON object. Restore it from the repository.")
    return document


def _filled(value: Any, owner: str) -> Any:
    if isinstance(value, str):
        return value.replace(OWNER_PLACEHOLDER, owner)
    return [_filled(one, owner) for one in value] if isinstance(value, list) else value


def owner_name(given: str | None) -> str:
    """The account to publish under: as given, or the one that Kaggle's client is signed in as.

    Raises:
        PublishError: Neither is known, or it is no name on Kaggle.
    """
    owner = given or os.environ.get("KAGGLE_USERNAME") or _signed_in_name()
    if not owner:
        raise PublishError("owner: is unknown. Give --owner, the name in the address of your Kaggle page.")
    check_owner(owner)
    return owner


def _signed_in_name() -> str:
    path = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle") / "kaggle.json"
    try:
        document = read_json(path)
    except DatasetError:
        return ""
    return str(document.get("username", "")) if isinstance(document, dict) else ""
