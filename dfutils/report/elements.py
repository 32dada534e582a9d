"""Elements of a report: sections with sentences, sortable tables, figures drawn on demand, strips of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from matplotlib.figure import Figure

from dfutils.files import write_csv
from dfutils.records import Image
from dfutils.report.wording import METRIC_HEADINGS
from dfutils.statistics.formatting import PERCENTAGES, decimal, interval_text, percent

Kind: TypeAlias = Literal["text", "count", "percent", "decimal", "decimal3", "signed"]
"""How a column is printed; all but the first two accept a number or an estimate ``{"value", "low", "high"}``."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of a table cell, and its sort key (empty without a value)."""

    text: str
    sort: str
    is_number: bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the key of its values, its heading, and how values are printed."""

    key: str
    heading: str
    kind: Kind = "text"

    def format(self, value: Any) -> str:
        """Return a single value as text."""
        match self.kind:
            case "text":
                return str(value)
            case "count":
                return f"{int(value):,}"
            case "percent":
                return percent(value)
            case "signed":
                return f"{value:+.3f}".replace("-", "−")
            case _:
                return decimal(value, 3 if self.kind == "decimal3" else 2)

    def cell(self, value: Any) -> Cell:
        """Return a value or an estimate as shown on the page."""
        is_number = self.kind != "text"
        estimate = value if isinstance(value, Mapping) else {"value": value, "low": None}
        if estimate["value"] in (None, ""):
            return Cell("–", "", is_number)
        text = self.format(estimate["value"])
        if estimate.get("low") is not None:
            low, high = self.format(estimate["low"]), self.format(estimate["high"])
            text += f" ({low} to {high})" if self.kind == "signed" else f" ({interval_text(low, high)})"
        return Cell(text, repr(float(estimate["value"])) if is_number else str(estimate["value"]), is_number)

    def csv_values(self, value: Any) -> dict[str, object]:
        """Return a value for a CSV file, unrounded: an estimate takes three columns."""
        if not isinstance(value, Mapping):
            return {self.key: "" if value is None else value}
        names = (("value", self.key), ("low", f"{self.key}_low"), ("high", f"{self.key}_high"))
        return {name: "" if value[part] is None else value[part] for part, name in names}


def metric_columns(*names: str) -> tuple[Column, ...]:
    """Return columns of metrics, with the same heading and precision in every table."""
    kinds: dict[str, Kind] = {**dict.fromkeys(PERCENTAGES, "percent"), "auc": "decimal"}
    return tuple(Column(name, METRIC_HEADINGS[name], kinds.get(name, "decimal3")) for name in names)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report, which is also written as a CSV.

    Attributes:
        name: Name of its file and anchor on the page.
        title: Text above it.
        caption: How to read it.
        columns: Columns in order.
        rows: Values by column key; a missing key or None is shown as a dash.
        shown: Number of rows on the page; the file has all.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    shown: int = 30

    def cells(self, row: Mapping[str, Any]) -> list[Cell]:
        """Return the cells of a row."""
        return [column.cell(row.get(column.key)) for column in self.columns]

    def write(self, report: Path) -> None:
        """Write ``tables/<name>.csv`` into a report folder."""
        rows: list[dict[str, object]] = []
        for row in self.rows:
            rows.append({})
            for column in self.columns:
                rows[-1] |= column.csv_values(row.get(column.key))
        columns = tuple(rows[0]) if rows else tuple(column.key for column in self.columns)
        write_csv(report / "tables" / f"{self.name}.csv", columns, rows)


@dataclass(frozen=True, slots=True)
class FigurePlan:
    """A figure of a report. If ``draw`` raises `dfutils.errors.ReportError`, the page shows the message instead."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True, eq=False)
class ImageStrip:
    """A row of images with a caption, such as the frames of a clip."""

    title: str
    caption: str
    images: Sequence[Image]


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A section of the page.

    Attributes:
        name: Its anchor, and the key of ``document`` in ``metrics.json``.
        title: Its heading.
        text: Sentences at the top.
        tables: Tables to show and to write.
        figures: Figures to draw.
        strips: Images to show.
        flag: Highlighted warning; empty for none.
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
