"""Shards of a catalogue, which are extracted in several places, and the merging of their face datasets."""

from __future__ import annotations

import hashlib
import itertools
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dfutils.errors import DatasetError, DfutilsError
from dfutils.extraction.tables import FRAME_COLUMNS, REQUIRED_COLUMNS, SKIPPED_COLUMNS, write_manifest
from dfutils.files import (
    link_or_copy,
    read_csv,
    read_json,
    refuse_other_content,
    write_csv,
    write_json,
    writing_error,
)
from dfutils.records import Video
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` of ``count``, from 1: every ``count``-th video of the sorted catalogue.

    Example:
        >>> Shard.parse("2/4")
        Shard(index=2, count=4)
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``i/n``.

        Raises:
            DfutilsError: The text is not of this form, or i is not in 1..n.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise DfutilsError(f"{text!r} is not a shard. Write i/n, such as 1/4, 2/4, 3/4 and 4/4.")
        return cls(int(index), int(count))

    def part(self, videos: Sequence[Video]) -> Sequence[Video]:
        """Return the videos of this shard."""
        return videos[self.index - 1 :: self.count]

    def fingerprint(self, videos: Sequence[Video]) -> str | None:
        """Return a checksum of all names, which tells shards of different catalogues apart; None if unsharded."""
        names = "\n".join(video.name for video in videos)
        return hashlib.sha256(names.encode()).hexdigest() if self.count > 1 else None

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard(1, 1)
TABLES = {
    "manifest.csv": REQUIRED_COLUMNS,
    "skipped.csv": SKIPPED_COLUMNS,
    "frames.csv": FRAME_COLUMNS,
}


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """Result of a merge: numbers of clips and of skipped videos, and the missing shards."""

    folder: Path
    clips: int
    skipped: int
    missing: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {"folder": str(self.folder), "clips": self.clips, "skipped": self.skipped, "missing": [*self.missing]}

    def lines(self) -> list[str]:
        """Return the lines printed without ``--json``."""
        lines = [f"{self.clips} clips; {self.skipped} videos skipped.", f"Face dataset: {self.folder}"]
        return [*lines, f"Shards not given: {', '.join(self.missing)}."] if self.missing else lines


def merge_datasets(sources: Sequence[Path], folder: Path) -> MergeSummary:
    """Merge the face datasets of several shards, or of several sources.

    Crops are hard-linked where the disk allows it, otherwise copied. The manifest is written last: an interrupted merge
    leaves no finished dataset, and repeating the call completes it.

    Raises:
        DatasetError: A dataset is not finished, the datasets were cut differently, two of them hold the same video, or
            ``folder`` already holds something.
    """
    refuse_other_content(folder, "a face dataset")
    if (folder / "manifest.csv").exists():
        raise DatasetError(f"{folder}: already holds a face dataset. Choose another --out, or delete it.")
    for source in sources:
        if not (source / "manifest.csv").is_file():
            raise DatasetError(f"{source}: is not a finished face dataset (no manifest.csv). Finish its extraction.")
    abouts = [read_json(source / "extraction.json") for source in sources]
    for source, about in zip(sources[1:], abouts[1:], strict=True):
        if difference := differences(abouts[0], about, also=("catalogue",)):
            raise DatasetError(f"{source}: was cut differently than {sources[0]} ({difference}). Extract it again.")
    manifest, skipped, frames = (
        {source: read_csv(source / name, columns) for source in sources} for name, columns in TABLES.items()
    )
    owners: dict[str, Path] = {}
    for source in sources:
        for video in {row["video"] for row in (*manifest[source], *skipped[source])}:
            if video in owners:
                raise DatasetError(f"{source}: holds {video}, and so does {owners[video]}. Give each shard once.")
            owners[video] = source
    try:
        for source, label in itertools.product(sources, ("real", "fake")):
            for clip in sorted((source / label).glob("*")):
                shutil.copytree(clip, folder / label / clip.name, copy_function=link_or_copy, dirs_exist_ok=True)
    except OSError as error:
        raise writing_error(folder, error) from error
    write_json(folder / "extraction.json", {**abouts[0], "shard": str(WHOLE), "catalogue": None})
    write_csv(folder / "frames.csv", FRAME_COLUMNS, itertools.chain(*frames.values()))
    write_csv(folder / "skipped.csv", SKIPPED_COLUMNS, itertools.chain(*skipped.values()))
    write_manifest(folder, itertools.chain(*manifest.values()))
    given = [Shard.parse(about["shard"]) for about in abouts if about.get("shard")]
    wanted = {Shard(index, shard.count) for shard in given for index in range(1, shard.count + 1)}
    missing = tuple(str(shard) for shard in sorted(wanted - set(given), key=lambda shard: (shard.count, shard.index)))
    if missing:
        logger.warning("Shards %s were not given: their videos are missing.", ", ".join(missing))
    clips, without_clip = (sum(map(len, rows.values())) for rows in (manifest, skipped))
    return MergeSummary(folder, clips, without_clip, missing)


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, also: Sequence[str] = ()) -> str:
    """Describe how two ``extraction.json`` differ in what determines the crops; empty if they do not."""
    # Older settings name the face detector, which now has an entry of its own.
    usual = ExtractionSettings().model_dump(mode="json")  # what a setting newer than the dataset was in effect
    old, new = (
        {**usual, **(about.get("settings") or {}), "limits": None, "detector": None} for about in (before, after)
    )
    changed = [f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in new if old.get(key) != new.get(key)]
    for key in ("detector", *also):
        if before.get(key, after.get(key)) != after.get(key):
            changed.append(f"{key} was {before.get(key)}, now {after.get(key)}")
    return "; ".join(changed)
