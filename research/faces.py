"""From face datasets of several sources to the one that a detector is trained on: a row per image.

Clips of many frames become single images, so that stills and frames of videos can be drawn side by side. Nothing is
copied: the joined folder points at the crops of the others.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfutils.errors import DatasetError
from dfutils.extraction.dataset import FRAME_COLUMNS, MANIFEST_COLUMNS, SKIPPED_COLUMNS, manifest_row, read_face_dataset
from dfutils.files import write_csv
from dfutils.records import ClipRow, SplitName


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of one face dataset.

    Attributes:
        faces: Its folder.
        split_of: Where each clip goes; None leaves it out.
        dataset_of: The data set that the joined manifest names, within which REAL and FAKE are paired.
    """

    faces: Path
    split_of: Callable[[ClipRow], SplitName | None]
    dataset_of: Callable[[ClipRow], str] = lambda row: row.dataset


def join_faces(out: Path, parts: Sequence[Part]) -> dict[str, SplitName]:
    """Write a joined face dataset, and return the split of each of its rows by the name of its video.

    Raises:
        DatasetError: The parts were cut in different ways.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copy(parts[0].faces / "extraction.json", out)
    rows: list[dict[str, Any]] = []
    frames: list[dict[str, Any]] = []
    splits: dict[str, SplitName] = {}
    ways: set[tuple[int, float]] = set()
    for number, part in enumerate(parts):
        dataset = read_face_dataset(part.faces)
        ways.add((dataset.settings.size, dataset.settings.margin))
        (out / f"part{number}").symlink_to(part.faces.resolve())
        for row in dataset.rows:
            split = part.split_of(row) if row.track == 0 else None
            if split is None:
                continue
            for single, frame in _images(row, dataset.frame_rows_of[row.clip_id], f"part{number}"):
                rows.append(manifest_row(dataclasses.replace(single, dataset=part.dataset_of(row), split=split)))
                frames.append(frame)
                splits[single.video] = split
    if len(ways) > 1:
        raise DatasetError(f"{out}: its parts were cut in different ways (size, margin): {sorted(ways)}.")
    write_csv(out / "frames.csv", FRAME_COLUMNS, frames)
    write_csv(out / "skipped.csv", SKIPPED_COLUMNS, [])
    write_csv(out / "manifest.csv", MANIFEST_COLUMNS, rows)
    return splits


def _images(row: ClipRow, frames: Sequence[dict[str, str]], folder: str) -> Iterator[tuple[ClipRow, dict[str, Any]]]:
    for frame in frames:
        clip_id = f"{folder}-{row.clip_id}-{frame['index']}"
        single = dataclasses.replace(row, clip_id=clip_id, video=f"{folder}/{row.video}/{frame['index']}", frames=1)
        yield single, {**frame, "clip_id": clip_id, "index": 0, "file": f"{folder}/{frame['file']}"}
