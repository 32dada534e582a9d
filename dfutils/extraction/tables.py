"""The tables of a face dataset, and the journal that they are made from.

``manifest.csv``, ``frames.csv`` and ``skipped.csv`` are made from ``.journal.jsonl``, which has one line per finished
video, so that an extraction can be interrupted at any moment and continued.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeAlias

from dfutils.errors import DatasetError
from dfutils.files import write_csv, writing_error
from dfutils.records import SPLIT_NAMES, ClipRow, SplitName

Row: TypeAlias = dict[str, object]
SIDES = ("left", "top", "right", "bottom")
POINTS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
MANIFEST_COLUMNS = tuple(field.name for field in fields(ClipRow))
REQUIRED_COLUMNS = tuple(field.name for field in fields(ClipRow) if field.default is MISSING)
"""Columns of every manifest; face datasets of earlier versions lack the others."""
FRAME_COLUMNS = (
    "clip_id",
    "index",
    "file",
    "frame_index",
    "time_seconds",
    "motion",
    *(f"box_{side}" for side in SIDES),
    *(f"crop_{side}" for side in SIDES),
    *(f"landmark_{point}_{axis}" for point in POINTS for axis in "xy"),
    "detection_score",
)
SKIPPED_COLUMNS = ("video", "reason", "detail", "is_fake", "dataset", "group", "split")


def append_journal(folder: Path, entry: Mapping[str, Any]) -> None:
    """Append one finished video; the entry is on the disk before the call returns."""
    path = folder / ".journal.jsonl"
    try:
        with path.open("ab+") as file:
            line = f"{json.dumps(entry, allow_nan=True)}\n".encode()
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                if file.read(1) != b"\n":  # a line that was cut off must not take this one with it
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise writing_error(path, error) from error


def read_journal(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the videos finished so far, except for a last line that was cut off when the process was killed."""
    path = folder / ".journal.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def write_tables(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write ``frames.csv``, ``skipped.csv`` and, last, ``manifest.csv``, whose presence marks a complete dataset."""
    clips = [row for entry in entries for row in entry["clips"]]
    frame_rows = [row for entry in entries for row in entry["frames"]]
    write_csv(folder / "frames.csv", FRAME_COLUMNS, frame_rows)
    write_csv(folder / "skipped.csv", SKIPPED_COLUMNS, [entry["skipped"] for entry in entries if entry["skipped"]])
    write_manifest(folder, clips)


def write_manifest(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``manifest.csv``; rows from earlier versions get empty cells for the columns that are newer."""
    newer = dict.fromkeys(set(MANIFEST_COLUMNS) - set(REQUIRED_COLUMNS), "")
    write_csv(folder / "manifest.csv", MANIFEST_COLUMNS, ({**newer, **row} for row in rows))


def manifest_row(row: ClipRow) -> Row:
    """Return a clip's row of the manifest, with booleans as ``true``/``false``."""
    return {**asdict(row), "is_fake": str(row.is_fake).lower(), "split": row.split or ""}


_SPLITS: dict[str, SplitName | None] = {"": None, **{name: name for name in SPLIT_NAMES}}
_CELL_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": lambda cell: {"true": True, "false": False}[cell.lower()],
    "SplitName | None": _SPLITS.__getitem__,
}


def parse_clip_row(text: Mapping[str, str]) -> ClipRow:
    """Reverse `manifest_row`.

    Raises:
        DatasetError: The row is damaged.
    """
    try:
        cells = [field for field in fields(ClipRow) if field.name in text or field.default is MISSING]
        return ClipRow(**{field.name: _CELL_PARSERS[str(field.type)](text[field.name]) for field in cells})
    except (KeyError, ValueError) as error:
        raise DatasetError(
            f"manifest.csv: the row of {text.get('clip_id')!r} is damaged ({error}). Copy or extract the dataset again."
        ) from error
