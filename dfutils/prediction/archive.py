"""Verdicts on an archive of files, in a folder that can be resumed, sharded and merged."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dfutils
from dfutils.errors import CatalogueError, DatasetError, ReportError, how_to_install
from dfutils.extraction.shards import Shard
from dfutils.extraction.tables import append_journal, read_journal
from dfutils.files import ODD_NAMES, only_job, read_csv, read_json, replacing, write_json, writing_error
from dfutils.prediction.outputs import plain_verdict
from dfutils.records import Reason

if TYPE_CHECKING:
    from dfutils.prediction.detector import Detector

logger = logging.getLogger(__name__)

VERDICT_FIELDS = {
    "id": "string",
    "input": "string",
    "status": "string",
    "label": "string",
    "reason": "string",
    "detail": "string",
    "fake_probability": "float64",
    "tracks": "string",
    "seconds": "float64",
    "attempts": "int32",
    "detector_sha256": "string",
    "package_version": "string",
}
"""Columns of the parts, with their Arrow types. ``tracks`` is JSON, as in ``predict --json``."""

ROWS_OF_A_PART = 1000
MOST_ATTEMPTS = 3
"""A file that exists and failed this often is quarantined: it is not tried again."""

FEWEST_FOR_A_RATE, MOST_FOR_A_RATE = 20, 100
"""The share of errors is that of the latest files, and compared with its limit from so many on."""

BROKEN = ("error", "quarantined")

PROGRESS_SECONDS = 60

UNREADABLE_ENTRIES = ("detector", "record", "export", "list of files")
"""Entries of ``job.json`` whose values say nothing to people in a message: checksums, and the whole record."""


@dataclass(frozen=True, slots=True)
class ArchiveItem:
    """One file of an archive.

    Attributes:
        id: Unique name in the archive.
        path: The file.
        written: How the manifest names it.
    """

    id: str
    path: Path
    written: str = ""

    @classmethod
    def of(cls, written: str, path: Path, name: object = None) -> Self:
        """Return the file with an id that is valid Unicode, as file names need not be; by default its path."""
        return cls(_valid(str(written if name in (None, "") else name)), path, _valid(written))


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


def read_archive(manifest: Path) -> list[ArchiveItem]:
    """Read a manifest: a CSV or Parquet file with the column ``file``, and perhaps ``id``.

    Paths are relative to the manifest's folder, or absolute. Without ids, the paths as they are written are the ids.

    Raises:
        CatalogueError: It has no such column, or an id is there twice.
        DatasetError: It cannot be read.
    """
    if manifest.suffix == ".parquet":
        table = _read_table(manifest, "Write it again")
        if "file" not in table.column_names:
            raise CatalogueError(f"{manifest}: has no column file. Name the files of the archive in it.")
        columns = {name: table[name].to_pylist() for name in ("file", "id") if name in table.column_names}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    else:
        rows = read_csv(manifest, ("file",))
    files = [(str(row["file"]), row.get("id")) for row in rows]
    items = [ArchiveItem.of(file, manifest.parent / file, name) for file, name in files]
    if twice := [name for name, count in Counter(item.id for item in items).items() if count > 1]:
        raise CatalogueError(
            f"{manifest}: {twice[0]} is there twice{f', as are {len(twice) - 1} others' if twice[1:] else ''}. "
            "Give each file an id of its own in a column id."
        )
    return items


def predict_archive(
    detector: Detector,
    items: Sequence[ArchiveItem],
    folder: Path,
    *,
    shard: Shard,
    workers: int = 1,
    retry_errors: bool = False,
    max_error_rate: float = 1.0,
    progress: bool = True,
) -> ArchiveSummary:
    """Write the verdicts on an archive, and continue an interrupted job.

    Every verdict is on the disk before the next one begins, in ``.journal.jsonl``, and each thousand of them become a
    part, ``part-00000.parquet`` and so on; ``job.json`` has all that changes results. Every minute a line with the
    state is appended to ``progress.jsonl``. SIGTERM ends the job after the file at hand.

    Args:
        detector: Gives the verdicts.
        items: All files of the archive, with unique ids.
        folder: The verdict folder.
        shard: The part of the archive to examine.
        workers: Number of files decoded at a time.
        retry_errors: Retry files that could not be read; one that exists and fails three times is quarantined.
        max_error_rate: If more than this share of the last hundred files cannot be read, the job ends with an error.
            Files that are tried again do not count.
        progress: Show a bar on a terminal.

    Raises:
        DatasetError: The folder cannot be written, another job is writing there, or it was made by another detector or
            from another archive.
        ReportError: Too many files cannot be read.
    """
    arrow = _arrow()  # fail before a folder is made
    chosen = items[shard.index - 1 :: shard.count]
    about = {**_fingerprint(detector, items, shard), "files": len(chosen)}
    with only_job(folder), _sigterm_event() as end:
        if not (folder / "job.json").is_file():
            write_json(folder / "job.json", about)
        elif different := [
            f"another {name}" + ("" if name in UNREADABLE_ENTRIES else f": {before} before, now {about.get(name)}")
            for name, before in read_json(folder / "job.json").items()
            if before != about.get(name) and name not in ("name", "files")  # files follows from the list and the shard
        ]:
            raise DatasetError(
                f"{folder}: was started with {'; '.join(different)}. Choose another --out, or repeat the command that "
                "started it."
            )
        _write_part(arrow, folder)  # what an interrupted job left in its journal
        state = _State(folder, _known(folder), len(chosen))
        todo = [
            item
            for item in chosen
            if (known := state.known.get(item.id)) is None or (retry_errors and known.status == "error")
        ]
        if len(todo) < len(chosen):
            logger.info("%d of %d files are already finished", len(chosen) - len(todo), len(chosen))
        for row in _examined(detector, todo, state, workers=workers, progress=progress):
            append_journal(folder, row)
            state.add(row)
            if state.in_journal >= ROWS_OF_A_PART:
                _write_part(arrow, folder)
                state.in_journal = 0
            if state.error_rate > max_error_rate:
                raise ReportError(
                    f"{folder}: {sum(state.latest)} of the last {len(state.latest)} files could not be read, more than "
                    f"--max-error-rate {max_error_rate:g} allows (last: {row['input']}, {row['detail']}). Verdicts are "
                    "kept; fix the cause, then repeat the command with --retry-errors."
                )
            if end.is_set():
                break
        _write_part(arrow, folder)
        state.write_progress()
    done = [state.known[item.id] for item in chosen if item.id in state.known]
    labels = Counter(one.label for one in done)
    errors = Counter(one.status for one in done if one.status in BROKEN)
    return ArchiveSummary(folder, len(chosen), labels, errors, was_ended=end.is_set())


def merge_verdicts(sources: Sequence[Path], folder: Path) -> ArchiveSummary:
    """Join the verdict folders of shards, part by part, so that memory does not depend on their size.

    Raises:
        DatasetError: A folder holds no verdicts, they are of other detectors, or two of them have the same file.
    """
    arrow = _arrow()
    if (folder / "job.json").exists():
        raise DatasetError(f"{folder}: already holds verdicts. Choose another --out, or delete it.")
    abouts = [read_job(source) for source in sources]
    for source, about in zip(sources, abouts, strict=True):
        done = len(_known(source))
        if done < about["files"] or any(True for _ in read_journal(source)):
            raise DatasetError(
                f"{source}: has verdicts on {done} of {about['files']} files. Repeat the command that started it."
            )
        if different := [
            name for name in about if name not in ("name", "shard", "files") and about[name] != abouts[0][name]
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
            known = _known(source)
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


def read_verdicts(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a verdict folder, as `VERDICT_FIELDS`: the latest one of each file.

    Raises:
        DatasetError: It holds no verdicts, or a part is damaged.
    """
    read_job(folder)
    known = _known(folder)
    journal = list({row["id"]: row for row in read_journal(folder)}.values())
    parts = (_read_part(part).to_pylist() for part in _parts(folder))
    for rows in itertools.chain(parts, [journal]):
        for row in rows:
            if (latest := known.get(row["id"])) is not None and row["attempts"] == latest.attempts:
                del known[row["id"]]
                yield row


@dataclass(frozen=True, slots=True)
class _Known:
    """What a job remembers of the latest row of a file."""

    status: str
    label: str
    attempts: int


@dataclass(slots=True)
class _State:
    """How far a job is.

    Attributes:
        folder: The verdict folder.
        known: The latest row of each file, by id.
        total: Number of files of the shard.
        in_journal: Number of rows that are in no part yet.
        examined: Number of files examined by this job.
        failed: Number of those that could not be read.
        latest: Whether each of the latest files could not be read; without files that are tried again.
    """

    folder: Path
    known: dict[str, _Known]
    total: int
    in_journal: int = 0
    examined: int = 0
    failed: int = 0
    latest: deque[bool] = field(default_factory=lambda: deque(maxlen=MOST_FOR_A_RATE))
    began: float = field(default_factory=time.monotonic)
    last_written: float = field(default_factory=time.monotonic)

    def add(self, row: dict[str, Any]) -> None:
        self.known[row["id"]] = _Known(row["status"], row["label"], row["attempts"])
        self.in_journal += 1
        self.examined += 1
        self.failed += row["status"] in BROKEN
        if row["attempts"] == 1:
            self.latest.append(row["status"] in BROKEN)
        if time.monotonic() - self.last_written > PROGRESS_SECONDS:
            self.write_progress()

    @property
    def error_rate(self) -> float:
        return sum(self.latest) / len(self.latest) if len(self.latest) >= FEWEST_FOR_A_RATE else 0.0

    def write_progress(self) -> None:
        """Append the state to ``progress.jsonl``."""
        self.last_written = time.monotonic()
        hours = (self.last_written - self.began) / 3600
        speed = self.examined / hours if hours else 0.0
        left = self.total - len(self.known)
        line = {
            "done": len(self.known),
            "total": self.total,
            "per_hour": round(speed, 1),
            "seconds_left": round(3600 * left / speed) if speed else None,
            "errors": self.failed,
        }
        path = self.folder / "progress.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
        except OSError as error:
            raise writing_error(path, error) from error


def _examined(
    detector: Detector, todo: Sequence[ArchiveItem], state: _State, *, workers: int, progress: bool
) -> Iterator[dict[str, Any]]:
    """Yield the row of each file."""
    from tqdm import tqdm

    verdicts = detector.predict_many([item.path for item in todo], workers=workers)
    before = time.monotonic()
    with tqdm(total=len(todo), desc="predict", unit="file", disable=None if progress else True) as bar:
        for item, verdict in zip(todo, verdicts, strict=True):
            now = time.monotonic()
            attempts = 1 + (state.known[item.id].attempts if item.id in state.known else 0)
            status = "scored" if verdict.fake_probability is not None else "unscored"
            if verdict.reason == Reason.UNREADABLE:
                status = "quarantined" if attempts >= MOST_ATTEMPTS and item.path.exists() else "error"
            yield {
                "id": item.id,
                "input": _valid(str(item.path)),
                "status": status,
                "label": str(verdict.label),
                "reason": str(verdict.reason),
                "detail": _valid(verdict.detail),
                "fake_probability": verdict.fake_probability,
                "tracks": json.dumps(plain_verdict(verdict)["tracks"], allow_nan=False),
                "seconds": round(now - before, 3),
                "attempts": attempts,
                "detector_sha256": detector.settings.weights_sha256,
                "package_version": dfutils.__version__,
            }
            before = time.monotonic()
            bar.set_postfix_str(f"{state.failed} errors")
            bar.update()


def _valid(text: str) -> str:
    """Return text as valid Unicode: names of files may be other bytes."""
    return text.encode(errors=ODD_NAMES).decode()


def _fingerprint(detector: Detector, items: Sequence[ArchiveItem], shard: Shard) -> dict[str, Any]:
    """Return all that changes the results, and which files they are about."""
    exports = sorted(member.export_key for member in detector.members)
    names = "\n".join(f"{item.id}\t{item.written}" for item in items)
    return {
        "name": detector.settings.name,
        "detector": detector.settings.weights_sha256,
        "record": detector.settings.model_dump(mode="json", exclude={"name", "version"}),
        "prior": detector.prior,
        "engine": detector.engine,
        "export": hashlib.sha256("".join(exports).encode()).hexdigest() if any(exports) else "",
        "package version": dfutils.__version__,
        "list of files": hashlib.sha256(names.encode()).hexdigest(),
        "shard": str(shard),
    }


def read_job(folder: Path) -> dict[str, Any]:
    """Return ``job.json`` of a verdict folder: what changes its results, and the number of its files.

    Raises:
        DatasetError: The folder holds no verdicts.
    """
    if not (folder / "job.json").is_file():
        raise DatasetError(f"{folder}: holds no verdicts (no job.json). Make them with `dfutils predict --out`.")
    return dict(read_json(folder / "job.json"))


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _known(folder: Path) -> dict[str, _Known]:
    """Return the latest row of each file, from the parts and the journal."""
    known: dict[str, _Known] = {}
    columns = ["id", "status", "label", "attempts"]
    parts = (_read_part(part, columns=columns).to_pylist() for part in _parts(folder))
    for rows in itertools.chain(parts, [read_journal(folder)]):
        for row in rows:
            known[row["id"]] = _Known(sys.intern(row["status"]), sys.intern(row["label"]), row["attempts"])
    return known


def _read_part(part: Path, *, columns: Sequence[str] | None = None) -> Any:
    """Return a part as a table.

    Raises:
        DatasetError: It is damaged.
    """
    return _read_table(part, "Delete it, and repeat the command: its files are examined again", columns=columns)


def _read_table(path: Path, advice: str, *, columns: Sequence[str] | None = None) -> Any:
    try:
        return _arrow().read_table(path, columns=columns)
    except (OSError, ValueError) as error:  # Arrow's own errors are of these kinds
        raise DatasetError(f"{path}: is missing or damaged ({error}). {advice}.") from error


def _write_part(arrow: Any, folder: Path) -> None:
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


@contextmanager
def _sigterm_event() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets; a second one ends the process at once."""
    end = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield end
        return

    def note(_number: int, _frame: object) -> None:
        end.set()
        signal.signal(signal.SIGTERM, before)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield end
    finally:
        signal.signal(signal.SIGTERM, before)


def _arrow() -> Any:
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
