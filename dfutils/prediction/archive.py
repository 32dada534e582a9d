"""Verdicts on an archive of files: a folder that is continued after any end, divided among machines, and joined."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dfutils
from dfutils.errors import CatalogueError, DatasetError, ReportError, how_to_install
from dfutils.extraction.shards import Shard
from dfutils.extraction.tables import append_journal, read_journal
from dfutils.files import only_job, read_csv, read_json, replacing, write_json
from dfutils.prediction.outputs import plain_verdict
from dfutils.records import Reason, Verdict

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
"""A file that failed this often is quarantined: it is not tried again."""

FEWEST_FOR_A_RATE = 20
"""Files after which the share of errors is compared with its limit."""

PROGRESS_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ArchiveItem:
    """One file of an archive.

    Attributes:
        id: Unique name in the archive.
        path: The file.
    """

    id: str
    path: Path


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
        lines = [f"{done} of {self.inputs} files have a verdict: {labels}.", f"Verdicts: {self.folder}"]
        if broken := sum(self.errors.values()):
            lines.insert(1, f"{broken} of them could not be read; `--retry-errors` tries them again.")
        return lines


def read_archive(manifest: Path) -> list[ArchiveItem]:
    """Read a manifest: a CSV or Parquet file with the column ``file``, and perhaps ``id``.

    Paths are relative to the manifest's folder, or absolute. Without ids, the paths as they are written are the ids.

    Raises:
        CatalogueError: It has no such column, or an id is there twice.
        DatasetError: It cannot be read.
    """
    if manifest.suffix == ".parquet":
        table = _arrow().read_table(manifest)
        if "file" not in table.column_names:
            raise CatalogueError(f"{manifest}: has no column file. Name the files of the archive in it.")
        columns = {name: table[name].to_pylist() for name in ("file", "id") if name in table.column_names}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    else:
        rows = read_csv(manifest, ("file",))
    items = [ArchiveItem(str(row.get("id") or row["file"]), manifest.parent / str(row["file"])) for row in rows]
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
        retry_errors: Examine files that could not be read again, up to three times in all.
        max_error_rate: If more than this share of the files cannot be read, the job ends with an error.
        progress: Show a bar on a terminal.

    Raises:
        DatasetError: The folder cannot be written, another job is writing there, or it was made by another detector or
            from another archive.
        ReportError: Too many files cannot be read.
    """
    arrow = _arrow()  # fail before a folder is made
    about = _fingerprint(detector, items, shard)
    chosen = items[shard.index - 1 :: shard.count]
    with only_job(folder), _told_to_end() as end:
        if not (folder / "job.json").is_file():
            write_json(folder / "job.json", about)
        elif different := [
            f"{name} was {before}, now {about.get(name)}"
            for name, before in read_json(folder / "job.json").items()
            if before != about.get(name)
        ]:
            raise DatasetError(
                f"{folder}: was made otherwise ({'; '.join(different)}). Choose another --out, or repeat the command "
                "that began it."
            )
        _write_part(arrow, folder)  # what an interrupted job left in its journal
        state = _State(folder, _known(folder), len(chosen))
        todo = [item for item in chosen if _is_due(state.known.get(item.id), retry_errors=retry_errors)]
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
                    f"{folder}: {state.failed} of {state.examined} files could not be read, more than --max-error-rate "
                    f"{max_error_rate:g} allows (last: {row['input']}, {row['detail']}). Verdicts are kept; mend the "
                    "cause, then repeat the command with --retry-errors."
                )
            if end.is_set():
                break
        _write_part(arrow, folder)
        state.tell()
    known = [state.known[item.id] for item in chosen if item.id in state.known]
    labels = Counter(row["label"] for row in known)
    errors = Counter(row["status"] for row in known if row["status"] in ("error", "quarantined"))
    return ArchiveSummary(folder, len(chosen), labels, errors, was_ended=end.is_set())


def merge_verdicts(sources: Sequence[Path], folder: Path) -> ArchiveSummary:
    """Join the verdict folders of shards, part by part, so that memory does not depend on their size.

    Raises:
        DatasetError: A folder holds no verdicts, they are of other detectors, or two of them have the same file.
    """
    arrow = _arrow()
    if (folder / "job.json").exists():
        raise DatasetError(f"{folder}: already holds verdicts. Choose another --out, or delete it.")
    abouts = [_about(source) for source in sources]
    for source in sources:
        if any(True for _ in read_journal(source)):
            raise DatasetError(f"{source}: is not finished. Repeat the command that began it.")
    for source, about in zip(sources, abouts, strict=True):
        if different := [name for name in about if name != "shard" and about[name] != abouts[0].get(name)]:
            raise DatasetError(
                f"{source}: was made with another {different[0]} than {sources[0]}. Examine it again with the same."
            )
    owners: dict[bytes, int] = {}  # eight bytes of each id's checksum, so that a million ids take little memory
    labels, errors, number = Counter[str](), Counter[str](), 0
    with only_job(folder):
        for place, source in enumerate(sources):
            latest = _latest(source)
            for part in _parts(source):
                table = _read_part(part)
                keys = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in table["id"].to_pylist()]
                keep = []
                for row, (key, attempts) in enumerate(zip(keys, table["attempts"].to_pylist(), strict=True)):
                    if attempts < latest.get(key, 1):
                        continue  # was examined again later
                    if owners.setdefault(key, place) != place:
                        raise DatasetError(
                            f"{source}: holds {table['id'][row]}, and so does {sources[owners[key]]}. "
                            "Give each shard once."
                        )
                    keep.append(row)
                if not keep:
                    continue
                table = table.take(keep)
                labels.update(table["label"].to_pylist())
                errors.update(one for one in table["status"].to_pylist() if one in ("error", "quarantined"))
                with replacing(folder / f"part-{number:05d}.parquet") as temporary:
                    arrow.write_table(table, temporary)
                number += 1
        given = [Shard.parse(about["shard"]) for about in abouts]
        wanted = {Shard(index, shard.count) for shard in given for index in range(1, shard.count + 1)}
        if missing := sorted(wanted - set(given), key=lambda shard: (shard.count, shard.index)):
            logger.warning("Shards %s were not given: their files are missing.", ", ".join(map(str, missing)))
        write_json(folder / "job.json", {**abouts[0], "shard": "1/1"})
    return ArchiveSummary(folder, labels.total(), labels, errors)


def read_verdicts(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a verdict folder, one per file, as `VERDICT_FIELDS` with ``tracks`` as they are stored.

    Raises:
        DatasetError: It holds no verdicts.
    """
    _about(folder)
    yield from _known(folder).values()


@dataclass(slots=True)
class _State:
    """How far a job is.

    Attributes:
        folder: The verdict folder.
        known: The latest row of each file, by id; without its tracks.
        total: Number of files of the shard.
    """

    folder: Path
    known: dict[str, dict[str, Any]]
    total: int
    in_journal: int = 0
    examined: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def add(self, row: dict[str, Any]) -> None:
        self.known[row["id"]] = {**row, "tracks": ""}
        self.in_journal += 1
        self.examined += 1
        if row["status"] in ("error", "quarantined"):
            self.failed += 1
            self.reasons[row["reason"]] += 1
        if time.monotonic() - self.told > PROGRESS_SECONDS:
            self.tell()

    @property
    def error_rate(self) -> float:
        return self.failed / self.examined if self.examined >= FEWEST_FOR_A_RATE else 0.0

    def tell(self) -> None:
        """Append the state to ``progress.jsonl``."""
        self.told = time.monotonic()
        hours = (self.told - self.began) / 3600
        speed = self.examined / hours if hours else 0.0
        left = self.total - len(self.known)
        line = {
            "done": len(self.known),
            "total": self.total,
            "per_hour": round(speed, 1),
            "seconds_left": round(3600 * left / speed) if speed else None,
            "errors": dict(self.reasons),
        }
        with (self.folder / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")


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
            attempts = 1 + int(state.known.get(item.id, {}).get("attempts", 0))
            yield _row(item, verdict, detector, attempts=attempts, seconds=now - before)
            before = time.monotonic()
            bar.set_postfix_str(f"{state.failed} errors")
            bar.update()


def _row(item: ArchiveItem, verdict: Verdict, detector: Detector, *, attempts: int, seconds: float) -> dict[str, Any]:
    status = "scored" if verdict.fake_probability is not None else "unscored"
    if verdict.reason == Reason.UNREADABLE:
        status = "error" if attempts < MOST_ATTEMPTS else "quarantined"
    return {
        "id": item.id,
        "input": str(item.path),
        "status": status,
        "label": str(verdict.label),
        "reason": str(verdict.reason),
        "detail": verdict.detail,
        "fake_probability": verdict.fake_probability,
        "tracks": json.dumps(plain_verdict(verdict)["tracks"]),
        "seconds": round(seconds, 3),
        "attempts": attempts,
        "detector_sha256": detector.settings.weights_sha256,
        "package_version": dfutils.__version__,
    }


def _is_due(row: Mapping[str, Any] | None, *, retry_errors: bool) -> bool:
    return row is None or (retry_errors and row["status"] == "error")


def _fingerprint(detector: Detector, items: Sequence[ArchiveItem], shard: Shard) -> dict[str, Any]:
    """Return all that changes the results, and which files they are about."""
    record = detector.settings.model_dump_json(exclude={"name", "version"})
    names = "\n".join(f"{item.id}\t{item.path}" for item in items)
    return {
        "detector": detector.settings.weights_sha256,
        "decision": hashlib.sha256(record.encode()).hexdigest(),
        "prior": detector.prior,
        "engine": detector.engine,
        "package_version": dfutils.__version__,
        "archive": hashlib.sha256(names.encode()).hexdigest(),
        "shard": str(shard),
    }


def _about(folder: Path) -> dict[str, Any]:
    if not (folder / "job.json").is_file():
        raise DatasetError(f"{folder}: holds no verdicts (no job.json). Make them with `dfutils predict --out`.")
    return dict(read_json(folder / "job.json"))


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the latest row of each file, without tracks, from the parts and the journal."""
    known: dict[str, dict[str, Any]] = {}
    columns = [name for name in VERDICT_FIELDS if name != "tracks"]
    for part in _parts(folder):
        for row in _read_part(part, columns=columns).to_pylist():
            known[row["id"]] = {**row, "tracks": ""}
    for row in read_journal(folder):
        known[row["id"]] = {**row, "tracks": ""}
    return known


def _read_part(part: Path, *, columns: Sequence[str] | None = None) -> Any:
    """Return a part as a table.

    Raises:
        DatasetError: It is damaged.
    """
    try:
        return _arrow().read_table(part, columns=columns)
    except (OSError, ValueError) as error:  # Arrow's own errors are of these kinds
        raise DatasetError(
            f"{part}: is damaged ({error}). Delete it, and repeat the command: its files are examined again."
        ) from error


def _latest(folder: Path) -> dict[bytes, int]:
    """Return the number of attempts of each file that was examined more than once, by a checksum of its id."""
    latest: dict[bytes, int] = {}
    for part in _parts(folder):
        table = _read_part(part, columns=["id", "attempts"])
        for name, attempts in zip(table["id"].to_pylist(), table["attempts"].to_pylist(), strict=True):
            if attempts > 1:
                latest[hashlib.blake2b(name.encode(), digest_size=8).digest()] = attempts
    return latest


def _write_part(arrow: Any, folder: Path) -> None:
    """Turn the journal into the next part, without rows that a part has: a job may be killed between the two."""
    rows = {row["id"]: row for row in read_journal(folder)}
    if not rows:
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
    (folder / ".journal.jsonl").unlink()


@contextmanager
def _told_to_end() -> Iterator[threading.Event]:
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
