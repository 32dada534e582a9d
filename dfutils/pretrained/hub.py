"""Detectors on the Hugging Face Hub, named ``hf://OWNER/NAME`` or ``hf://OWNER/NAME@REVISION``.

Only the files of `dfutils.runs.folder` that prediction reads are downloaded, whatever else a repository holds: weights,
JSON, an OpenVINO graph and texts, none of which can hold code. They lie in huggingface_hub's own cache.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dfutils.errors import RunError, how_to_install
from dfutils.files import sha256_of
from dfutils.runs.folder import DETECTOR_EXTRAS, DETECTOR_NEEDS, RunFolder

logger = logging.getLogger(__name__)

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[^@\s]+))?")


class HubAddress(NamedTuple):
    """A detector on the Hub.

    Attributes:
        name: ``OWNER/NAME``.
        revision: A branch, tag or commit; None for the default branch.
    """

    name: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """Read an address that begins with `SCHEME`.

        Raises:
            RunError: It has another form.

        Example:
            >>> HubAddress.parse("hf://some-one/detector@v1")
            HubAddress(name='some-one/detector', revision='v1')
        """
        if not (found := _ADDRESS.fullmatch(text)):
            raise RunError(f"{text}: is not of the form hf://OWNER/NAME or hf://OWNER/NAME@REVISION. Correct it.")
        return cls(found["name"], found["revision"])

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + (f"@{self.revision}" if self.revision else "")


def fetch_detector(address: HubAddress) -> Path:
    """Return the folder of a detector in huggingface_hub's cache, after downloading what is not there yet.

    With ``HF_HUB_OFFLINE`` or ``DFUTILS_OFFLINE`` set, or without a network, what was downloaded before is used.

    Raises:
        RunError: huggingface_hub is not installed; there is no such repository or revision, or it is not a detector; it
            cannot be reached and is not in the cache; or a file is damaged.
    """
    folder = _downloaded(address, address.revision, DETECTOR_NEEDS[:1])
    if not RunFolder(folder).detector_file.is_file():
        raise RunError(f"{address}: is not a detector of dfutils (no detector.json there). Check the name.")
    detector = RunFolder(folder).detector()
    if detector.members:
        raise RunError(f"{address}: is an ensemble, which cannot be loaded from the Hub. Publish one of its members.")
    # The same commit, even if a new one arrives between the two calls.
    folder = _downloaded(address, folder.name, (*DETECTOR_NEEDS, *DETECTOR_EXTRAS))
    weights = RunFolder(folder).weights_file
    if not weights.is_file() or sha256_of(weights) != detector.weights_sha256:
        raise RunError(
            f"{address}: {weights.name} is not the file that detector.json names by its checksum. The repository or "
            f"its copy is damaged: delete {folder.parents[1]} and repeat the command, or name another revision."
        )
    logger.info("%s: commit %s", address, folder.name)
    return folder


def _downloaded(address: HubAddress, revision: str | None, names: Iterable[str]) -> Path:
    """Return the folder of a snapshot with those of these files that the repository has."""
    try:
        from huggingface_hub import constants, errors, snapshot_download
        from huggingface_hub.utils import tqdm
    except ModuleNotFoundError as error:
        raise RunError(f"{address}: needs {error.name}, which is not installed. {how_to_install('hub')}.") from error

    class Bar(tqdm):
        """A progress bar that is shown on a terminal only."""

        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **{**named, "disable": named.get("disable") or None})

    try:
        folder = snapshot_download(
            address.name,
            revision=revision,
            allow_patterns=list(names),
            local_files_only=bool(os.environ.get("DFUTILS_OFFLINE")),
            library_name="dfutils",
            tqdm_class=Bar,
        )
    except errors.RevisionNotFoundError as error:
        raise RunError(
            f"{address}: has no such revision. Name a branch, tag or commit of its page, or leave @REVISION out."
        ) from error
    except errors.GatedRepoError as error:
        raise RunError(
            f"{address}: is only for people with access. Ask for it on its page, and sign in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise RunError(
            f"{address}: there is no such model on the Hub, or it is private. Check the name, or sign in with "
            "`hf auth login`."
        ) from error
    except errors.HFValidationError as error:
        raise RunError(f"{address}: is no name of a model on the Hub ({_reason(error)}). Correct it.") from error
    except errors.LocalEntryNotFoundError as error:
        raise RunError(
            f"{address}: is not complete in the cache ({constants.HF_HUB_CACHE}), and the Hub cannot be reached "
            f"({_reason(error.__cause__ or error)}). Repeat the command with a network, without HF_HUB_OFFLINE and "
            "DFUTILS_OFFLINE."
        ) from error
    except Exception as error:  # of the HTTP library, which differs between versions, or of the disk
        raise RunError(f"{address}: could not be fetched ({_reason(error)}). Repeat the command.") from error
    return Path(folder)


def _reason(error: BaseException) -> str:
    """Return the first line of an error's message, without its final stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")
