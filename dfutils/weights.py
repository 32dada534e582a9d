"""Named, checksummed weight files and the places where they are searched.

Search order: the folders in ``$DFUTILS_WEIGHTS`` (separated by ``:``, ``;`` on Windows); attached Kaggle inputs; the
user's cache; then the network, unless ``$DFUTILS_OFFLINE`` is set. Every file found is verified.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dfutils.errors import WeightsError
from dfutils.files import replacing

logger = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A weight file that the package knows by name.

    Attributes:
        filename: Published name.
        size_bytes: Exact size.
        checksum: ``sha256:…``, or ``md5:…`` if the publisher gives only that.
        origin: Its origin and licence, in one sentence.
        url: Download address, or empty.
    """

    filename: str
    size_bytes: int
    checksum: str
    origin: str
    url: str = ""


WEIGHT_FILES: dict[str, WeightFile] = {
    "imagenet": WeightFile(
        filename="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        size_bytes=87_910_968,
        checksum="md5:bcbd6486424b2319ff4ef7d526e38f63",
        origin="InceptionV3 trained on ImageNet, as published with Keras (Apache 2.0)",
        url="https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "nsfwjs": WeightFile(
        filename="inception_v3_nsfw_notop_float16.weights.h5",
        size_bytes=26_552_680,
        checksum="sha256:c15ea3aca3e8720f54599f438b0c0d898627a9e9a7f8d133f26d151cd59e0b82",
        origin="InceptionV3 of the npm package nsfwjs 4.4.0 (MIT): an ImageNet network fine-tuned for image "
        "moderation, 8-bit source; a substitute for ImageNet's weights without a network",
    ),
}


def find_weights(name: str, *, without_it: str = "") -> Path:
    """Find and verify the file called ``name``.

    Args:
        name: A key of `WEIGHT_FILES`.
        without_it: How to do without the file, as a clause; the message of an error begins its advice with it.

    Raises:
        WeightsError: The file is missing or is another one; the message says how to get it.
    """
    known = WEIGHT_FILES[name]
    folders = [Path(folder) for folder in os.environ.get("DFUTILS_WEIGHTS", "").split(os.pathsep) if folder]
    for folder in (*folders, kaggle_input_folder(), cache_folder() / "weights"):
        for depth in range(7):  # Kaggle nests owner, dataset and version
            if found := sorted(folder.glob(f"{'*/' * depth}{known.filename}")):
                return _verified(found[0], known, without_it)
    place = f"put the file into {cache_folder() / 'weights'} or a folder named in $DFUTILS_WEIGHTS"
    if kaggle_input_folder().is_dir():
        place += ", or attach a Kaggle dataset that holds it"
    if not known.url:
        raise WeightsError(f"backbone weights {known.filename}: not on this machine. {_advice(without_it, place)}")
    if os.environ.get("DFUTILS_OFFLINE"):
        raise WeightsError(
            f"backbone weights {known.filename}: not on this machine, and DFUTILS_OFFLINE is set, which prevents their "
            f"download. {_advice(without_it, 'unset DFUTILS_OFFLINE', place)}"
        )
    path = cache_folder() / "weights" / known.filename
    logger.info("Downloading %s (%.1f MB) from %s", known.filename, known.size_bytes / 1e6, known.url)
    try:
        with urllib.request.urlopen(known.url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response:
            content = response.read(known.size_bytes + 1)
    except OSError as error:
        raise WeightsError(
            f"backbone weights {known.filename}: not on this machine, and their download failed ({error}). "
            f"{_advice(without_it, f'download {known.url} and {place}')}"
        ) from error
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        _verified(temporary, known, without_it)
    return path


def cache_folder() -> Path:
    """Return the user's cache: ``$DFUTILS_CACHE``, else ``~/.cache/dfutils``.

    Containers often run as a user without a home folder, or with one that is read-only: for these, the cache is in the
    folder of temporary files.
    """
    if named := os.environ.get("DFUTILS_CACHE"):
        return Path(named)
    with suppress(RuntimeError):  # raised if there is neither $HOME nor an entry in the list of users
        folder = Path.home() / ".cache" / "dfutils"
        existing = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))  # noqa: PTH110
        if os.access(existing, os.W_OK):
            return folder
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"dfutils-{user}"


def kaggle_input_folder() -> Path:
    """Return where Kaggle mounts attached data: ``$DFUTILS_KAGGLE_INPUT``, else ``/kaggle/input``."""
    return Path(os.environ.get("DFUTILS_KAGGLE_INPUT") or "/kaggle/input")


def _verified(path: Path, known: WeightFile, without_it: str) -> Path:
    algorithm, expected = known.checksum.split(":")
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        advice = _advice(without_it, "check its permissions")
        raise WeightsError(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    if actual != expected:
        raise WeightsError(
            f"{path}: is not {known.filename} ({algorithm} {actual[:12]}…, expected {expected[:12]}…, "
            f"{path.stat().st_size} of {known.size_bytes} bytes). {_advice(without_it, 'delete or replace it')}"
        )
    logger.debug("%s: %s", known.filename, path)
    return path


def _advice(*ways: str) -> str:
    """Return a sentence that offers the ways that are not empty."""
    text = "; or ".join(way for way in ways if way)
    return f"{text[0].upper()}{text[1:]}."
