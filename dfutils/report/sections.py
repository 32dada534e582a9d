"""Parts of a report: a section with sentences, tables that can be sorted, and figures that are drawn when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from matplotlib.figure import Figure

from dfutils.files import write_csv
from dfutils.records import Image
from dfutils.report.wording import METRIC_HEADINGS
from dfutils.statistics.formatting import PERCENTAGES

Kind: TypeAlias = Literal["text", "count", "percent", "decimal", "decimal3", "signed"]
"""How a column is printed; all but the first two take a number or an estimate ``{"value", "low", "high"}``."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the key of its values, what stands above them, and how they are printed."""

    key: str
    heading: str
    kind: Kind = "text"


def metric_columns(*names: str) -> tuple[Column, ...]:
    """Columns of metrics, with one heading and one precision in every table."""
    kinds: dict[str, Kind] = {**dict.fromkeys(PERCENTAGES, "percent"), "auc": "decimal"}
    return tuple(Column(name, METRIC_HEADINGS[name], kinds.get(name, "decimal3")) for name in names)


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table shows in one place, and what it is sorted by (empty where there is no value)."""

    text: str
    sort: str
    is_number: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report, which is also written as a CSV.

    Attributes:
        name: Of its file and its place on the page.
        title: Above it.
        caption: How to read it.
        columns: In the order to show.
        rows: Values by column key; a missing key and None are a dash.
        shown: Rows on the page; the file has all.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    shown: int = 30

    def cells(self, row: Mapping[str, Any]) -> list[Cell]:
        """The row as it is printed."""
        return [_cell(row.get(column.key), column.kind) for column in self.columns]

    def flat_rows(self) -> list[dict[str, object]]:
        """The rows as a CSV has them: an estimate is three columns, nothing is rounded."""
        return [
            {name: value for column in self.columns for name, value in _flat(column, row.get(column.key))}
            for row in self.rows
        ]


@dataclass(frozen=True, slots=True)
class FigurePlan:
    """A figure of a report; drawing may raise `dfutils.errors.ReportError`, which is then printed instead."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True, eq=False)
class ImageStrip:
    """Images in a row with a sentence: the frames of a clip and what a detector looked at."""

    title: str
    caption: str
    images: Sequence[Image]


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A part of the page between two headings.

    Attributes:
        name: Its anchor, and the key of ``document`` in ``metrics.json``.
        title: Its heading.
        text: Sentences at the top.
        tables: To show and to write.
        figures: To draw.
        strips: Images to show.
        flag: Why the section is missing or not to be trusted; stands out.
        document: Plain JSON values for ``metrics.json``; None adds nothing.
    """

    name: str
    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[FigurePlan] = ()
    strips: Sequence[ImageStrip] = ()
    flag: str = ""
    document: Any = None


def write_table(folder: Any, table: Table) -> None:
    """Write ``tables/<name>.csv`` into a report folder."""
    rows = table.flat_rows()
    columns = tuple(rows[0]) if rows else tuple(column.key for column in table.columns)
    write_csv(folder / "tables" / f"{table.name}.csv", columns, rows)


def _cell(value: Any, kind: Kind) -> Cell:
    is_number = kind != "text"
    if isinstance(value, Mapping):
        if value["value"] is None:
            return Cell("–", "", is_number)
        text = _printed(value["value"], kind)
        if value.get("low") is not None:
            text += f" ({_interval(value, kind)})"
        return Cell(text, repr(float(value["value"])), is_number)
    if value is None or value == "":
        return Cell("–", "", is_number)
    return Cell(_printed(value, kind), str(value) if kind == "text" else repr(float(value)), is_number)


def _printed(value: Any, kind: Kind) -> str:
    if kind == "text":
        return str(value)
    if kind == "count":
        return f"{int(value):,}"
    if kind == "percent":
        return f"{value * 100:.0f}\xa0%"
    if kind == "signed":
        return f"{value:+.3f}".replace("-", "−")
    return f"{value:.{3 if kind == 'decimal3' else 2}f}"


def _interval(value: Mapping[str, Any], kind: Kind) -> str:
    low, high = _printed(value["low"], kind), _printed(value["high"], kind)
    return f"{low} to {high}" if kind == "signed" else f"{low.removesuffix(chr(0xA0) + '%')}–{high}"


def _flat(column: Column, value: Any) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        names = (("value", column.key), ("low", f"{column.key}_low"), ("high", f"{column.key}_high"))
        return [(name, "" if value[part] is None else value[part]) for part, name in names]
    return [(column.key, "" if value is None else value)]
