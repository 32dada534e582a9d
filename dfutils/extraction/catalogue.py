"""The catalogue: every video with its label and the group of videos that share its source."""

from __future__ import annotations

import codecs
import csv
import io
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from dfutils.errors import CatalogueError
from dfutils.extraction.deepfakebench import read_deepfakebench
from dfutils.extraction.layouts import (
    LABELS,
    SPLITS,
    Reading,
    read_celebdf,
    read_dfdc,
    read_faceforensics,
    read_folders,
    without_original,
)
from dfutils.extraction.media_files import count_of, is_media, iter_files, left_out, other_files
from dfutils.extraction.remote import is_url
from dfutils.records import SplitName, Video

LAYOUTS: Mapping[str, Callable[[Path], Reading]] = {
    "folders": read_folders,
    "dfdc": read_dfdc,
    "faceforensics": read_faceforensics,
    "celebdf": read_celebdf,
}
"""Layout readers, by the value of ``--labels`` when that is not a CSV."""

DEEPFAKEBENCH_SPLITS: Mapping[str, SplitName | None] = {"deepfakebench": None, "deepfakebench-test": "test"}
"""The split that is read from a list of DeepfakeBench, None for all, by what stands before its name in ``--labels``."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The videos to extract.

    Attributes:
        videos: Sorted by name; names are unique.
        warnings: One line, with a count, for each kind of omission or oddity.
    """

    videos: tuple[Video, ...]
    warnings: tuple[str, ...]


def read_catalogue(source: Path, labels: str | Path = "folders") -> Catalogue:
    """Find the videos of ``source``, their labels and groups.

    Args:
        source: Folder with the videos.
        labels: ``folders``, ``dfdc``, ``faceforensics`` or ``celebdf`` (see the readers in
            `dfutils.extraction.layouts`), ``deepfakebench:FILE.json`` or ``deepfakebench-test:FILE.json`` (see
            `dfutils.extraction.deepfakebench`), or a CSV with the columns ``file,label`` and optionally
            ``group,dataset,split``, separated by commas, semicolons or tabs. Its paths are relative to the CSV. Names
            are relative to ``source`` for files below it, otherwise to the CSV. A file without a group gets a group of
            its own.

    Raises:
        CatalogueError: Labels and files disagree, or there are no videos.
    """
    if not source.is_dir():
        raise CatalogueError(f"{source}: is not a folder. Give the folder that holds the videos.")
    layout, _, listing = str(labels).partition(":")
    if isinstance(labels, str) and labels in LAYOUTS:
        videos, warnings = LAYOUTS[labels](source)
    elif layout in DEEPFAKEBENCH_SPLITS and listing:
        videos, warnings = read_deepfakebench(source, Path(listing), only=DEEPFAKEBENCH_SPLITS[layout])
    elif (table := Path(labels)).is_file():
        videos, warnings = read_table(source, table)
    else:
        raise CatalogueError(
            f"{table}: is neither an existing CSV nor one of {', '.join(LAYOUTS)} or deepfakebench:FILE.json. "
            "Check labels."
        )
    warnings += other_files(source, {_absolute(file) for video in videos for file in video.files})
    if odd := [video for video in videos if not _is_unicode(video.name)]:
        videos = [video for video in videos if _is_unicode(video.name)]
        warnings.append(f"left out {count_of(odd)} with a name that is not valid Unicode (first: {odd[0].name!r})")
    if not videos:
        seen = f" ({warnings[-1]})" if warnings else ""
        raise CatalogueError(
            f"{source}: no videos in the layout {str(labels)!r}{seen}. "
            f"Give the folder that holds them, and a CSV or one of {', '.join(LAYOUTS)} as labels."
        )
    paths: dict[str, Path] = {}
    for video in videos:
        if video.name in paths:
            raise CatalogueError(
                f"{video.path}: would have the same name as {paths[video.name]} ({video.name}). "
                "Give a folder that holds both as the source."
            )
        paths[video.name] = video.path
    if len({video.is_fake for video in videos}) == 1:
        here, missing = ("FAKE", "REAL") if videos[0].is_fake else ("REAL", "FAKE")
        warnings.append(
            f"no file is {missing} ({count_of(videos)}, all {here}): training and evaluation need both labels"
        )
    return Catalogue(tuple(sorted(videos, key=lambda video: video.name)), tuple(warnings))


def read_table(source: Path, table: Path) -> Reading:
    """Read a CSV as `read_catalogue` describes it."""
    roots = (_absolute(source), _absolute(table.parent))
    videos: dict[Path, Video] = {}
    lines: dict[Path, int] = {}
    for number, row in _iter_rows(table):
        where = f"{table}, line {number}"
        path, name = _locate(row["file"], roots, where)
        if path in videos:
            raise CatalogueError(f"{where}: {row['file']} is already on line {lines[path]}. Remove one of the two.")
        is_fake, split = LABELS.get(row["label"].upper()), row["split"]
        if is_fake is None:
            raise CatalogueError(f"{where}: label {row['label']!r} is unknown. Write REAL or FAKE.")
        if split and split.lower() not in SPLITS:
            raise CatalogueError(
                f"{where}: split {row['split']!r} is unknown. Write train, validation or test, or leave it empty."
            )
        videos[path] = Video(
            path=path,
            name=name,
            is_fake=is_fake,
            group=row["group"] or name,
            dataset=row["dataset"] or "videos",
            split=SPLITS.get(split.lower()),
        )
        lines[path] = number
    if not videos:
        raise CatalogueError(f"{table}: contains only a header. Write one line for each file.")
    if absent := [path for path in lines if not path.is_file()]:
        raise CatalogueError(
            f"{table}: missing {count_of(absent)} of the {len(lines):,} listed "
            f"(first: {absent[0]}, line {lines[absent[0]]}). Paths are relative to the CSV; correct or remove the rows."
        )
    media = [path for path in iter_files(roots[0]) if is_media(path)]
    unlisted = [source / path.relative_to(roots[0]) for path in media if path not in videos]
    warnings = without_original([one for one in videos.values() if one.group == one.name], videos.values())
    return list(videos.values()), warnings + left_out(unlisted, source)


def read_columns(table: Path, columns: Sequence[str], *, ids: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """Read further columns of a label file, such as an age or a camera.

    Args:
        table: The label file.
        columns: Their names.
        ids: Names that are no paths, even if they look like one, such as those of the files of an archive.

    Returns:
        The values of ``columns`` for each file, by its id as it is written, or else by its path relative to the CSV.

    Raises:
        CatalogueError: The file cannot be read, or lacks a column.
    """
    found: dict[str, dict[str, str]] = {}
    for _, row in _iter_rows(table):
        if missing := [name for name in columns if name.lower() not in row]:
            _, there = _delimiter_and_columns(_text_of(table))
            known = ", ".join(name for name in there if name not in ("file", "label")) or "none"
            raise CatalogueError(
                f"{table}: column {missing[0]!r} is missing; besides file and label it has: {known}. "
                "Name one of these, or add the column."
            )
        is_path = row["file"] not in ids and not is_url(row["file"])
        name = posixpath.normpath(row["file"].replace("\\", "/")) if is_path else row["file"]
        found[name] = {column: row[column.lower()] for column in columns}
    return found


def _iter_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with its line number; cells are stripped, and empty if a column is missing."""
    text = _text_of(table)
    delimiter, columns = _delimiter_and_columns(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        next(reader, None)
        if missing := [name for name in ("file", "label") if name not in columns]:
            found = ", ".join(columns) or "nothing"
            raise CatalogueError(
                f"{table}: column {missing[0]!r} is missing in its first line, which has: {found}. "
                "Name the columns file and label there, and perhaps group, dataset and split."
            )
        if twice := [name for name, count in Counter(columns).items() if name and count > 1]:
            raise CatalogueError(f"{table}: column {twice[0]!r} appears twice. Remove or rename one of the two.")
        for line in reader:
            cells = [cell.strip() for cell in line]
            if any(cells[len(columns) :]):
                raise CatalogueError(
                    f"{table}, line {reader.line_num}: more cells than columns. Quote names that hold a {delimiter!r}."
                )
            if any(cells):
                empty = dict.fromkeys(("file", "label", "group", "dataset", "split"), "")
                yield reader.line_num, empty | dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise CatalogueError(
            f"{table}, line {reader.line_num}: cannot be read ({error}). Close its quotes, or save it as CSV again."
        ) from error


def _delimiter_and_columns(text: str) -> tuple[str, list[str]]:
    delimiter = next((one for one in ",;\t" if {"file", "label"} <= set(_columns(text, one))), ",")
    return delimiter, _columns(text, delimiter)


def _columns(text: str, delimiter: str) -> list[str]:
    """Return the names in the first line, in lower case."""
    try:
        return [
            name.strip().lower() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        ]
    except csv.Error:
        return []


def _text_of(table: Path) -> str:
    try:
        content = table.read_bytes()
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise CatalogueError(f"{table}: is encoded in UTF-16. Save it as CSV in UTF-8.")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise CatalogueError(f"{table}: cannot be read ({error.strerror}). Check its permissions.") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CatalogueError(
            f"{table}, line {line}: is not in UTF-8, but probably in Latin-1 or Windows-1252. Save it as CSV in UTF-8."
        ) from error
    if not text.strip():
        raise CatalogueError(f"{table}: is empty. Write a first line `file,label`, and one line for each file.")
    return text


def _locate(file: str, roots: tuple[Path, Path], where: str) -> tuple[Path, str]:
    """Return the absolute path and the name of a listed file; the roots are the source and the folder of the CSV."""
    # As written, with the separators of Windows, and in either Unicode form: macOS decomposes accented letters.
    names = dict.fromkeys(
        form
        for name in (file, file.replace("\\", "/"))
        for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    )
    paths = (_absolute(roots[1] / name) for name in names)
    path = next((path for path in paths if path.is_file()), _absolute(roots[1] / file))
    if PureWindowsPath(file).drive and not path.is_file():
        raise CatalogueError(
            f"{where}: file {file!r} is a Windows path that does not exist here. Write paths relative to the CSV."
        )
    for root in roots:
        if file and path != root and path.is_relative_to(root):
            return path, path.relative_to(root).as_posix()
    raise CatalogueError(
        f"{where}: file {file!r} is neither below {roots[0]} nor beside the CSV. "
        "Write paths relative to the CSV, and move the file or give its folder as source."
    )


def _is_unicode(name: str) -> bool:
    return name.encode(errors="replace").decode() == name


def _absolute(path: Path) -> Path:
    """Remove ``..`` without following symbolic links: data folders often consist of them."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps the dots
