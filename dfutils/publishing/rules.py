"""Kaggle's rules for what is sent to it, checked before anything is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError
from dfutils.files import read_json

OWNER_PLACEHOLDER = "INSERT_OWNER_SLUG_HERE"
"""Stands for the owner in ``kaggle-metadata/``; Kaggle's client refuses it too."""

DATASET_FILE, NOTEBOOK_FILE = "dataset-metadata.json", "kernel-metadata.json"
MODEL_FILE, VARIATION_FILE = "model-metadata.json", "model-instance-metadata.json"

TITLE_LENGTH = SLUG_LENGTH = (6, 50)
"""Fewest and most characters that Kaggle takes for a dataset."""
NOTEBOOK_LENGTH = (5, 50)
SUBTITLE_LENGTH = (20, 80)
TOP_LEVEL_FILES = 50
DATASET_BYTES = 200 * 10**9
NOTEBOOK_BYTES = 10**6
"""Of the notebook as the client sends it, without outputs."""

GPUS = (
    "NvidiaTeslaT4",
    "NvidiaTeslaT4Highmem",
    "NvidiaL4",
    "NvidiaL4X1",
    "NvidiaTeslaA100",
    "NvidiaH100",
    "NvidiaRtxPro6000",
)
"""What ``machine_shape`` may say with a GPU; without one it says "None". NvidiaTeslaT4 are two of them; others are for
certain competitions only. The P100, which Kaggle took where nothing was said, is retired."""
VARIATION_TYPES = ("Unspecified", "BaseModel", "KaggleVariant", "ExternalVariant")
"""Written like this: Kaggle's client breaks off at "Base Model"."""

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_OWNER = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")

_DATASET: Mapping[str, type] = {"id": str, "title": str, "licenses": list, "isPrivate": bool, "keywords": list}
_NOTEBOOK: Mapping[str, type] = {
    **dict.fromkeys(("id", "title", "code_file", "language", "kernel_type", "machine_shape"), str),
    **dict.fromkeys(("is_private", "enable_gpu", "enable_tpu", "enable_internet"), bool),
    **dict.fromkeys(("dataset_sources", "kernel_sources", "competition_sources", "model_sources", "keywords"), list),
}
_MODEL: Mapping[str, type] = {
    **dict.fromkeys(("ownerSlug", "title", "slug", "subtitle", "description"), str),
    "isPrivate": bool,
}
_VARIATION: Mapping[str, type] = {
    **dict.fromkeys(("ownerSlug", "modelSlug", "instanceSlug", "framework", "overview", "usage", "licenseName"), str),
    **{"fineTunable": bool, "trainingData": list, "modelInstanceType": str},
}
_OPTIONAL = {
    DATASET_FILE: {"subtitle", "description", "resources"},
    NOTEBOOK_FILE: set[str](),
    MODEL_FILE: {"publishTime", "provenanceSources"},
    VARIATION_FILE: {"baseModelInstance", "externalBaseModelUrl"},
}


def slugify(title: str) -> str:
    """The last part of the address that Kaggle makes of a title.

    Example:
        >>> slugify("Deepfakes 3: Train a détector")
        'deepfakes-3-train-a-detector'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def check_owner(owner: str) -> None:
    """Refuse what is no name of a Kaggle account."""
    if not _OWNER.fullmatch(owner):
        raise PublishError(f"owner: {owner!r} is no name on Kaggle. Use small letters, digits and single hyphens.")


def check_slug(slug: str, limits: tuple[int, int] = SLUG_LENGTH) -> None:
    """Refuse what cannot be the last part of an address."""
    if not _SLUG.fullmatch(slug):
        raise PublishError(f"slug: {slug!r} is no name on Kaggle. Use small letters, digits and single hyphens.")
    check_length("slug", slug, limits)


def check_length(what: str, value: str, limits: tuple[int, int]) -> None:
    """Refuse a text that is too short without its outer spaces, or too long with them."""
    shortest, longest = limits
    if not shortest <= len(value.strip()) <= len(value) <= longest:
        raise PublishError(
            f"{what}: {value!r} has {len(value.strip())} characters. Kaggle takes {shortest} to {longest}."
        )


def check_title(title: str, slug: str, limits: tuple[int, int] = TITLE_LENGTH) -> None:
    """Refuse a title of the wrong length, or one that Kaggle would turn into another address."""
    check_length("title", title, limits)
    if slugify(title) != slug:
        raise PublishError(
            f"title: {title!r} becomes {slugify(title)!r} on Kaggle, not {slug!r}. Change the title or the slug."
        )


def check_dataset(document: Mapping[str, Any], folder: Path | None = None) -> None:
    """Check ``dataset-metadata.json`` and, when given, the folder around it.

    Raises:
        PublishError: Kaggle, or its client, would refuse it or read it otherwise than meant.
    """
    _check_fields(document, _DATASET, DATASET_FILE)
    owner, slug = _address(document["id"])
    check_owner(owner)
    check_slug(slug)
    check_title(document["title"], slug)
    _check_subtitle(document.get("subtitle", ""))
    licences = document["licenses"]
    if len(licences) != 1 or not isinstance(licences[0], dict) or not licences[0].get("name"):
        raise PublishError(f"licenses: {licences!r} is not exactly one. Write [{{'name': 'other'}}].")
    if folder is not None:
        for resource in document.get("resources", []):
            _check_there(folder, resource.get("path", ""))
        check_files(folder)


def check_files(folder: Path) -> None:
    """Refuse a folder to be uploaded that is empty, holds an empty file, or is beyond Kaggle's sizes."""
    files = uploaded_files(folder)
    if not files:
        raise PublishError(f"{folder}: holds no file to send. Stage it again.")
    empty = next((name for name, size in files.items() if not size), None)
    if empty:
        raise PublishError(f"{folder / empty}: is empty. Make it again, or leave it out.")
    if sum(files.values()) > DATASET_BYTES:
        raise PublishError(
            f"{folder}: {sum(files.values()) / 1e9:.0f} GB are more than Kaggle's {DATASET_BYTES // 10**9} GB. "
            "Extract with --image-format jpg, or publish a part."
        )
    if len({name.split("/")[0] for name in files}) > TOP_LEVEL_FILES:
        raise PublishError(
            f"{folder}: more than {TOP_LEVEL_FILES} files and folders at the top. Put them into sub-folders."
        )


def uploaded_files(folder: Path) -> dict[str, int]:
    """Files that the client would send, with their sizes: all but the metadata."""
    metadata = set(_OPTIONAL)
    return {
        name: path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (name := path.relative_to(folder).as_posix()) not in metadata
    }


def check_notebook(document: Mapping[str, Any], folder: Path | None = None) -> None:
    """Check ``kernel-metadata.json`` and, when given, the notebook beside it.

    Raises:
        PublishError: Kaggle, or its client, would refuse it or read it otherwise than meant.
    """
    _check_fields(document, _NOTEBOOK, NOTEBOOK_FILE)
    owner, slug = _address(document["id"])
    check_owner(owner)
    check_slug(slug, NOTEBOOK_LENGTH)
    check_title(document["title"], slug, NOTEBOOK_LENGTH)
    for field, expected in (("language", "python"), ("kernel_type", "notebook")):
        if document[field] != expected:
            raise PublishError(f"{field}: {document[field]!r} is not {expected!r}. The series is Python notebooks.")
    machine, fitting = document["machine_shape"], GPUS if document["enable_gpu"] else ("None",)
    if machine not in fitting:
        raise PublishError(
            f"machine_shape: {machine!r} does not go with enable_gpu {document['enable_gpu']}. "
            f"Write {' or '.join(fitting)}."
        )
    for source in (*document["dataset_sources"], *document["kernel_sources"]):
        check_owner(_address(source)[0])
        check_slug(_address(source)[1], NOTEBOOK_LENGTH)
    for source in document["competition_sources"]:
        check_slug(source, NOTEBOOK_LENGTH)
    for source in document["model_sources"]:
        if not re.fullmatch(r"[^/]+/[^/]+/[^/]+/[^/]+/\d+", str(source)):
            raise PublishError(
                f"model_sources: {source!r} is not OWNER/MODEL/FRAMEWORK/VARIATION/VERSION. Name all five."
            )
    if folder is not None:
        _check_code(_check_there(folder, document["code_file"]))


def check_model(model: Mapping[str, Any], variation: Mapping[str, Any], folder: Path | None = None) -> None:
    """Check ``model-metadata.json`` and ``model-instance-metadata.json`` and, when given, the folder around them.

    Raises:
        PublishError: Kaggle, or its client, would refuse it or read it otherwise than meant.
    """
    _check_fields(model, _MODEL, MODEL_FILE)
    _check_fields(variation, _VARIATION, VARIATION_FILE)
    check_owner(model["ownerSlug"])
    for slug in (model["slug"], variation["instanceSlug"]):
        check_slug(slug, (1, 50))
    check_title(model["title"], model["slug"], (1, 50))
    _check_subtitle(model["subtitle"])
    if (variation["ownerSlug"], variation["modelSlug"]) != (model["ownerSlug"], model["slug"]):
        raise PublishError(
            f"modelSlug: {variation['modelSlug']!r} is not the model of {MODEL_FILE}. Write {model['slug']}."
        )
    if not variation["licenseName"]:
        raise PublishError("licenseName: is empty. Write one as Kaggle displays it, such as 'Apache 2.0'.")
    if variation["modelInstanceType"] not in VARIATION_TYPES:
        raise PublishError(
            f"modelInstanceType: {variation['modelInstanceType']!r} is unknown. "
            f"Kaggle has {', '.join(VARIATION_TYPES)}."
        )
    if folder is not None:
        check_files(folder)


def _check_fields(document: Mapping[str, Any], required: Mapping[str, type], name: str) -> None:
    for field, kind in required.items():
        if not isinstance(document.get(field), kind):
            received = repr(document[field]) if field in document else "missing"
            raise PublishError(f"{name}: {field} is {received}. Write a JSON {_JSON_NAMES[kind]}; nothing is left out.")
    unknown = sorted(set(document) - set(required) - _OPTIONAL[name])
    if unknown:
        raise PublishError(f"{name}: {unknown[0]!r} is no field that it may have. Remove it, or correct its spelling.")
    if OWNER_PLACEHOLDER in str(document):
        raise PublishError(f"{name}: still says {OWNER_PLACEHOLDER}. Give --owner, the name in your Kaggle address.")


_JSON_NAMES = {str: "text", bool: "true or false", list: "list"}


def _address(value: str) -> tuple[str, str]:
    owner, _, slug = str(value).partition("/")
    if not slug or "/" in slug:
        raise PublishError(f"id: {value!r} is not OWNER/NAME. Write both parts.")
    return owner, slug


def _check_subtitle(subtitle: str) -> None:
    if subtitle:
        check_length("subtitle", subtitle, SUBTITLE_LENGTH)


def _check_there(folder: Path, name: str) -> Path:
    path = folder / name
    if not name or not path.is_file():
        raise PublishError(f"{path}: does not exist. Stage it again, or correct its name in the metadata.")
    return path


def _check_code(path: Path) -> None:
    notebook = read_json(path)
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not cells:
        raise PublishError(f"{path}: is no notebook with cells. Save it again.")
    size = sum(len("".join(cell["source"]).encode()) for cell in cells)
    if size > NOTEBOOK_BYTES:
        raise PublishError(f"{path}: {size} bytes without outputs; Kaggle takes {NOTEBOOK_BYTES}. Shorten it.")
