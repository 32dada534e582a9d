"""Uploads, stored under random names and deleted after the answer."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dfutils.extraction.media_files import MEDIA_SUFFIXES

_TOKEN = re.compile(r"[\w-]{43}(\.[a-z0-9]{1,5})?", re.ASCII)
UNKNOWN_SUFFIX = ".mp4"
"""Suffix for files of unknown type; the decoder relies on the content anyway."""


class UploadsFullError(Exception):
    """Raised when too many uploads are waiting for their answer."""


class Uploads:
    """A folder of uploads that only this process may read.

    An upload is named by a token: 256 random bits and a suffix from a short list. Nothing that a visitor sends, least
    of all the name of the file, becomes part of a path.

    Args:
        most: Largest number of uploads at a time.
        keep_seconds: Uploads for which no answer is requested are deleted after this time.
    """

    def __init__(self, *, most: int, keep_seconds: float) -> None:
        self._most, self._keep_seconds = most, keep_seconds
        self.folder = Path(tempfile.mkdtemp(prefix="dfutils-uploads-"))  # mode 0700
        self._lock = threading.Lock()
        self._in_use: set[str] = set()

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.iterdir())

    def store(self, file: IO[bytes], name: str) -> str:
        """Copy an upload here and return its token.

        Args:
            file: Content of the upload.
            name: The visitor's name for it, of which only a known suffix is used.

        Raises:
            UploadsFullError: Too many uploads are stored.
        """
        suffix = Path(name).suffix.lower()
        known = suffix if suffix in MEDIA_SUFFIXES else UNKNOWN_SUFFIX
        token = secrets.token_urlsafe(32) + known
        with self._lock:
            oldest = time.time() - self._keep_seconds
            for path in self.folder.iterdir():
                with suppress(OSError):
                    if path.name not in self._in_use and path.stat().st_mtime < oldest:
                        path.unlink()
            if len(self) >= self._most:
                raise UploadsFullError
            path = self.folder / token
            path.touch(mode=0o600)
        try:
            with path.open("wb") as copy:
                shutil.copyfileobj(file, copy, 2**20)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return token

    @contextmanager
    def taken(self, token: object) -> Iterator[Path | None]:
        """Yield the file of a token, or None if there is none (any more), and delete it at the end in any case."""
        path = self.folder / token if isinstance(token, str) and _TOKEN.fullmatch(token) else None
        with self._lock:
            if path and (path.name in self._in_use or not path.is_file()):
                path = None
            if path:
                self._in_use.add(path.name)
        try:
            yield path
        finally:
            if path:
                path.unlink(missing_ok=True)
                with self._lock:
                    self._in_use.discard(path.name)

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
