"""What Kaggle keeps of a dataset or model through all its versions: privacy, title and licence."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.rules import DATASET_FILE, MODEL_FILE, VARIATION_FILE
from dfutils.publishing.templates import read_document


@dataclass(frozen=True, slots=True)
class Kept:
    """Settings that a version does not change.

    Attributes:
        private: Whether only its owner sees it.
        title: What people read.
        licence: As Kaggle spells it; None for a model without a variation.
    """

    private: bool
    title: str
    licence: str | None


def kept_of_dataset(kaggle: Kaggle, dataset: str) -> Kept:
    """What Kaggle has of a dataset that is there.

    Raises:
        PublishError: Kaggle does not tell.
    """
    info: Any = _told(kaggle, dataset, DATASET_FILE, "datasets", "metadata", dataset).get("info") or {}
    try:
        # The client leaves out what is false: of a public dataset it writes no isPrivate at all.
        return Kept(bool(info.get("isPrivate")), info["title"], info["licenses"][0]["name"])
    except (AttributeError, KeyError, IndexError, TypeError):
        raise _untold(dataset, "title and licence are not in its metadata") from None


def kept_of_model(kaggle: Kaggle, model: str, variation: str | None) -> Kept:
    """What Kaggle has of a model that is there, and of its variation, if there is one.

    Raises:
        PublishError: Kaggle does not tell.
    """
    told = _told(kaggle, model, MODEL_FILE, "models", "get", model)
    instance = _told(kaggle, variation, VARIATION_FILE, "models", "instances", "get", variation) if variation else {}
    try:
        return Kept(bool(told["isPrivate"]), told["title"], instance["licenseName"] if variation else None)
    except KeyError as error:
        raise _untold(model, f"no {error.args[0]} in its metadata") from None


def _told(kaggle: Kaggle, what: str, file: str, *arguments: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        if kaggle.ask(what, *arguments, "-p", folder) is None:
            raise _untold(what, "it is there, but its metadata are not")
        try:
            return read_document(Path(folder) / file)
        except PublishError as error:
            raise _untold(what, "the client wrote no metadata") from error


def _untold(what: str, why: str) -> PublishError:
    return PublishError(
        f"{what}: whether it is private on Kaggle cannot be read ({why}). "
        "Nothing was sent. Look at its page on Kaggle, then give the same command again."
    )


def check_kept(what: str, kept: Kept, *, private: bool, title: str, licence: str) -> list[str]:
    """Refuse a version that would be seen by others, or under another licence, than was staged.

    Args:
        what: Address of the dataset or model.
        kept: What Kaggle has.
        private: What was staged.
        title: What was staged.
        licence: What was staged.

    Returns:
        What else stays as it is on Kaggle, in lines.

    Raises:
        PublishError: It is public and staged as private or the other way round, or has another licence.
    """
    if private and not kept.private:
        raise PublishError(
            f"{what}: is public on Kaggle, and so is every version of it, but it was staged as private. Nothing was "
            "sent. Make it private on its page, or add --public --i-have-the-rights if everybody may see it."
        )
    if kept.private and not private:
        raise PublishError(
            f"{what}: is private on Kaggle, and a version of it stays so: --public is for what is new. Nothing was "
            "sent. Make it public on its page and send it again, or leave --public out."
        )
    if kept.licence is not None and not _names(kept.licence) & _names(licence):
        raise PublishError(
            f"{what}: its licence on Kaggle is {kept.licence!r}, which a version keeps, but {licence!r} was staged. "
            f"Nothing was sent. Change it on its page, or say --licence {kept.licence!r} --i-have-the-rights."
        )
    if kept.title != title:
        return [
            f"{what}: keeps its title {kept.title!r}; a version does not make it {title!r}, its page on Kaggle does"
        ]
    return []


def _names(licence: str) -> set[str]:
    """Both names of "Attribution 4.0 International (CC BY 4.0)": Kaggle calls it by either."""
    return {name.strip().casefold() for name in re.split(r"[()]", licence)} - {""}
