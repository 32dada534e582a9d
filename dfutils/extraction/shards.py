"""One catalogue extracted in several places, and the face datasets of its shards merged to one."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dfutils.errors import DatasetError, DfutilsError
from dfutils.extraction.dataset import FRAME_COLUMNS, MANIFEST_COLUMNS, SKIPPED_COLUMNS
from dfutils.files import read_csv, read_json, write_csv, write_json, writing_error
from dfutils.records import Video

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """The part ``index`` of ``count``, counted from 1: every ``count``-th video of the sorted catalogue.

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
            DfutilsError: It is not that, or i is not in 1..n.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise DfutilsError(f"--shard: {text!r} is no shard. Write i/n, such as 1/4, 2/4, 3/4 and 4/4.")
        return cls(int(index), int(count))

    def part(self, videos: Sequence[Video]) -> Sequence[Video]:
        """The videos of this shard."""
        return videos[self.index - 1 :: self.count]

    def fingerprint(self, videos: Sequence[Video]) -> str | None:
        """A checksum of all names, for shards of different catalogues must not be merged; None for the whole."""
        names = "\n".join(video.name for video in videos)
        return hashlib.sha256(names.encode()).hexdigest() if self.count > 1 else None

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard(1, 1)


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """What a merge came to: numbers of clips, of videos without one, and shards that were not given."""

    folder: Path
    clips: int
    skipped: int
    missing: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"folder": str(self.folder), "clips": self.clips, "skipped": self.skipped, "missing": [*self.missing]}

    def lines(self) -> list[str]:
        """The same in words."""
        lines = [f"{self.clips} clips; {self.skipped} videos skipped.", f"Face dataset: {self.folder}"]
        return [*lines, f"Shards not given: {', '.join(self.missing)}."] if self.missing else lines


def merge_datasets(sources: Sequence[Path], folder: Path) -> MergeSummary:
    """Join the face datasets of several shards, or of several sources, to one.

    Crops are hard-linked where the disk allows it, else copied. The manifest is written last: a merge that was
    interrupted left no dataset, and the same command makes it.

    Raises:
        DatasetError: One of them is not finished, they were cut differently, or two hold the same video.
    """
    if (folder / "manifest.csv").exists():
        raise DatasetError(f"{folder}: holds a face dataset already. Choose another --out, or delete it.")
    abouts = [_read_about(source) for source in sources]
    for source, about in zip(sources[1:], abouts[1:], strict=True):
        if difference := differences(abouts[0], about, also=("catalogue",)):
            raise DatasetError(f"{source}: was cut in another way than {sources[0]} ({difference}). Extract it again.")
    manifest = _joined(sources, "manifest.csv", MANIFEST_COLUMNS)
    skipped = _joined(sources, "skipped.csv", SKIPPED_COLUMNS)
    frames = _joined(sources, "frames.csv", FRAME_COLUMNS)
    _refuse_doubles(sources)
    for source in sources:
        _link_crops(source, folder)
    write_json(folder / "extraction.json", {**abouts[0], "shard": str(WHOLE), "catalogue": None})
    write_csv(folder / "frames.csv", FRAME_COLUMNS, frames)
    write_csv(folder / "skipped.csv", SKIPPED_COLUMNS, skipped)
    write_csv(folder / "manifest.csv", MANIFEST_COLUMNS, manifest)
    return MergeSummary(folder, len(manifest), len(skipped), _missing(about.get("shard") for about in abouts))


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, also: Sequence[str] = ()) -> str:
    """How two ``extraction.json`` differ in what decides the crops, in words; empty where they do not."""
    # Settings written before YuNet was the only face detector name it; its entry of its own tells detectors apart.
    old, new = ({**(about.get("settings") or {}), "limits": None, "detector": None} for about in (before, after))
    changed = [f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in new if old.get(key) != new.get(key)]
    for key in ("detector", *also):
        if before.get(key, after.get(key)) != after.get(key):
            changed.append(f"{key} was {before.get(key)}, now {after.get(key)}")
    return "; ".join(changed)


def _read_about(source: Path) -> dict[str, Any]:
    if not (source / "manifest.csv").is_file():
        raise DatasetError(f"{source}: is no finished face dataset (no manifest.csv). Finish its extraction first.")
    about: dict[str, Any] = read_json(source / "extraction.json")
    return about


def _joined(sources: Sequence[Path], table: str, columns: Sequence[str]) -> list[dict[str, str]]:
    return [row for source in sources for row in read_csv(source / table, columns)]


def _refuse_doubles(sources: Sequence[Path]) -> None:
    owners: dict[str, Path] = {}
    for source in sources:
        tables = _joined([source], "manifest.csv", ("video",)), _joined([source], "skipped.csv", ("video",))
        for video in {row["video"] for table in tables for row in table}:
            if video in owners:
                raise DatasetError(f"{source}: holds {video}, and so does {owners[video]}. Give each shard once.")
            owners[video] = source


def _link_crops(source: Path, folder: Path) -> None:
    try:
        for label in ("real", "fake"):
            for clip in sorted((source / label).glob("*")):
                shutil.copytree(clip, folder / label / clip.name, copy_function=_link_or_copy, dirs_exist_ok=True)
    except OSError as error:
        raise writing_error(folder, error) from error


def _link_or_copy(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _missing(shards: Iterable[str | None]) -> tuple[str, ...]:
    """Shards of a division of which only others were given."""
    given = [Shard.parse(shard) for shard in shards if shard]
    wanted = {Shard(index, shard.count) for shard in given for index in range(1, shard.count + 1)}
    missing = tuple(str(shard) for shard in sorted(wanted - set(given), key=lambda shard: (shard.count, shard.index)))
    if missing:
        logger.warning("Shards %s were not given: their videos are missing.", ", ".join(missing))
    return missing
