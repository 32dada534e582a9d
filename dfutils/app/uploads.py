"""Uploads: under names of the server's own that cannot be guessed, and gone after the answer."""

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

from dfutils.extraction.layouts import IMAGE_SUFFIXES, VIDEO_SUFFIXES

_TOKEN = re.compile(r"[\w-]{43}(\.[a-z0-9]{1,5})?", re.ASCII)
UNKNOWN_SUFFIX = ".mp4"
"""What a file of no known kind is treated as: the decoder looks at its content anyway."""


class UploadsFullError(Exception):
    """As many uploads as are allowed wait for their answer."""


class Uploads:
    """A folder of uploads that only this process may read.

    A token names an upload: 256 random bits and a suffix from a short list. Nothing that a visitor sends, the file's
    name least of all, becomes part of a path.

    Args:
        most: Uploads that may lie there at a time.
        keep_seconds: Those that nobody asked about are deleted after this time.
    """

    def __init__(self, *, most: int, keep_seconds: float) -> None:
        self._most, self._keep_seconds = most, keep_seconds
        self.folder = Path(tempfile.mkdtemp(prefix="dfutils-uploads-"))  # mode 0700
        self._lock = threading.Lock()
        self._in_use: set[str] = set()

    def store(self, file: IO[bytes], name: str) -> str:
        """Copy an upload here and return its token.

        Args:
            file: Its content.
            name: As the visitor calls it; only a known suffix of it is used.

        Raises:
            UploadsFullError: There is no room.
        """
        suffix = Path(name).suffix.lower()
        known = suffix if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES else UNKNOWN_SUFFIX
        token = secrets.token_urlsafe(32) + known
        with self._lock:
            self._sweep()
            if sum(1 for _ in self.folder.iterdir()) >= self._most:
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
        """The file of a token, or None where there is none (any more); deleted at the end, whatever happens."""
        path = self._claim(token)
        try:
            yield path
        finally:
            if path is not None:
                path.unlink(missing_ok=True)
                with self._lock:
                    self._in_use.discard(path.name)

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _claim(self, token: object) -> Path | None:
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return None
        path = self.folder / token
        with self._lock:
            if token in self._in_use or not path.is_file():
                return None
            self._in_use.add(token)
        return path

    def _sweep(self) -> None:
        oldest = time.time() - self._keep_seconds
        for path in self.folder.iterdir():
            with suppress(OSError):
                if path.name not in self._in_use and path.stat().st_mtime < oldest:
                    path.unlink()
