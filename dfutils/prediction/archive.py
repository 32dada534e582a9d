"""Verdicts on an archive of files, in a folder that can be resumed, sharded and merged."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dfutils
from dfutils.errors import CatalogueError, DatasetError, ReportError
from dfutils.extraction.remote import is_there, is_url
from dfutils.extraction.shards import Shard
from dfutils.extraction.tables import append_journal
from dfutils.files import (
    ODD_NAMES,
    only_job,
    read_csv,
    read_json,
    refuse_other_content,
    write_json,
    writing_error,
)
from dfutils.prediction.outputs import plain_verdict
from dfutils.prediction.verdict_folder import (
    BROKEN,
    MOST_ATTEMPTS,
    ArchiveSummary,
    KnownRow,
    known_rows,
    parquet_module,
    read_table,
    write_part,
)
from dfutils.records import Reason, Verdict

if TYPE_CHECKING:
    from dfutils.prediction.detector import Detector

logger = logging.getLogger(__name__)

ROWS_OF_A_PART = 1000

FEWEST_FOR_A_RATE, MOST_FOR_A_RATE = 20, 100
"""The share of errors is that of the latest files, and compared with its limit from so many on."""

PROGRESS_SECONDS = 60

UNREADABLE_ENTRIES = ("detector", "record", "export", "list of files")
"""Entries of ``job.json`` whose values say nothing to people in a message: checksums, and the whole record."""


@dataclass(frozen=True, slots=True)
class ArchiveItem:
    """One file of an archive.

    Attributes:
        id: Unique name in the archive.
        path: The file, or its URL.
        written: How the manifest names it.
    """

    id: str
    path: Path | str
    written: str = ""

    @classmethod
    def of(cls, written: str, path: Path | str, name: object = None) -> Self:
        """Return the file with an id that is valid Unicode, as file names need not be; by default its path."""
        return cls(_valid(str(written if name in (None, "") else name)), path, _valid(written))


def read_archive(manifest: Path) -> list[ArchiveItem]:
    """Read a manifest: a CSV or Parquet file with the column ``file``, and perhaps ``id``.

    Paths are relative to the manifest's folder, or absolute, or URLs. Without ids, the paths as they are written are
    the ids.

    Raises:
        CatalogueError: It has no such column, a row names no file, or an id is there twice.
        DatasetError: It cannot be read.
    """
    if manifest.suffix == ".parquet":
        table = read_table(manifest, "Write it again")
        if "file" not in table.column_names:
            raise CatalogueError(f"{manifest}: has no column file. Name the files of the archive in it.")
        columns = {name: table[name].to_pylist() for name in ("file", "id") if name in table.column_names}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    else:
        rows = read_csv(manifest, ("file",), advice="Name the files of the archive in a column file.")
    if empty := [number for number, row in enumerate(rows, start=1) if not row["file"]]:
        raise CatalogueError(f"{manifest}: names no file in row {empty[0]}. Correct or remove it.")
    files = [(str(row["file"]), row.get("id")) for row in rows]
    items = [ArchiveItem.of(file, file if is_url(file) else manifest.parent / file, name) for file, name in files]
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
    scheduler: str = "",
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
        scheduler: Address of a Dask scheduler whose workers examine the files; see
            `dfutils.prediction.cluster.predict_on_cluster`.
        retry_errors: Retry files that could not be read; one that exists and fails three times is quarantined.
        max_error_rate: If more than this share of the last hundred files cannot be read, the job ends with an error.
            Files that are tried again do not count.
        progress: Show a bar on a terminal.

    Raises:
        DatasetError: The folder cannot be written, another job is writing there, it was made by another detector or
            from another archive, or it holds something else.
        DfutilsError: The cluster cannot be used, or its scheduler was lost.
        ReportError: Too many files cannot be read.
    """
    arrow = parquet_module()  # fail before a folder is made
    if not (folder / "job.json").is_file():
        refuse_other_content(folder, "verdicts")
    chosen = items[shard.index - 1 :: shard.count]
    names = "\n".join(f"{item.id}\t{item.written}" for item in items)
    about = {  # all that changes the results, and which files they are about
        "name": detector.settings.name,
        **detector.identity,
        "prior": detector.prior,
        "package version": dfutils.__version__,
        "list of files": hashlib.sha256(names.encode()).hexdigest(),
        "shard": str(shard),
        "files": len(chosen),
    }
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
        write_part(arrow, folder)  # what an interrupted job left in its journal
        state = _State(folder, known_rows(folder), len(chosen))
        todo = [
            item
            for item in chosen
            if (known := state.known.get(item.id)) is None or (retry_errors and known.status == "error")
        ]
        if len(todo) < len(chosen):
            logger.info("%d of %d files are already finished", len(chosen) - len(todo), len(chosen))
        paths = [item.path for item in todo]
        if scheduler:
            from dfutils.prediction.cluster import predict_on_cluster

            verdicts = predict_on_cluster(detector, paths, scheduler=scheduler)
        else:
            verdicts = enumerate(detector.predict_many(paths, workers=workers, credentials=False))
        for row in _rows(verdicts, detector, todo, state, progress=progress):
            append_journal(folder, row)
            state.add(row)
            if state.in_journal >= ROWS_OF_A_PART:
                write_part(arrow, folder)
                state.in_journal = 0
            if state.error_rate > max_error_rate:
                raise ReportError(
                    f"{folder}: {sum(state.latest)} of the last {len(state.latest)} files could not be read, more than "
                    f"--max-error-rate {max_error_rate:g} allows (last: {row['input']}, {row['detail']}). Verdicts are "
                    "kept; fix the cause, then repeat the command with --retry-errors."
                )
            if end.is_set():
                break
        write_part(arrow, folder)
        state.write_progress()
    done = [state.known[item.id] for item in chosen if item.id in state.known]
    labels = Counter(one.label for one in done)
    errors = Counter(one.status for one in done if one.status in BROKEN)
    return ArchiveSummary(folder, len(chosen), labels, errors, was_ended=end.is_set())


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
    known: dict[str, KnownRow]
    total: int
    in_journal: int = 0
    examined: int = 0
    failed: int = 0
    latest: deque[bool] = field(default_factory=lambda: deque(maxlen=MOST_FOR_A_RATE))
    began: float = field(default_factory=time.monotonic)
    last_written: float = field(default_factory=time.monotonic)

    def add(self, row: dict[str, Any]) -> None:
        self.known[row["id"]] = KnownRow(row["status"], row["label"], row["attempts"])
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


def _rows(
    verdicts: Iterable[tuple[int, Verdict]],
    detector: Detector,
    todo: Sequence[ArchiveItem],
    state: _State,
    *,
    progress: bool,
) -> Iterator[dict[str, Any]]:
    """Yield the row of each verdict, which comes with the place of its file in ``todo``."""
    from tqdm import tqdm

    before = time.monotonic()
    with tqdm(total=len(todo), desc="predict", unit="file", disable=None if progress else True) as bar:
        for place, verdict in verdicts:
            item, now = todo[place], time.monotonic()
            attempts = 1 + (state.known[item.id].attempts if item.id in state.known else 0)
            status = "scored" if verdict.fake_probability is not None else "unscored"
            if verdict.reason == Reason.UNREADABLE:
                status = "quarantined" if attempts >= MOST_ATTEMPTS and is_there(item.path) else "error"
            yield {
                "id": item.id,
                "input": _valid(str(item.path)),
                "status": status,
                "label": str(verdict.label),
                "reason": str(verdict.reason),
                "detail": _valid(verdict.detail),
                "fake_probability": verdict.fake_probability,
                "is_incomplete": verdict.is_incomplete,
                "person": verdict.person,
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
