"""Render executed notebooks as HTML pages: one self-contained file each, with folded code.

``python -m dfutils.notebook.pages NOTEBOOK… --report REPORT --out FOLDER``
"""

from __future__ import annotations

import argparse
import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from nbconvert.filters import Highlight2HTML, markdown2html
from pygments.formatters import HtmlFormatter

from dfutils.errors import ReportError
from dfutils.figures.style import FAKE_COLOR, LINE_COLOR, REAL_COLOR
from dfutils.files import read_json, write_text

logger = logging.getLogger(__name__)

IMAGES = ("image/png", "image/jpeg")
REPORT_PAGE = "evaluation-report.html"
LIGHT, DARK = "tango", "github-dark"
"""Pygments styles of the code."""


@dataclass(frozen=True, slots=True)
class Part:
    """One cell as HTML.

    Attributes:
        code: The highlighted source; empty for prose.
        html: The prose, or the outputs of the code.
    """

    code: str = ""
    html: list[Markup] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Page:
    """A notebook as a page.

    Attributes:
        name: File name without its suffix.
        title: The notebook's first heading.
        about: The sentence below it, about input and output.
        parts: Its cells.
    """

    name: str
    title: str
    about: str
    parts: list[Part]


def read_page(path: Path) -> Page:
    """Read an executed notebook.

    Raises:
        ReportError: It is not a notebook, starts without a heading, or was not run.
    """
    document = read_json(path)
    cells = document.get("cells", []) if isinstance(document, dict) else []
    opening = "".join(cells[0]["source"]) if cells else ""
    heading = re.match(r"# (.+)\n+(.+)", opening)
    if not heading:
        raise ReportError(f"{path}: is not a notebook that starts with a heading and a sentence. Render another one.")
    if not any(cell.get("outputs") for cell in cells):
        raise ReportError(f"{path}: has no outputs. Run it first: `make notebooks`.")
    highlight = Highlight2HTML(pygments_lexer="python3")
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(Part(html=[_prose(source)]))
        else:
            outputs = [shown for output in cell["outputs"] for shown in _shown(output)]
            parts.append(Part(Markup(highlight(source)), outputs))
    return Page(path.stem, heading[1], heading[2], parts)


def write_pages(notebooks: Sequence[Path], out: Path, *, report: Path | None = None) -> list[Path]:
    """Render notebooks and an index of them, and copy the evaluation report beside them.

    Args:
        notebooks: Executed notebooks, in order.
        out: Folder for the pages.
        report: Report folder whose ``report.html`` belongs to them.

    Raises:
        ReportError: One cannot be rendered.
    """
    pages = [read_page(path) for path in notebooks]
    names = [page.name for page in pages]
    written = []
    for page in pages:
        html = _render("page.html", page=page)
        for name in names:  # links between notebooks become links between pages
            html = html.replace(f'href="{name}.ipynb"', f'href="{name}.html"')
        if report:
            html = re.sub(r'href="[^":]*/report\.html"', f'href="{REPORT_PAGE}"', html)
        written.append(out / f"{page.name}.html")
        write_text(written[-1], html)
    if report:
        written.append(out / REPORT_PAGE)
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(report / "report.html", written[-1])
    written.append(out / "index.html")
    write_text(written[-1], _render("index.html", pages=pages, report=REPORT_PAGE if report else None))
    return written


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dfutils.notebook"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        colors={"real": REAL_COLOR, "fake": FAKE_COLOR, "line": LINE_COLOR},
        highlight_light=Markup(HtmlFormatter(style=LIGHT).get_style_defs(".highlight")),
        highlight_dark=Markup(HtmlFormatter(style=DARK).get_style_defs(".highlight")),
        **values,
    )


def _prose(markdown: str) -> Markup:
    html = markdown2html(markdown)
    return Markup(re.sub(r'<a class="anchor-link"[^>]*>.*?</a>', "", html))


def _shown(output: Mapping[str, Any]) -> Iterator[Markup]:
    """Yield the richest form of an output."""
    if output["output_type"] == "stream":
        yield Markup('<pre class="said">{}</pre>').format("".join(output["text"]))
        return
    data = output.get("data", {})
    for kind in IMAGES:
        if kind in data:
            content = "".join("".join(data[kind]).split())
            yield Markup('<img src="data:{};base64,{}" alt="Figure made by the code above">').format(kind, content)
            return
    if "text/html" in data:
        table = re.sub(r"<style[^>]*>.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        yield Markup('<div class="scroll" role="region" aria-label="Table" tabindex="0">{}</div>').format(Markup(table))
    elif "text/markdown" in data:
        yield Markup('<div class="told">{}</div>').format(_prose("".join(data["text/markdown"])))
    else:
        yield Markup('<pre class="said">{}</pre>').format("".join(data.get("text/plain", "")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--report", type=Path, help="report folder of notebook 4")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for path in write_pages(given.notebooks, given.out, report=given.report):
        logger.info("%s", path)


if __name__ == "__main__":
    main()
