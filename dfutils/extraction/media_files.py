"""Media files of a folder: which files are videos or images, and what is said of the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from dfutils.errors import CatalogueError

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp"),
        *(".tif", ".tiff", ".jp2", ".j2k", ".heic", ".heif", ".hif", ".avif"),
    }
)
MEDIA_SUFFIXES = IMAGE_SUFFIXES | {
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".f4v", ".mj2", ".mkv", ".mk3d", ".webm", ".avi"),
    *(".divx", ".wmv", ".asf", ".flv", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".tod", ".ogv", ".ogm", ".mxf", ".dv", ".ivf", ".obu", ".nut"),
    *(".rm", ".rmvb", ".mjpeg", ".mjpg", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".y4m"),
}
"""File-name suffixes of videos and images; content decides how a file is read."""

_LABEL_SUFFIXES, CELEBDF_TEST_LIST = {".csv", ".json"}, "List_of_testing_videos.txt"
"""Files that hold labels, and are therefore no other files."""


def iter_files(folder: Path) -> Iterator[Path]:
    """Yield the files below ``folder``, sorted within each folder, except hidden ones and macOS's ``__MACOSX``.

    Symbolic links to folders are followed, but no folder is visited twice.

    Raises:
        CatalogueError: A folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise CatalogueError(
            f"{error.filename}: cannot be listed ({error.strerror}). Check its permissions."
        ) from error

    visited = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if _is_visible(name))
        yield from (Path(parent, name) for name in sorted(files) if _is_visible(name))


def is_media(path: Path) -> bool:
    """Return whether the file's suffix is that of a video or an image."""
    return path.suffix.lower() in MEDIA_SUFFIXES


def other_files(source: Path, known: Collection[Path] = ()) -> list[str]:
    """Return one warning that counts the files without a video or image suffix, or none.

    Args:
        source: The folder.
        known: Paths, as from `os.path.abspath`, that are in the catalogue under any name. Label tables are not counted.
    """
    others = [
        path
        for path in iter_files(source)
        if not is_media(path)
        and path.suffix.lower() not in _LABEL_SUFFIXES
        and path.name != CELEBDF_TEST_LIST
        and Path(os.path.abspath(path)) not in known  # noqa: PTH100 - Path.absolute keeps dots
    ]
    if not others:
        return []
    kinds = Counter(path.suffix.lower() or "without a suffix" for path in others)
    examples = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    first = min(path.relative_to(source).as_posix() for path in others)
    found = "1 other file" if len(others) == 1 else f"{len(others):,} other files"
    return [f"{found} in {source}: no video or image suffix, left out ({examples}; first: {first})"]


def left_out(files: Collection[Path], source: Path, *, why: str = "not in the labels") -> list[str]:
    """Return one warning that counts the files outside the catalogue, or none."""
    if not files:
        return []
    first = min(path.relative_to(source).as_posix() for path in files)
    verb, past = ("is", "was") if len(files) == 1 else ("are", "were")
    return [f"{count_of(files)} in {source} {verb} {why} and {past} left out (first: {first})"]


def count_of(files: Collection[object]) -> str:
    """Return ``1 file`` or ``12,345 files``."""
    return "1 file" if len(files) == 1 else f"{len(files):,} files"


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"
