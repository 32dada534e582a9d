"""Who may use the API, and how often: keys from a file, and a rate limit."""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from dfutils.errors import ServeError

_KEY = re.compile(r"[A-Za-z0-9._~+/-]{20,500}=*")
"""What may follow ``Authorization: Bearer``, by RFC 6750; shorter ones could be guessed."""

MOST_CLIENTS = 10_000
"""Clients whose requests are counted at a time; beyond, those who came first count as new."""


class ApiKeys:
    """API keys, of which only the SHA-256 is kept in memory, so that none can reach a log.

    Args:
        keys: The keys.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]

    @classmethod
    def read(cls, path: Path) -> ApiKeys:
        """Read the keys of a file, one per line; empty lines are skipped.

        Raises:
            ServeError: The file cannot be read, has a line that is not a key, or has none.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ServeError(f"{path}: the API keys cannot be read ({error.strerror}). Check the path.") from error
        except UnicodeDecodeError:
            raise ServeError(f"{path}: is not a text file. Write one API key per line.") from None
        keys = []
        for number, key in enumerate(map(str.strip, lines), start=1):
            if key and not _KEY.fullmatch(key):
                raise ServeError(
                    f"{path}: line {number} is not an API key ({len(key)} characters). A key has at least 20 letters, "
                    "digits or characters of ._~+/- and nothing else. `openssl rand -hex 32` makes one."
                )
            keys += [key] if key else []
        if not keys:
            raise ServeError(f"{path}: has no API key. Write one per line. `openssl rand -hex 32` makes one.")
        return cls(keys)

    def owner(self, sent: str) -> str | None:
        """Return who sent a key, as the key's digest, or None if it is none of ours; takes as long for every key."""
        digest = hashlib.sha256(sent.encode(errors="replace")).hexdigest()
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest if any(matches) else None


class RateLimit:
    """Allow each client so many requests per minute, of which all may come at once.

    Args:
        per_minute: Number of requests.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def seconds_to_wait(self, client: str) -> float:
        """Return 0 and count a request, or return the seconds after which one will be allowed."""
        with self._lock:
            now = time.monotonic()
            allowed, counted = self._clients.pop(client, (float(self._per_minute), now))
            allowed = min(self._per_minute, allowed + (now - counted) * self._per_minute / 60)
            is_allowed = allowed >= 1
            self._clients[client] = (allowed - is_allowed, now)
            if len(self._clients) > MOST_CLIENTS:
                self._clients.popitem(last=False)
            return 0.0 if is_allowed else (1 - allowed) * 60 / self._per_minute
