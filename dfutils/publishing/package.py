"""The package for notebooks without internet: its wheel, the wheels that Kaggle's image lacks, weight files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError, WeightsError
from dfutils.publishing.credentials import without_credentials
from dfutils.publishing.staging import Staged, stage_files
from dfutils.weights import WEIGHT_FILES, find_weights

LACKING = ("av>=14.2",)
"""Requirements of the package that Kaggle's image lacks."""
IMAGE_PYTHONS = ("3.12", "3.13")
"""Kaggle's image is moving from the first to the second. Wheels for both are staged, and pip picks the right one."""
IMAGE_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

PROBE = "setuptools"
"""A package that every index has, and that the build needs."""
SOURCES = ("dfutils", "pyproject.toml", "README.md", "LICENSE")


def stage_package(
    source: Path, staging: Path, metadata: dict[str, Any], *, notes: str, with_wheels: bool = False
) -> Staged:
    """Lay out the package's wheel, built from the project's folder unless given, with what an offline notebook needs.

    With ``with_wheels`` the wheels that Kaggle's image lacks, for each of `IMAGE_PYTHONS`, and weights are downloaded.

    Raises:
        PublishError: The wheel cannot be built, a download failed, or one of `IMAGE_PYTHONS` has no wheel.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wheel = source if source.suffix == ".whl" and source.is_file() else build_wheel(source, folder)
        others = download_wheels(folder / "lacking", constraints=source / "constraints.txt") if with_wheels else []
        weights, missing = find_weight_files(offline=not with_wheels)
        files = {path.name: path for path in (wheel, *others, *weights)}
        check_wheels(files, ("dfutils", *map(project_of, LACKING if with_wheels else ())))
        # Kaggle's client refuses to send the dataset without a file that is named here.
        metadata = {**metadata, "resources": [{"path": name} for name in files]}
        inside = source / "dfutils" if source.is_dir() else source
        staged = stage_files(files, staging, metadata, source=inside, notes=notes)
    staged.remarks.append(f"in it, for Python {' and '.join(IMAGE_PYTHONS)}: {', '.join(files)}")
    if not with_wheels:
        lacking = ", ".join(LACKING)
        staged.remarks.append(f"not in it: {lacking}, which Kaggle's image lacks (--with-wheels downloads them)")
    staged.remarks.extend(f"not in it: {name} (not found on this machine)" for name in missing)
    return staged


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel from a copy of today's sources, so that it contains nothing left over from earlier builds."""
    if not (project / "pyproject.toml").is_file():
        raise PublishError(f"{project}: holds no pyproject.toml. Name the project's folder, or a wheel.")
    copy = folder / "sources"
    copy.mkdir()
    for path in (project / name for name in SOURCES):
        if path.is_dir():
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy2(path, copy / path.name)
    run_pip("wheel", "--no-deps", "--wheel-dir", str(folder / "built"), str(copy))
    return _wheels(folder / "built")[0]


def download_wheels(
    folder: Path, requirements: Sequence[str] = LACKING, *, constraints: Path | None = None
) -> list[Path]:
    """Download wheels for each of `IMAGE_PYTHONS`, whatever Python runs here; one that serves both is kept once.

    A file of ``constraints`` names the tested versions. If one has no wheel, the `PublishError` names the Python.
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


def _wheels(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise PublishError("pip made no wheel. Run `pip wheel --no-deps .` in the project's folder and name the wheel.")
    return found


def find_weight_files(*, offline: bool) -> tuple[list[Path], list[str]]:
    """Return the paths of the weight files that can be found, and the names of those that cannot."""
    found, missing = [], []
    before = os.environ.get("DFUTILS_OFFLINE", "")
    os.environ["DFUTILS_OFFLINE"] = "1" if offline else before
    try:
        for name, known in WEIGHT_FILES.items():
            try:
                found.append(find_weights(name))
            except WeightsError:
                missing.append(known.filename)
    finally:
        os.environ["DFUTILS_OFFLINE"] = before
    return found, missing


def run_pip(*arguments: str, python: Path | None = None) -> None:
    """Run this Python's pip, on the environment of another ``python`` if one is given; failure is a `PublishError`."""
    elsewhere = ["--python", str(python)] if python else []
    quiet = ["--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *elsewhere, arguments[0], *quiet, *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in without_credentials(done.stderr).splitlines() if line.strip()] or [""]
        reason = next((line for line in lines if line.lower().startswith("error")), lines[-1])
        raise PublishError(
            f"pip {arguments[0]}: failed ({reason}). pip needs its package index for this; or name a finished wheel."
        )


def index_is_reachable() -> bool:
    """Whether pip can download `PROBE`: tells a fault of ours from a network failure."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            run_pip("download", "--no-deps", "--retries", "1", "--dest", scratch, PROBE)
        except PublishError:
            return False
    return True


def project_of(text: str) -> str:
    """Return the project of a wheel's name or of a requirement.

    Example:
        >>> project_of("av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl"), project_of("av>=14")
        ('av', 'av')
    """
    return re.split(r"[-<>=~! ]", text)[0].lower()


def runs_on(wheel: str, python: str) -> bool:
    """Whether pip would install the wheel for this version of CPython on 64-bit Linux.

    Example:
        >>> runs_on("av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl", "3.13")
        True
        >>> runs_on("av-14.0.0-cp312-cp312-manylinux_2_17_x86_64.whl", "3.13")
        False
    """
    parts = wheel.removesuffix(".whl").split("-")
    if len(parts) < 5:  # name, version, Python, ABI, platform; a build number may precede the last three
        return False
    interpreters, abis, platform = parts[-3].split("."), set(parts[-2].split(".")), parts[-1]
    minor = int(python.split(".")[1])
    if platform != "any" and not ("manylinux" in platform and "x86_64" in platform):
        return False
    if not abis & {"none", "abi3", f"cp3{minor}"}:
        return False
    if f"cp3{minor}" in interpreters:
        return True
    lasting = "cp" if "abi3" in abis else "py"  # such a wheel for an older Python also serves the newer ones
    return any(re.fullmatch(rf"{lasting}3\d*", one) and int(one[3:] or 0) <= minor for one in interpreters)


def check_wheels(names: Collection[str], projects: Iterable[str]) -> None:
    """Raise `PublishError` for wheels from which one of `IMAGE_PYTHONS` could not install all of ``projects``."""
    for project in projects:
        wheels = [name for name in names if name.endswith(".whl") and project_of(name) == project]
        for python in IMAGE_PYTHONS:
            if not any(runs_on(name, python) for name in wheels):
                raise PublishError(
                    f"{project}: has no wheel for Python {python} (only {', '.join(wheels) or 'none at all'}). A "
                    "notebook on Kaggle's image with that Python could not install it. Stage it again with "
                    "--with-wheels and a version that has wheels for both."
                )
