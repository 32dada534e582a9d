"""Display in notebooks: text tables, Markdown, warnings as text, and the versions in the first cell."""

from __future__ import annotations

import logging
import os
import platform
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version

import pandas as pd

import dfutils
from dfutils.settings import Settings

PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "av", "tensorflow", "keras")
PROGRESS = "DFUTILS_PROGRESS"
"""Environment variable; 0 hides the progress of long epochs, since committed outputs must not depend on speed."""
LOG_WIDTH = 110
"""Characters per line of a warning."""


class TextTable(pd.DataFrame):
    """A table of text, which a notebook aligns to the left; ``attrs["note"]`` is a sentence below it."""

    @property
    def _constructor(self) -> type[TextTable]:
        return TextTable

    def _repr_html_(self) -> str:
        html: str = super()._repr_html_()
        for tag in ("<td>", "<th>"):
            html = html.replace(tag, f'{tag[:-1]} style="text-align: left;">')
        html = html.replace('<tr style="text-align: right;">', '<tr style="text-align: left;">')
        return f"{html}\n<p>{escape(self.attrs['note'])}</p>" if "note" in self.attrs else html


@dataclass(frozen=True, slots=True)
class Markdown:
    """Text that a notebook shows as Markdown."""

    text: str

    def _repr_markdown_(self) -> str:
        return self.text


class _Page(logging.Handler):
    """Write each warning once, as plain text below the cell."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        if message not in self._seen:
            self._seen.add(message)
            sys.stdout.write(textwrap.fill(message, LOG_WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n")


def start_notebook() -> TextTable:
    """Set up whole sentences in tables, and warnings and long epochs as text; return the table of versions."""
    pd.set_option("display.max_colwidth", None)
    logger = logging.getLogger("dfutils")
    logger.handlers, logger.propagate = [_Page()], False
    logger.setLevel(logging.WARNING)
    if os.environ.get(PROGRESS) != "0":
        logging.getLogger("dfutils.training.progress").setLevel(logging.INFO)  # instead of a progress bar
    for chatty in ("absl", "tensorflow"):
        # A filter, because TensorFlow resets the level when it is imported.
        logging.getLogger(chatty).addFilter(lambda record: record.levelno >= logging.ERROR)
    return versions_table()


def versions_table() -> TextTable:
    """Return versions of Python and of the packages that affect numbers, and the devices if TensorFlow is imported."""
    # The package need not be installed, so its version is not read from metadata.
    facts = {"python": platform.python_version(), "dfutils": dfutils.__version__}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            facts[name] = version(name)
    if "tensorflow" in sys.modules:
        devices = sys.modules["tensorflow"].config.list_logical_devices()
        facts["devices"] = ", ".join(device.name.removeprefix("/device:") for device in devices)
    return facts_table(facts, "version")


def facts_table(facts: Mapping[str, object], column: str = "value") -> TextTable:
    """Return a table with one row per fact."""
    return TextTable({column: list(facts.values())}, index=list(facts), dtype=object)


def text_table(rows: Iterable[tuple[object, ...]], columns: Sequence[str]) -> TextTable:
    """Return a table whose first column names the rows, with its heading in line with the others."""
    table = TextTable(list(rows), columns=list(columns)).set_index(columns[0])
    return table.rename_axis(index=None, columns=columns[0])


def counted_table(videos: pd.DataFrame, by: str) -> pd.DataFrame:
    """Count groups and labels of videos, one row per value of the column ``by``."""
    videos = videos.assign(real=~videos["is_fake"].astype(bool))
    counts = videos.groupby(by).agg(
        groups=("group", "nunique"), videos=("group", "size"), REAL=("real", "sum"), FAKE=("is_fake", "sum")
    )
    return counts.astype(int).rename_axis(index=None, columns=by)


def settings_table(settings: Settings) -> TextTable:
    """Return every setting with its value and meaning."""
    return text_table(_setting_rows(settings), ["setting", "value", "meaning"])


def _setting_rows(settings: Settings, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield one row per setting, or a single row for a group of settings that has its default values."""
    for name, field in type(settings).model_fields.items():
        value, meaning = getattr(settings, name), " ".join((field.description or "").replace("`", "").split())
        if not isinstance(value, Settings):
            yield f"{prefix}{name}", str(value), meaning
        elif value == type(value)():
            yield f"{prefix}{name}", "defaults", meaning
        else:
            yield from _setting_rows(value, f"{prefix}{name}.")
