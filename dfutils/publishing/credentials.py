"""Credentials stay out of everything that is printed, logged or staged."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path

from dfutils.errors import PublishError

SHORTEST_SECRET = 6
"""Shorter values would blot out ordinary words; Kaggle's keys have 32 characters, the Hub's tokens 37."""
TEXT_ENDINGS = {".ipynb", ".json", ".csv", ".md", ".txt", ".yaml", ".cfg"}

_TOKEN = re.compile(r"KGAT_\w+|\bhf_[A-Za-z0-9]{20,}|(?i:(?:bearer|basic) )[\w.~+/=-]{6,}")
_QUERY = re.compile(r"(?<=[\w/])\?[^\s'\"<>)]*=[^\s'\"<>)]*")


def without_credentials(text: str) -> str:
    """Blot out keys and tokens, and the queries of addresses, since upload addresses are signed."""
    for secret in sorted(secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _QUERY.sub("?…", _TOKEN.sub("***", text))


def check_no_credentials(folder: Path) -> None:
    """Raise `PublishError` for a text file that holds one of the user's keys or tokens, without showing it."""
    hidden = secrets()
    for path in sorted(folder.rglob("*")):
        if path.suffix in TEXT_ENDINGS and path.is_file():
            content = path.read_text(encoding="utf-8", errors="replace")
            if any(secret in content for secret in hidden) or re.search(r"KGAT_\w{8,}|\bhf_[A-Za-z0-9]{30,}", content):
                raise PublishError(
                    f"{path}: holds a key or token of Kaggle or Hugging Face. Remove it there, and make a new key."
                )


def secrets() -> set[str]:
    """Return every credential that Kaggle's and the Hub's clients would find on this machine."""
    token = os.environ.get("KAGGLE_API_TOKEN", "")  # or the path of a file that holds it
    found = [os.environ.get(name, "") for name in ("KAGGLE_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")] + [token]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - needs no home folder
    hub = os.environ.get("HF_TOKEN_PATH") or Path(os.environ.get("HF_HOME") or Path(cache, "huggingface"), "token")
    kaggle_files = (kaggle_folder() / "access_token", kaggle_folder() / "access_token.txt")
    for path in (Path(token or os.devnull), *kaggle_files, Path(hub)):
        with suppress(OSError):
            found.append(path.read_text(encoding="utf-8").strip())
    for name in ("kaggle.json", "credentials.json"):
        with suppress(OSError, ValueError, AttributeError):
            document = json.loads((kaggle_folder() / name).read_text(encoding="utf-8"))
            found += [str(value) for key, value in document.items() if re.search("key|token", key, re.IGNORECASE)]
    return {secret for secret in found if len(secret) >= SHORTEST_SECRET}


def kaggle_folder() -> Path:
    """Return the folder in which Kaggle's client keeps its settings."""
    return Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
