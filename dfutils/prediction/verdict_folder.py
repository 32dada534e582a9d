"""A verdict folder: the verdicts on an archive of files, in Parquet parts; reading, writing and merging it."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfutils.errors import DatasetError, how_to_install
from dfutils.extraction.shards import Shard
from dfutils.extraction.tables import read_journal
from dfutils.files import only_job, read_json, refuse_other_content, replacing, write_json

logger = logging.getLogger(__name__)

VERDICT_FIELDS = {
    "id": "string",
    "input": "string",
    "status": "string",
    "label": "string",
    "reason": "string",
    "detail": "string",
    "fake_probability": "float64",
    "is_incomplete": "bool",
    "person": "int32",
    "tracks": "string",
    "seconds": "float64",
    "attempts": "int32",
    "detector_sha256": "string",
    "package_version": "string",
}
"""Columns of the parts, with their Arrow types. ``tracks`` is JSON, as in ``predict --json``. Parts of earlier versions
lack ``is_incomplete`` and ``person``."""

MOST_ATTEMPTS = 3
"""A file that exists and failed this often is quarantined: it is not tried again."""

BROKEN = ("error", "quarantined")


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    """What a verdict folder holds.

    Attributes:
        folder: The folder.
        inputs: Number of files of the archive, or of its shard.
        labels: Number of verdicts by label.
        errors: Number of files that could not be read, by status.
        was_ended: Whether a signal ended the job before its last file.
    """

    folder: Path
    inputs: int
    labels: Mapping[str, int]
    errors: Mapping[str, int]
    was_ended: bool = False

    def document(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "folder": str(self.folder),
            "inputs": self.inputs,
            "labels": dict(self.labels),
            "errors": dict(self.errors),
        }

    def lines(self) -> list[str]:
        """Return the lines printed without ``--json``."""
        done = sum(self.labels.values())
        labels = ", ".join(f"{count} {label}" for label, count in sorted(self.labels.items())) or "none"
        lines = [f"{done} of {self.inputs} files have a verdict: {labels}."]
        if failed := self.errors.get("error", 0):
            lines.append(f"{failed} of them could not be read; --retry-errors tries them again.")
        if given_up := self.errors.get("quarantined", 0):
            lines.append(f"{given_up} of them could not be read {MOST_ATTEMPTS} times, and are not tried again.")
        return [*lines, f"Verdicts: {self.folder}"]


@dataclass(frozen=True, slots=True)
class KnownRow:
    """What a job remembers of the latest row of a file."""

    status: str
    label: str
    attempts: int


def read_job(folder: Path) -> dict[str, Any]:
    """Return ``job.json`` of a verdict folder: what changes its results, and the number of its files.

    Raises:
        DatasetError: The folder holds no verdicts.
    """
    if not (folder / "job.json").is_file():
        raise DatasetError(f"{folder}: holds no verdicts (no job.json). Make them with `dfutils predict --out`.")
    return dict(read_json(folder / "job.json"))


def read_verdicts(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a verdict folder, as `VERDICT_FIELDS`: the latest one of each file.

    Raises:
        DatasetError: It holds no verdicts, or a part is damaged.
    """
    read_job(folder)
    # The journal first: a job that is running turns it into a part, and a row in both is yielded once.
    journal = list({row["id"]: row for row in read_journal(folder)}.values())
    known = known_rows(folder)
    parts = (_read_part(part).to_pylist() for part in _parts(folder))
    for rows in itertools.chain(parts, [journal]):
        for row in rows:
            if (latest := known.get(row["id"])) is not None and row["attempts"] == latest.attempts:
                del known[row["id"]]
                yield row


def merge_verdicts(sources: Sequence[Path], folder: Path) -> ArchiveSummary:
    """Join the verdict folders of shards, part by part, so that memory does not depend on their size.

    Raises:
        DatasetError: A folder holds no verdicts, they are of other detectors, or two of them have the same file.
    """
    arrow = parquet_module()
    refuse_other_content(folder, "verdicts")
    if (folder / "job.json").exists():
        raise DatasetError(f"{folder}: already holds verdicts. Choose another --out, or delete it.")
    abouts = [read_job(source) for source in sources]
    for source, about in zip(sources, abouts, strict=True):
        done = len(known_rows(source))
        if done < about["files"] or any(True for _ in read_journal(source)):
            raise DatasetError(
                f"{source}: has verdicts on {done} of {about['files']} files. Repeat the command that started it."
            )
        if different := [
            name for name in about if name not in ("name", "shard", "files") and about[name] != abouts[0].get(name)
        ]:
            raise DatasetError(
                f"{source}: was made with another {different[0]} than {sources[0]}. Examine it again with the same."
            )
    owners: dict[bytes, int] = {}  # eight bytes of each id's checksum, so that a million ids take little memory
    labels, errors, number = Counter[str](), Counter[str](), 0
    with only_job(folder):
        for part in _parts(folder):  # left by a merge that failed
            part.unlink()
        for place, source in enumerate(sources):
            known = known_rows(source)
            for part in _parts(source):
                table = _read_part(part)
                names, attempts = table["id"].to_pylist(), table["attempts"].to_pylist()
                # Others were examined again later.
                keep = [row for row, name in enumerate(names) if attempts[row] == known[name].attempts]
                for row in keep:
                    key = hashlib.blake2b(names[row].encode(), digest_size=8).digest()
                    if owners.setdefault(key, place) != place:
                        raise DatasetError(
                            f"{source}: holds {names[row]}, and so does {sources[owners[key]]}. Give each shard once."
                        )
                if not keep:
                    continue
                table = table.take(keep)
                labels.update(table["label"].to_pylist())
                errors.update(one for one in table["status"].to_pylist() if one in BROKEN)
                with replacing(folder / f"part-{number:05d}.parquet") as temporary:
                    arrow.write_table(table, temporary)
                number += 1
        given = [Shard.parse(about["shard"]) for about in abouts]
        wanted = {Shard(index, shard.count) for shard in given for index in range(1, shard.count + 1)}
        if missing := sorted(wanted - set(given), key=lambda shard: (shard.count, shard.index)):
            logger.warning("Shards %s were not given: their files are missing.", ", ".join(map(str, missing)))
        write_json(folder / "job.json", {**abouts[0], "shard": "1/1", "files": labels.total()})
    return ArchiveSummary(folder, labels.total(), labels, errors)


def known_rows(folder: Path) -> dict[str, KnownRow]:
    """Return the latest row of each file, from the parts and the journal."""
    known: dict[str, KnownRow] = {}
    columns = ["id", "status", "label", "attempts"]
    journal = list(read_journal(folder))  # before the parts, as in `read_verdicts`
    parts = (_read_part(part, columns=columns).to_pylist() for part in _parts(folder))
    for rows in itertools.chain(parts, [journal]):
        for row in rows:
            known[row["id"]] = KnownRow(sys.intern(row["status"]), sys.intern(row["label"]), row["attempts"])
    return known


def write_part(arrow: Any, folder: Path) -> None:
    """Turn the journal into the next part, without rows that a part has: a job may be killed between the two."""
    rows = {row["id"]: row for row in read_journal(folder)}
    if not rows:
        (folder / ".journal.jsonl").unlink(missing_ok=True)  # it may hold a line that was cut off
        return
    import pyarrow as pa

    for part in _parts(folder)[-1:]:
        table = _read_part(part, columns=["id", "attempts"])
        for name, attempts in zip(table["id"].to_pylist(), table["attempts"].to_pylist(), strict=True):
            if rows.get(name, {}).get("attempts") == attempts:
                del rows[name]
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in VERDICT_FIELDS.items()])
    number = 1 + max((int(part.stem.partition("-")[2]) for part in _parts(folder)), default=-1)
    with replacing(folder / f"part-{number:05d}.parquet") as temporary:
        arrow.write_table(pa.Table.from_pylist(list(rows.values()), schema=schema), temporary)
        with temporary.open("rb") as file:  # on the disk before the journal is deleted
            os.fsync(file.fileno())
    (folder / ".journal.jsonl").unlink()


def read_table(path: Path, advice: str, *, columns: Sequence[str] | None = None) -> Any:
    """Return a Parquet file as a table.

    Raises:
        DatasetError: It is missing or damaged; the message ends with ``advice``.
    """
    try:
        return parquet_module().read_table(path, columns=columns)
    except (OSError, ValueError) as error:  # Arrow's own errors are of these kinds
        raise DatasetError(f"{path}: is missing or damaged ({error}). {advice}.") from error


def _read_part(part: Path, *, columns: Sequence[str] | None = None) -> Any:
    """Return a part as a table.

    Raises:
        DatasetError: It is damaged.
    """
    return read_table(part, "Delete it, and repeat the command: its files are examined again", columns=columns)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def parquet_module() -> Any:
    """Return ``pyarrow.parquet``.

    Raises:
        DatasetError: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise DatasetError(
            f"pyarrow: is not installed, and verdict folders need it. {how_to_install('archive')}"
        ) from None
    return pyarrow.parquet
