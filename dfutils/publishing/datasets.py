"""Sending a staged dataset, and looking whether all of it arrived."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.kept import check_kept, kept_of_dataset
from dfutils.publishing.rules import DATASET_FILE, check_dataset, uploaded_files
from dfutils.publishing.templates import read_document
from dfutils.publishing.wheels import IMAGE_PYTHONS, project_of, runs_on

logger = logging.getLogger(__name__)

NAMES_SHOWN = 3
_FAILED = {"failed", "deleted"}


def push_dataset(kaggle: Kaggle, folder: Path, *, notes: str, fewer_files: bool = False) -> list[str]:
    """Send a staged dataset, new or as a version, and wait until Kaggle holds exactly what was staged.

    Args:
        kaggle: The client.
        folder: What was staged.
        notes: What changed, for a version.
        fewer_files: Whether a version may lack files of the one it replaces.

    Returns:
        What happened, in lines.

    Raises:
        PublishError: A file has gone since it was staged; or it was refused, would lose files, would be seen by others
            than was staged, or did not arrive whole.
    """
    metadata, staged, lines = read_document(folder / DATASET_FILE), uploaded_files(folder), list[str]()
    check_dataset(metadata, folder)
    dataset = metadata["id"]
    version = remote_version(kaggle, dataset)
    upload = ["-p", str(folder), "--dir-mode", "zip"]
    logger.info("%s: sending %d files, %.1f MB", dataset, len(staged), sum(staged.values()) / 1e6)
    if version is None:
        public = [] if metadata["isPrivate"] else ["--public"]
        said = kaggle.send(dataset, ["datasets", "create", *upload, *public], success="is being created")
    else:
        lines = check_kept(
            dataset,
            kept_of_dataset(kaggle, dataset),
            private=metadata["isPrivate"],
            title=metadata["title"],
            licence=metadata["licenses"][0]["name"],
        )
        before = kaggle.files(dataset, "datasets", "files", dataset)
        check_not_poorer(dataset, before or {}, staged, allowed=fewer_files)
        said = kaggle.send(dataset, ["datasets", "version", *upload, "-m", notes], success="is being created")
    _wait_until_ready(kaggle, dataset, after=version)
    check_arrived(dataset, staged, kaggle.files(dataset, "datasets", "files", dataset) or {})
    return [said, *lines, f"{dataset}: ready, {len(staged)} files of {sum(staged.values())} bytes arrived"]


def remote_version(kaggle: Kaggle, dataset: str) -> int | None:
    """Number of the dataset's current version, 0 where Kaggle does not tell; None when there is no such dataset."""
    answer = kaggle.ask(dataset, "datasets", "status", dataset)
    return None if answer is None else _version_number(kaggle, dataset)


def _version_number(kaggle: Kaggle, dataset: str) -> int:
    answer = kaggle.run("datasets", "status", dataset, "--format", "json(current_version_number)")
    with suppress(ValueError, TypeError, AttributeError):
        return int(json.loads(answer.stdout).get("current_version_number") or 0)
    return 0


def _wait_until_ready(kaggle: Kaggle, dataset: str, *, after: int | None) -> None:
    """Wait for the status, and for the number to rise: the old version is ready all the time."""
    status = ""

    def look() -> bool | None:
        nonlocal status
        answer = kaggle.ask(dataset, "datasets", "status", dataset)
        status = answer.stdout.strip().splitlines()[0].lower() if answer and answer.stdout.strip() else "unknown"
        if status in _FAILED:
            raise PublishError(f"{dataset}: Kaggle could not process it (status {status}). Look at its page on Kaggle.")
        risen = not after or _version_number(kaggle, dataset) > after
        return True if status == "ready" and risen else None

    kaggle.wait(
        look,
        otherwise=lambda: (
            f"{dataset}: not ready after {kaggle.wait_seconds:.0f} s (status {status}). "
            f"It was sent; ask later with `kaggle datasets status {dataset}`."
        ),
    )


def check_not_poorer(what: str, before: Mapping[str, Any], staged: Mapping[str, Any], *, allowed: bool) -> None:
    """Refuse a version that lacks files of the one it replaces, unless that is meant.

    A wheel of another version stands for the older one, if it serves the same of `IMAGE_PYTHONS`.

    Raises:
        PublishError: Files would be lost.
    """
    lost = [name for name in before if not _is_kept(name, staged)]
    if lost and not allowed:
        raise PublishError(
            f"{what}: the new version would lack {len(lost)} of {len(before)} files ({_some(lost)}). "
            "Nothing was sent. Stage them too, or say --fewer-files if that is meant."
        )


def _is_kept(name: str, staged: Iterable[str]) -> bool:
    if not name.endswith(".whl"):
        return name in staged
    wheels = [one for one in staged if one.endswith(".whl") and project_of(one) == project_of(name)]
    served = [python for python in IMAGE_PYTHONS if runs_on(name, python)]
    return bool(wheels) and all(any(runs_on(one, python) for one in wheels) for python in served)


def check_arrived(what: str, staged: Mapping[str, int], arrived: Mapping[str, int]) -> None:
    """Compare names and sizes of what was staged with what Kaggle lists.

    Raises:
        PublishError: Something is missing, surplus or of another size.
    """
    missing = [name for name in staged if name not in arrived]
    surplus = [name for name in arrived if name not in staged]
    changed = [name for name in staged if name in arrived and arrived[name] != staged[name]]
    for kind, names in (("missing", missing), ("of another size", changed), ("not staged", surplus)):
        if names:
            raise PublishError(
                f"{what}: arrived with {len(arrived)} files, staged were {len(staged)}; {len(names)} {kind} "
                f"({_some(names)}). Send it again before anyone uses it."
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
