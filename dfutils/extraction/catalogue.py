"""The catalogue: every video with its label, and the group of videos that share its source."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfutils.errors import CatalogueError
from dfutils.extraction.layouts import (
    LABELS,
    Reading,
    count_of,
    is_media,
    iter_files,
    left_out,
    read_celebdf,
    read_dfdc,
    read_faceforensics,
    read_folders,
)
from dfutils.records import SPLIT_NAMES, SplitName, Video

LAYOUTS: Mapping[str, Callable[[Path], Reading]] = {
    "folders": read_folders,
    "dfdc": read_dfdc,
    "faceforensics": read_faceforensics,
    "celebdf": read_celebdf,
}
"""Values of ``--labels`` other than a CSV, and their readers."""

_SPLITS: Mapping[str, SplitName | None] = {"": None, "val": "validation", **{name: name for name in SPLIT_NAMES}}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What there is to extract.

    Attributes:
        videos: Sorted by name; names are unique.
        warnings: One counted line for each kind of thing that was left out or looks odd.
    """

    videos: tuple[Video, ...]
    warnings: tuple[str, ...]


def read_catalogue(source: Path, labels: str | Path = "folders") -> Catalogue:
    """Find the videos of ``source``, their labels and groups.

    Args:
        source: Folder with the videos.
        labels: ``folders``, ``dfdc``, ``faceforensics`` or ``celebdf`` (see the readers in
            `dfutils.extraction.layouts`), or a CSV with the columns ``file,label`` and optionally
            ``group,dataset,split``. Its paths are relative to the CSV; names are relative to ``source`` for files below
            it, else to the CSV. A file without a group is its own group.

    Raises:
        CatalogueError: Labels and files do not agree, or there is nothing to catalogue.
    """
    if not source.is_dir():
        raise CatalogueError(f"{source}: is not a folder. Give the folder that holds the videos.")
    videos, warnings = _read(source, labels)
    if not videos:
        seen = f" ({warnings[-1]})" if warnings else ""
        raise CatalogueError(
            f"{source}: no videos in the layout {str(labels)!r}{seen}. "
            f"Give the folder that holds them, and as labels one of {', '.join(LAYOUTS)} or a CSV."
        )
    _check_names(videos)
    return Catalogue(tuple(sorted(videos, key=lambda video: video.name)), (*warnings, *_one_label_only(videos)))


def _read(source: Path, labels: str | Path) -> Reading:
    if isinstance(labels, str) and labels in LAYOUTS:
        return LAYOUTS[labels](source)
    table = Path(labels)
    if not table.is_file():
        raise CatalogueError(f"{table}: is neither a CSV that is there nor one of {', '.join(LAYOUTS)}. Check labels.")
    return _read_table(source, table)


def _check_names(videos: Sequence[Video]) -> None:
    paths: dict[str, Path] = {}
    for video in videos:
        if video.name.encode(errors="replace").decode() != video.name:
            raise CatalogueError(f"{video.name!r}: the file name is not valid Unicode. Rename the file.")
        if video.name in paths:
            raise CatalogueError(
                f"{video.path}: would have the same name as {paths[video.name]} ({video.name}). "
                "Give as source a folder that holds both."
            )
        paths[video.name] = video.path


def _one_label_only(videos: Sequence[Video]) -> list[str]:
    labels = {video.is_fake for video in videos}
    if len(labels) > 1:
        return []
    here, missing = ("FAKE", "REAL") if labels == {True} else ("REAL", "FAKE")
    return [f"no file is {missing} ({count_of(videos)}, all {here}): nothing can be trained or measured on one label"]


def _read_table(source: Path, table: Path) -> Reading:
    roots = (_absolute(source), _absolute(table.parent))
    videos: dict[Path, Video] = {}
    lines: dict[Path, int] = {}
    for number, row in _iter_rows(table):
        where = f"{table}, line {number}"
        path, name = _locate(row["file"], roots, where)
        if path in videos:
            raise CatalogueError(f"{where}: {row['file']} is on line {lines[path]} already. Remove one of the two.")
        videos[path] = _parse_row(row, path, name, where)
        lines[path] = number
    _require_files(lines, table)
    media = [path for path in iter_files(roots[0]) if is_media(path)]
    unlisted = [source / path.relative_to(roots[0]) for path in media if path not in videos]
    return list(videos.values()), left_out(unlisted, source)


def _iter_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with their line in the file; cells are stripped, and empty where a column is missing."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = reader.fieldnames or []
            if missing := [name for name in ("file", "label") if name not in columns]:
                raise CatalogueError(f"{table}: column {missing[0]!r} is missing. It has: {', '.join(columns)}.")
            for row in reader:
                if None in row:
                    raise CatalogueError(
                        f"{table}, line {reader.line_num}: more cells than columns. Quote names that hold a comma."
                    )
                yield reader.line_num, {"group": "", "dataset": "", "split": "", **_strip(row)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(f"{table}: cannot be read ({error}). Save it as CSV in UTF-8.") from error


def _strip(row: Mapping[str, str]) -> dict[str, str]:
    return {column: cell.strip() for column, cell in row.items()}


def _locate(file: str, roots: tuple[Path, Path], where: str) -> tuple[Path, str]:
    """Absolute path and name of a listed file; the two roots are the source and the folder of the CSV."""
    path = _absolute(roots[1] / file)
    for root in roots:
        if file and path != root and path.is_relative_to(root):
            return path, path.relative_to(root).as_posix()
    raise CatalogueError(
        f"{where}: file {file!r} is neither below {roots[0]} nor beside the CSV. "
        "Write paths relative to the CSV, and move the file or give its folder as source."
    )


def _parse_row(row: Mapping[str, str], path: Path, name: str, where: str) -> Video:
    is_fake = LABELS.get(row["label"].upper())
    if is_fake is None:
        raise CatalogueError(f"{where}: label {row['label']!r} is unknown. Write REAL or FAKE.")
    split = row["split"].lower()
    if split not in _SPLITS:
        raise CatalogueError(f"{where}: split {row['split']!r} is unknown. Write train, validation, test or nothing.")
    return Video(
        path=path,
        name=name,
        is_fake=is_fake,
        group=row["group"] or name,
        dataset=row["dataset"] or "videos",
        split=_SPLITS[split],
    )


def _require_files(lines: Mapping[Path, int], table: Path) -> None:
    absent = [path for path in lines if not path.is_file()]
    if absent:
        raise CatalogueError(
            f"{table}: {count_of(absent)} of the {len(lines):,} listed not there "
            f"(first: {absent[0]}, line {lines[absent[0]]}). Paths are relative to the CSV; correct or remove the rows."
        )


def _absolute(path: Path) -> Path:
    """Without ``..``, and without following links: a data folder may well be made of links."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps the dots
