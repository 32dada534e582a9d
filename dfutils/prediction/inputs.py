"""What a user names on the command line, as a list of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dfutils.errors import CatalogueError
from dfutils.extraction.layouts import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def expand_inputs(inputs: Iterable[str]) -> list[str]:
    """Replace folders by the videos and images below them; files stay as they are, even missing ones.

    A missing file is not an error here: its verdict says so, and the others are not lost.

    Raises:
        CatalogueError: A folder holds no video and no image.
    """
    files: list[str] = []
    for name in inputs:
        path = Path(name)
        if not path.is_dir():
            files.append(name)
            continue
        found = sorted(one for one in path.rglob("*") if one.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES)
        if not found:
            raise CatalogueError(f"{path}: no video and no image is in this folder. Name another, or a file.")
        files += [str(one) for one in found]
    return files
