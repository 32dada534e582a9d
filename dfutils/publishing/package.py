"""The package for notebooks without the internet: its wheel, the wheels that Kaggle's image lacks, weight files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError, WeightsError
from dfutils.publishing.credentials import without_credentials
from dfutils.publishing.layout import lay_out
from dfutils.publishing.rules import DATASET_FILE, check_dataset
from dfutils.publishing.wheels import IMAGE_PYTHONS, check_wheels, project_of
from dfutils.weights import WEIGHT_FILES, find_weights

LACKING = ("av>=14",)
"""What the package needs and Kaggle's image has not."""
IMAGE_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

PROBE = "setuptools"
"""A package that every index has, and that the build needs."""

_SOURCES = ("dfutils", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True, slots=True)
class StagedPackage:
    """What lies ready.

    Attributes:
        folder: Holds the wheels, the weight files and ``dataset-metadata.json``.
        metadata: The content of ``dataset-metadata.json``.
        notes: What is in it, and what is not.
    """

    folder: Path
    metadata: dict[str, Any]
    notes: list[str]


def stage_package(
    source: Path, staging: Path, *, metadata: dict[str, Any], wheels: bool = False, offline: bool = True
) -> StagedPackage:
    """Build or take the package's wheel, and lay it out with what else an offline notebook needs.

    Args:
        source: The project's folder, or a wheel that is built already.
        staging: Folder to write.
        metadata: The content of ``dataset-metadata.json``.
        wheels: Whether to download the wheels that Kaggle's image lacks, for each of `IMAGE_PYTHONS`.
        offline: Whether weight files are only looked for on this machine.

    Raises:
        PublishError: The wheel cannot be built, a download failed, one of `IMAGE_PYTHONS` has no wheel, or the metadata
            breaks one of Kaggle's rules.
    """
    check_dataset(metadata)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wheel = source if source.suffix == ".whl" and source.is_file() else build_wheel(source, folder)
        others = download_wheels(folder / "lacking", constraints=source / "constraints.txt") if wheels else []
        weights, missing = found_weights(offline=offline)
        files = {path.name: path for path in (wheel, *others, *weights)}
        check_wheels(files, ("dfutils", *map(project_of, LACKING if wheels else ())))
        # Named here, a file that is deleted before it is sent is missed by `push_dataset` and by Kaggle's client.
        metadata = {**metadata, "resources": [{"path": name} for name in files]}
        inside = source / "dfutils" if source.is_dir() else source
        lay_out(staging, files, {DATASET_FILE: metadata}, source=inside, what="package")
    check_dataset(metadata, staging)
    notes = [f"in it, for Python {' and '.join(IMAGE_PYTHONS)}: {', '.join(files)}"]
    if not wheels:
        notes.append(f"not in it: {', '.join(LACKING)}, which Kaggle's image lacks (--with-wheels downloads them)")
    notes += [f"not in it: {name} (not found on this machine)" for name in missing]
    return StagedPackage(staging, metadata, notes)


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel from a copy of the sources, so that nothing left over from earlier builds gets into it.

    Raises:
        PublishError: There is no project, or the build failed.
    """
    if not (project / "pyproject.toml").is_file():
        raise PublishError(f"{project}: holds no pyproject.toml. Name the project's folder, or a wheel.")
    copy = folder / "sources"
    copy.mkdir()
    for name in _SOURCES:
        place = project / name
        if place.is_dir():
            shutil.copytree(place, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif place.is_file():
            shutil.copy2(place, copy / name)
    run_pip("wheel", "--no-deps", "--wheel-dir", str(folder / "built"), str(copy))
    return _wheels(folder / "built")[0]


def download_wheels(
    folder: Path, requirements: Sequence[str] = LACKING, *, constraints: Path | None = None
) -> list[Path]:
    """Download wheels for each of `IMAGE_PYTHONS`, whatever runs here; one that serves both is downloaded once.

    Args:
        folder: Where to put them.
        requirements: As pip takes them.
        constraints: The versions that the project is tested with, if there is such a file.

    Raises:
        PublishError: One of them has no such wheel; with the Python it was for.
    """
    platforms = [word for platform in IMAGE_PLATFORMS for word in ("--platform", platform)]
    pinned = ["--constraint", str(constraints)] if constraints and constraints.is_file() else []
    for python in IMAGE_PYTHONS:
        abi = f"cp{python.replace('.', '')}"
        target = ["--python-version", python, "--implementation", "cp", "--abi", abi, "--abi", "abi3", *platforms]
        into = ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        try:
            run_pip("download", *into, *pinned, *target, *requirements)
        except PublishError as error:
            raise PublishError(f"wheels for Python {python}: {error}") from error
    return _wheels(folder)


def found_weights(*, offline: bool = True) -> tuple[list[Path], list[str]]:
    """Paths of the weight files that can be found, and the names of those that cannot."""
    found, missing = [], []
    with _network(offline=offline):
        for name, known in WEIGHT_FILES.items():
            try:
                found.append(find_weights(name))
            except WeightsError:
                missing.append(known.filename)
    return found, missing


@contextmanager
def _network(*, offline: bool) -> Iterator[None]:
    before = os.environ.get("DFUTILS_OFFLINE")
    if offline:
        os.environ["DFUTILS_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("DFUTILS_OFFLINE", None)
        else:
            os.environ["DFUTILS_OFFLINE"] = before


def index_is_reachable() -> bool:
    """Whether pip gets a package that is surely there: tells a fault of ours from one of the network."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            run_pip("download", "--no-deps", "--retries", "1", "--dest", scratch, PROBE)
        except PublishError:
            return False
    return True


def run_pip(*arguments: str, python: Path | None = None) -> None:
    """Run this Python's pip, quietly.

    Args:
        arguments: The sub-command first.
        python: Interpreter of another environment, which it is to work on and which needs no pip.

    Raises:
        PublishError: It failed; with its reason.
    """
    elsewhere = ["--python", str(python)] if python else []
    quiet = ["--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *elsewhere, arguments[0], *quiet, *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in without_credentials(done.stderr).splitlines() if line.strip()]
        reason = next((line for line in said if re.match("error", line, re.IGNORECASE)), said[-1] if said else "")
        raise PublishError(
            f"pip {arguments[0]}: failed ({reason}). pip needs its index for this; or name a wheel that is built."
        )


def _wheels(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise PublishError(f"{folder.name}: pip made no wheel. Give the same command again with --verbose.")
    return found
