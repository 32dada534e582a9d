"""For which Python a wheel is, by its name; and whether Kaggle's image, today's or the next, finds all it needs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from dfutils.errors import PublishError

IMAGE_PYTHONS = ("3.12", "3.13")
"""Kaggle's image moves from the first to the second. Wheels for both lie side by side, and pip picks."""


def project_of(text: str) -> str:
    """The project that a wheel's name or a requirement is about.

    Example:
        >>> project_of("av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl"), project_of("av>=14")
        ('av', 'av')
    """
    return re.split(r"[-<>=~! ]", text)[0].lower()


def runs_on(wheel: str, python: str) -> bool:
    """Whether pip takes the wheel for this version of CPython on 64-bit Linux.

    Example:
        >>> runs_on("av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl", "3.13")
        True
        >>> runs_on("av-14.0.0-cp312-cp312-manylinux_2_17_x86_64.whl", "3.13")
        False
    """
    parts = wheel.removesuffix(".whl").split("-")
    if len(parts) < 5:  # name, version, Python, ABI, platform; a build number may stand before the last three
        return False
    interpreters, abis, platform = parts[-3].split("."), set(parts[-2].split(".")), parts[-1]
    minor = int(python.split(".")[1])
    if not (platform == "any" or ("manylinux" in platform and "x86_64" in platform)):
        return False
    if not abis & {"none", "abi3", f"cp3{minor}"}:
        return False
    if f"cp3{minor}" in interpreters:
        return True
    lasting = "cp" if "abi3" in abis else "py"  # of these, wheels for an older Python serve the newer ones too
    return any(re.fullmatch(rf"{lasting}3\d*", one) and int(one[3:] or 0) <= minor for one in interpreters)


def check_wheels(names: Collection[str], projects: Iterable[str]) -> None:
    """Refuse wheels from which one of `IMAGE_PYTHONS` could not install all of ``projects``.

    Raises:
        PublishError: A project has no wheel for one of them.
    """
    for project in projects:
        wheels = [name for name in names if name.endswith(".whl") and project_of(name) == project]
        for python in IMAGE_PYTHONS:
            if not any(runs_on(name, python) for name in wheels):
                raise PublishError(
                    f"{project}: has no wheel for Python {python} (only {', '.join(wheels) or 'none at all'}). A "
                    "notebook on Kaggle's image of that Python could not install it. Stage it again --with-wheels, "
                    "with a version that has wheels for both."
                )
