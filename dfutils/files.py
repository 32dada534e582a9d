"""Atomic writes and checksums: no half-written file is ever read."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dfutils.errors import DatasetError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

ODD_NAMES = "backslashreplace"
"""Error handler that escapes file names that are not valid Unicode; from JSON they are read back unchanged."""

FolderKind: TypeAlias = Literal["a run", "a detector", "a face dataset", "verdicts", "a report", "a demo"]
"""What a command writes into a folder of its own."""

_SIGNS: dict[FolderKind, tuple[str, ...]] = {
    "a run": ("run.json", "settings.json"),
    "a detector": ("detector.json",),  # without a run: packaged or downloaded
    "a face dataset": ("manifest.csv", "extraction.json"),
    "verdicts": ("job.json",),
    "a report": ("metrics.json",),  # last: the included detector has this file too
}
"""Files that tell what a folder holds. A demo has none: it has folders of the other kinds."""

COPY_OR_REPEAT = "Copy its folder again, whole, or make it again."
"""Advice on a file that this package writes and that is missing or damaged."""


@contextmanager
def only_job(folder: Path) -> Iterator[None]:
    """Make a folder and hold its lock, which the system releases when this process ends, however it ends.

    Where there are no locks, as on Windows and some network disks, nothing is held.

    Raises:
        DatasetError: The folder cannot be made, or another job holds the lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(folder, error) from error
    if fcntl is None:
        yield
        return
    try:
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise writing_error(folder, error) from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:  # of any other kind if this file system has no locks
            if isinstance(error, BlockingIOError):
                raise DatasetError(
                    f"{folder}: another job is writing there. Wait until it ends, or choose another --out."
                ) from None
        yield
    finally:
        os.close(held)


def refuse_other_content(folder: Path, kind: FolderKind) -> None:
    """Refuse to write into a folder that holds something of another kind, whose files have the same names.

    Args:
        folder: The folder to write; it need not exist.
        kind: What will be written. Something of this kind may be there already.

    Raises:
        DatasetError: The folder holds something else.
    """
    held = {name: other for other, names in _SIGNS.items() for name in names if (folder / name).is_file()}
    if "a run" in held.values():
        held.pop("detector.json", None)  # its own
    for name, other in held.items():
        if other != kind:
            raise DatasetError(f"{folder}: holds {other} ({name}). Choose another --out.")


@contextmanager
def temporary_folder(beside: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder that is deleted afterwards: next to ``beside``, or where the system has such folders.

    Raises:
        DatasetError: It cannot be made, as when the disk is full.
    """
    place, prefix = (None, "dfutils-") if beside is None else (beside.parent, f".{beside.name}-")
    try:
        folder = tempfile.TemporaryDirectory(dir=place, prefix=prefix)
    except OSError as error:
        raise writing_error(beside or Path(tempfile.gettempdir()), error) from error
    with folder as name:
        yield Path(name)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` if the block succeeds.

    Raises:
        DatasetError: The path is a folder, its folder cannot be written, or the disk is full; the old file, if any, is
            untouched.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise the error that `replacing` would raise, before there is something to write; nothing is left behind.

    Raises:
        DatasetError: The path is a folder, or cannot be written.
    """
    temporary = _beside(path)
    place = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        (place / temporary.name).touch()
        (place / temporary.name).unlink()
    except OSError as error:
        raise writing_error(path, error) from error


def _beside(path: Path) -> Path:
    """Return the temporary path of a file, which must not be a folder."""
    if os.path.isdir(path):  # noqa: PTH112 - unlike pathlib, it does not raise for a folder without permission
        raise DatasetError(f"{path}: is a folder. Give a file name.")
    return path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")


def writing_error(path: Path, error: OSError) -> DatasetError:
    """Return an error that says why a write failed and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "The disk is full. Free some space and repeat the command."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "Choose a folder that you may write to."
    else:
        advice = "Check the path and repeat the command."
    return DatasetError(f"{path}: cannot be written ({error.strerror or error}). {advice}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` atomically."""
    write_bytes(path, text.encode(errors=ODD_NAMES))


def write_json(path: Path, document: Any) -> None:
    """Write ``document`` as indented JSON, atomically; NaN, which is not JSON, is an error."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def json_text(document: Any) -> str:
    """Return a document as the text that ``--json`` prints and the HTTP API answers."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def read_json(path: Path, *, advice: str = COPY_OR_REPEAT) -> Any:
    """Read a JSON document.

    Raises:
        DatasetError: The file is missing or is not JSON; the message ends with ``advice``.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    except ValueError as error:
        raise DatasetError(f"{path}: is not valid JSON ({error}). {advice}") from error


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write ``rows`` with exactly ``columns`` atomically; a missing or surplus key is an error."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors=ODD_NAMES) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            if set(row) != set(columns):
                raise ValueError(f"{path.name}: keys differ from the columns {columns}. Received: {sorted(row)}")
            writer.writerow(row)


def read_csv(path: Path, columns: Sequence[str], *, advice: str = COPY_OR_REPEAT) -> list[dict[str, str]]:
    """Read the rows of a CSV with at least ``columns``.

    Raises:
        DatasetError: The file is missing, or lacks one of the columns; the message ends with ``advice``.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if missing:
                found = ", ".join(reader.fieldnames or []) or "nothing"
                raise DatasetError(
                    f"{path}: column {missing[0]!r} is missing in its first line, which has: {found}. {advice}"
                )
            return list(reader)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: is not a CSV in UTF-8 ({error}). Save it as one.") from error


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Replace ``target`` by a hard link to ``source``, or by a copy if the file system has no such links."""
    Path(target).unlink(missing_ok=True)
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
