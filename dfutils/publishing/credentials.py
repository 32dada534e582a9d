"""Keeping credentials out of everything that is printed, logged or staged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dfutils.errors import PublishError

HIDDEN = "***"
SHORTEST_SECRET = 6
"""Shorter values would blot out ordinary words; Kaggle's keys have 32 characters."""
TEXT_ENDINGS = {".ipynb", ".json", ".csv", ".md", ".txt", ".yaml", ".cfg"}

_TOKEN = re.compile(r"KGAT_\w+|(?i:(?:bearer|basic) )[\w.~+/=-]{6,}")
_QUERY = re.compile(r"(?<=[\w/])\?[^\s'\"<>)]*=[^\s'\"<>)]*")


def without_credentials(text: str) -> str:
    """Blot out keys and tokens, and the queries of addresses: those of uploads are signed."""
    for secret in sorted(secrets(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _QUERY.sub("?…", _TOKEN.sub(HIDDEN, text))


def check_no_credentials(folder: Path) -> None:
    """Refuse a staged folder with a text file that holds one of the user's keys or tokens.

    Raises:
        PublishError: Names the file, not what it holds.
    """
    hidden = secrets()
    for path in sorted(folder.rglob("*")):
        if path.suffix not in TEXT_ENDINGS or not path.is_file():
            continue
        content = path.read_text(encoding="utf-8", errors="replace")
        if any(secret in content for secret in hidden) or re.search(r"KGAT_\w{8,}", content):
            raise PublishError(f"{path}: holds a Kaggle key or token. Remove it there, and make a new key.")


def secrets() -> set[str]:
    """Every credential that Kaggle's client would find here."""
    return {secret for secret in _candidates() if len(secret) >= SHORTEST_SECRET}


def _candidates() -> Iterator[str]:
    yield os.environ.get("KAGGLE_KEY", "")
    token = os.environ.get("KAGGLE_API_TOKEN", "")
    yield token
    home = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
    for place in (Path(token) if token else None, home / "access_token", home / "access_token.txt"):
        with suppress(OSError):
            yield place.read_text(encoding="utf-8").strip() if place else ""
    for name in ("kaggle.json", "credentials.json"):
        with suppress(OSError, ValueError):
            yield from _secret_values(json.loads((home / name).read_text(encoding="utf-8")))


def _secret_values(document: object) -> Iterator[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            if isinstance(value, str) and ("key" in name.lower() or "token" in name.lower()):
                yield value
