"""Metadata that Kaggle's client reads: the committed files in ``kaggle-metadata/``, filled in and checked.

The checks cover values that the client accepts but Kaggle would read differently than intended, and names that a person
gives on the command line. The client itself refuses everything else before it sends anything.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfutils.errors import DatasetError, PublishError
from dfutils.files import read_json
from dfutils.publishing.credentials import kaggle_folder

OWNER_PLACEHOLDER = "INSERT_OWNER_SLUG_HERE"
DATASET_FILE, NOTEBOOK_FILE = "dataset-metadata.json", "kernel-metadata.json"
MODEL_FILE, VARIATION_FILE = "model-metadata.json", "model-instance-metadata.json"

TITLE_LENGTHS = {DATASET_FILE: (6, 50), NOTEBOOK_FILE: (5, 50), MODEL_FILE: (1, 50)}
SUBTITLE_LENGTHS = (20, 80)
GPUS = (
    *("NvidiaTeslaT4", "NvidiaTeslaT4Highmem", "NvidiaL4", "NvidiaL4X1", "NvidiaTeslaA100", "NvidiaH100"),
    "NvidiaRtxPro6000",
)
"""Values of ``machine_shape`` with a GPU; without one it is "None". NvidiaTeslaT4 means two of them; some others are
for certain competitions only. The P100, which Kaggle uses if none is named, is retired."""

_FIELDS: dict[str, dict[type, str]] = {
    DATASET_FILE: {str: "id title", list: "licenses keywords", bool: "isPrivate"},
    NOTEBOOK_FILE: {
        str: "id title code_file machine_shape",
        bool: "is_private enable_gpu enable_tpu enable_internet",
        list: "dataset_sources kernel_sources competition_sources model_sources",
    },
    MODEL_FILE: {str: "ownerSlug title slug description", bool: "isPrivate"},
    VARIATION_FILE: {str: "ownerSlug framework licenseName", bool: "fineTunable"},
}
"""Required fields. The client replaces a missing flag by a default: the internet would be on."""
HUB_FILE = "hub-metadata.json"
"""Names the model of a staging for the Hugging Face Hub."""
METADATA_FILES = frozenset({*_FIELDS, HUB_FILE})
"""Files of a staging that are not sent as files."""
_ADDRESS = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*/[a-z0-9]+(?:-[a-z0-9]+)*")


def metadata_folder(explicit: Path | None = None) -> Path:
    """Find ``kaggle-metadata/``: as given, in the current folder, or beside the package's sources."""
    places = [explicit] if explicit else [place / "kaggle-metadata" for place in (Path(), Path(__file__).parents[2])]
    for place in places:
        if place.is_dir():
            return place
    raise PublishError(f"{places[0]}: is not a folder. Work in the project's folder, or name it with --metadata.")


def read_metadata(path: Path, *, owner: str = OWNER_PLACEHOLDER) -> dict[str, Any]:
    """Read a JSON object and replace the placeholder by ``owner``; anything else is a `PublishError`."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(OWNER_PLACEHOLDER, owner)
        return [filled(one) for one in value] if isinstance(value, list) else value

    try:
        document = read_json(path)
    except DatasetError as error:
        raise PublishError(str(error)) from error
    if not isinstance(document, dict):
        raise PublishError(f"{path}: is not a JSON object. Restore the original file.")
    return {key: filled(value) for key, value in document.items()}


def owner_name(given: str | None) -> str:
    """Return the account to publish under: as given, or the one that Kaggle's client is signed in as."""
    owner, path = given or os.environ.get("KAGGLE_USERNAME"), kaggle_folder() / "kaggle.json"
    if not owner and path.is_file():
        owner = read_metadata(path).get("username")
    if not owner:
        raise PublishError("owner: is unknown. Give --owner, the name in the address of your Kaggle page.")
    return owner


def slugify(title: str) -> str:
    """Return the last part of the address that Kaggle derives from a title.

    Example:
        >>> slugify("Deepfakes 3: Train a detector")
        'deepfakes-3-train-a-detector'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def check_metadata(file: str, document: Mapping[str, Any]) -> None:
    """Check the content of one metadata file, and raise `PublishError` for what would go wrong on Kaggle."""
    for kind, fields in _FIELDS[file].items():
        for field in fields.split():
            if not isinstance(document.get(field), kind):
                received = repr(document[field]) if field in document else "missing"
                raise PublishError(f"{file}: {field} is {received}. Write a JSON {kind.__name__}; omit no field.")
    if OWNER_PLACEHOLDER in str(document):
        raise PublishError(f"{file}: still says {OWNER_PLACEHOLDER}. Give --owner, the name in your Kaggle address.")
    if file in TITLE_LENGTHS:
        _check_names(document, TITLE_LENGTHS[file])
    if file == DATASET_FILE and not (len(document["licenses"]) == 1 and document["licenses"][0].get("name")):
        raise PublishError(f"licenses: {document['licenses']!r} is not exactly one. Write [{{'name': 'other'}}].")
    if file == NOTEBOOK_FILE:
        machine, allowed = document["machine_shape"], GPUS if document["enable_gpu"] else ("None",)
        if machine not in allowed:
            raise PublishError(
                f"machine_shape: {machine!r} does not go with enable_gpu {document['enable_gpu']}. "
                f"Write {' or '.join(allowed)}."
            )


def _check_names(document: Mapping[str, Any], lengths: tuple[int, int]) -> None:
    address, title = document.get("id") or f"{document['ownerSlug']}/{document['slug']}", document["title"]
    if not _ADDRESS.fullmatch(address):
        raise PublishError(
            f"address: {address!r} is not of the form OWNER/NAME. Use lower-case letters, digits and single hyphens."
        )
    slug, subtitle = address.split("/")[1], document.get("subtitle")
    texts = [("slug", slug, lengths), ("title", title, lengths)]
    texts += [("subtitle", subtitle, SUBTITLE_LENGTHS)] if subtitle else []
    for what, text, (shortest, longest) in texts:
        if not shortest <= len(text.strip()) <= len(text) <= longest:
            raise PublishError(
                f"{what}: {text!r} has {len(text.strip())} characters. Kaggle accepts {shortest} to {longest}."
            )
    if slugify(title) != slug:
        raise PublishError(
            f"title: {title!r} becomes {slugify(title)!r} on Kaggle, not {slug!r}. Change the title or the slug."
        )
