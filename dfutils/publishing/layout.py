"""Laying out a folder to be sent: whole or not there, and nothing else touched."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dfutils.errors import DatasetError, PublishError
from dfutils.files import read_json, write_json, writing_error


def lay_out(
    staging: Path, files: Mapping[str, Path], documents: Mapping[str, Mapping[str, Any]], *, source: Path, what: str
) -> None:
    """Make ``staging`` hold exactly ``files`` and ``documents``.

    Files are hard links where the file system has them, so that staging costs no space.

    Args:
        staging: Folder to write; what was staged there under the same name is replaced.
        files: Name in the folder to the file it is.
        documents: Name in the folder to the JSON it holds; the first one says whose staging it is.
        source: What is staged; ``staging`` may lie neither in it nor around it.
        what: How the source is called in messages.

    Raises:
        PublishError: ``staging`` holds something else, or lies in the source.
        DatasetError: ``staging`` cannot be written.
    """
    marker = next(iter(documents))
    _make_room(source, staging, marker=marker, identity=_identity(documents[marker]), what=what)
    target = staging.resolve()
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, file in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(file, partial / name)
        for name, document in documents.items():
            write_json(partial / name, document)
        partial.rename(target)
    except OSError as error:
        raise writing_error(staging, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _identity(document: Mapping[str, Any]) -> str:
    return str(document.get("id") or f"{document.get('ownerSlug')}/{document.get('slug')}")


def _make_room(source: Path, staging: Path, *, marker: str, identity: str, what: str) -> None:
    """Remove an earlier staging of the same thing, and nothing else."""
    here, there = source.resolve(), staging.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise PublishError(f"{staging}: lies in the {what}, or around it. Choose a folder beside {source}.")
    if not staging.exists():
        return
    if not staging.is_dir() or (any(staging.iterdir()) and _staged_identity(staging / marker) != identity):
        raise PublishError(
            f"{staging}: holds something other than a staged {identity}. Choose another folder, or delete this one."
        )
    try:
        shutil.rmtree(staging)
    except OSError as error:
        raise writing_error(staging, error) from error


def _staged_identity(path: Path) -> str | None:
    with suppress(DatasetError):
        document = read_json(path)
        return _identity(document) if isinstance(document, dict) else None
    return None


def _link_or_copy(source: Path, target: Path) -> None:
    with suppress(OSError):  # another file system, or one without hard links
        target.hardlink_to(source.resolve())
        return
    shutil.copyfile(source, target)
