"""Join face datasets of several sources into one with a row per image, for training.

Clips become single images, so that stills and frames of videos can be drawn side by side. The joined folder links to
the crops of the others; nothing is copied.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfutils.errors import DatasetError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.tables import FRAME_COLUMNS, MANIFEST_COLUMNS, SKIPPED_COLUMNS, manifest_row
from dfutils.files import write_csv
from dfutils.records import ClipRow, SplitName


@dataclass(frozen=True, slots=True)
class Part:
    """Rows chosen from one face dataset.

    Attributes:
        faces: Folder of the face dataset.
        split_of: Returns the split of a clip, or None to leave it out.
        dataset_of: Returns the data set of a clip in the joined manifest, within which REAL and FAKE are paired.
    """

    faces: Path
    split_of: Callable[[ClipRow], SplitName | None]
    dataset_of: Callable[[ClipRow], str] = lambda row: row.dataset


def join_faces(out: Path, parts: Sequence[Part]) -> dict[str, SplitName]:
    """Write a joined face dataset of main tracks, and return the split of each of its videos.

    Raises:
        DatasetError: The parts differ in crop size or margin.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copy(parts[0].faces / "extraction.json", out)
    rows: list[dict[str, Any]] = []
    frames: list[dict[str, Any]] = []
    splits: dict[str, SplitName] = {}
    cut: set[tuple[int, float]] = set()
    for number, part in enumerate(parts):
        dataset = read_face_dataset(part.faces)
        cut.add((dataset.settings.size, dataset.settings.margin))
        (out / f"part{number}").symlink_to(part.faces.resolve())
        for row in dataset.rows:
            split = part.split_of(row) if row.track == 0 else None
            if split is None:
                continue
            for frame in dataset.frame_rows_of[row.clip_id]:
                single = dataclasses.replace(
                    row,
                    clip_id=f"part{number}-{row.clip_id}-{frame['index']}",
                    video=f"part{number}/{row.video}/{frame['index']}",
                    dataset=part.dataset_of(row),
                    split=split,
                    frames=1,
                )
                file = f"part{number}/{frame['file']}"
                rows.append(manifest_row(single))
                frames.append({**frame, "clip_id": single.clip_id, "index": 0, "file": file})
                splits[single.video] = split
    if len(cut) > 1:
        raise DatasetError(
            f"{out}: its parts differ in size and margin ({sorted(cut)}). Extract them with the same settings."
        )
    write_csv(out / "frames.csv", FRAME_COLUMNS, frames)
    write_csv(out / "skipped.csv", SKIPPED_COLUMNS, [])
    write_csv(out / "manifest.csv", MANIFEST_COLUMNS, rows)
    return splits
