"""Files of other places, named by URLs that fsspec knows, such as ``s3://bucket/clip.mp4``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dfutils.errors import DfutilsError, TooLargeError, UnreadableError, how_to_install
from dfutils.files import temporary_folder, writing_error

MOST_BYTES = 16 * 2**30
"""Files above this size are not fetched."""

_CHUNK_BYTES = 2**20
# At least two letters: C:// is a drive.
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(path: Path | str) -> bool:
    """Return whether an input is a URL and not a path.

    Example:
        >>> is_url("s3://bucket/clip.mp4"), is_url("clips/1.mp4"), is_url("C:/clips/1.mp4")
        (True, False, False)
    """
    return isinstance(path, str) and _URL.match(path) is not None


@contextmanager
def local_copy(path: Path | str) -> Iterator[Path]:
    """Yield a path as it is; fetch a URL into a temporary file, which is deleted afterwards.

    The file is decoded as any other: nothing is trusted for where it comes from.

    Raises:
        UnreadableError: The URL names nothing, or cannot be fetched.
        TooLargeError: The file has more than `MOST_BYTES`.
        DatasetError: The temporary file cannot be written, as when the disk is full.
        DfutilsError: fsspec, or what it needs for this kind of URL, is not installed.
    """
    if not is_url(path):
        yield Path(path)
        return
    url = str(path)
    with temporary_folder() as folder:
        copy, fetched = folder / "input", 0
        for chunk in _chunks(url):
            fetched += len(chunk)
            if fetched > MOST_BYTES:
                raise TooLargeError(f"{url}: has more than {MOST_BYTES:,} bytes. Cut it, or copy it here.")
            try:
                with copy.open("ab") as file:
                    file.write(chunk)
            except OSError as error:  # this machine's disk is full: no fault of the file
                raise writing_error(copy, error) from error
        copy.touch()  # of a file without any bytes
        yield copy


def _chunks(url: str) -> Iterator[bytes]:
    try:
        system, place = _file_system(url)
        with system.open(place, "rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                yield chunk
    except DfutilsError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError(f"{url}: is not there, or its server does not answer. Check the address.") from error
    except Exception as error:  # each file system has its own errors
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise UnreadableError(
            f"{url}: cannot be fetched ({reason}). Check the address, your permissions and the network."
        ) from error


def is_there(path: Path | str) -> bool:
    """Return whether an input exists; False if that cannot be found out."""
    if not is_url(path):
        return Path(path).exists()
    try:
        system, place = _file_system(str(path))
        return bool(system.exists(place))
    except Exception:  # each file system has its own errors
        return False


def _file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and its name for the file."""
    if "::" in url:  # a file inside another one, or a cache
        raise UnreadableError(f"{url}: is a chain of addresses. Give the address of the file itself.")
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DfutilsError(
            f"{url}: addresses need fsspec, and a package for their kind ({error}). {how_to_install('remote')}; for "
            "s3:// also s3fs, for gs:// gcsfs."
        ) from error
    except ValueError as error:
        raise UnreadableError(f"{url}: is not an address of a known kind ({error}). Copy the file here.") from error
