"""The rendered notebooks in a real browser: one file each, which opens offline."""

import json
import subprocess

import nbformat
import pytest
from notebook_series import FOLDER, NAMES, PATHS

from dfutils.errors import ReportError
from dfutils.notebook.pages import REPORT_PAGE, main, read_page, write_pages
from dfutils.report.evaluate import evaluate


@pytest.fixture(scope="module")
def pages(tmp_path_factory, demo_run, demo_faces):
    """All five committed notebooks, with an evaluation report of the tests' run."""
    out = tmp_path_factory.mktemp("pages")
    evaluate(demo_run, demo_faces, out / "report", resamples=50, progress=False)
    write_pages(PATHS, out / "pages", report=out / "report")
    return out / "pages"


def images_in(name):
    """Count the images in the notebook's outputs."""
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return sum(bool({"image/png", "image/jpeg"} & set(output.get("data", {}))) for output in outputs)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_opens_without_errors_or_requests_and_shows_every_figure(pages, browser_page, name):
    page = browser_page.open(pages / f"{name}.html")
    assert (page.errors, page.failures, page.external) == ([], [], [])
    assert [request for request in page.requests if not request.startswith("data:")] == [page.page.url]
    assert page.broken_images() == []
    assert page.visible_images() == images_in(name) > 0
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_code_is_folded_at_first(pages, browser_page):
    tab = browser_page.open(pages / f"{NAMES[0]}.html").page
    codes = tab.query_selector_all("details .highlight")
    assert len(codes) > 10
    assert not any(code.is_visible() for code in codes)
    tab.click("summary >> nth=0")
    assert codes[0].is_visible()


def test_the_evaluation_report_opens_without_errors_and_shows_its_figures(pages, browser_page):
    page = browser_page.open(pages / REPORT_PAGE)
    assert (page.errors, page.failures, page.external) == ([], [], [])
    assert page.broken_images() == []
    figures = page.page.query_selector_all("figure")
    assert len(figures) >= 5
    for figure in figures:  # one image for light paper and one for dark
        assert sum(image.is_visible() for image in figure.query_selector_all("img")) == 1


def test_links_lead_from_the_index_through_all_pages(pages, browser_page):
    tab = browser_page.open(pages / "index.html").page
    assert len(tab.query_selector_all(".index li")) == len(NAMES) + 1
    tab.click(".index a >> nth=0")
    for name in NAMES[1:]:
        tab.click(".opening a >> text=→")
        assert tab.url.endswith(f"{name}.html")
    tab.goto((pages / "04-evaluate.html").as_uri())
    tab.click("text=report.html >> nth=0")
    assert tab.url.endswith(REPORT_PAGE)


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_phones_and_wide_screens_in_light_and_dark(pages, browser_page, width, scheme):
    browser_page.page.set_viewport_size({"width": width, "height": 800})
    browser_page.page.emulate_media(color_scheme=scheme)
    browser_page.open(pages / f"{NAMES[3]}.html")
    assert browser_page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser_page.errors == []


def test_a_notebook_that_was_not_run_is_not_rendered(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("# Title\n\nGoes in."), nbformat.v4.new_code_cell("1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    with pytest.raises(ReportError, match="has no outputs. Run it first"):
        read_page(tmp_path / "a.ipynb")


@pytest.mark.parametrize(
    "cells", [[], ["Goes in."], ["# Title"], None], ids=["empty", "no heading", "no sentence", "list"]
)
def test_a_notebook_without_heading_and_sentence_is_not_rendered(tmp_path, cells):
    document = [] if cells is None else {"cells": [{"cell_type": "markdown", "source": text} for text in cells]}
    (tmp_path / "a.ipynb").write_text(json.dumps(document))
    with pytest.raises(ReportError, match=r"a\.ipynb: is not a notebook that starts with a heading and a sentence"):
        write_pages([tmp_path / "a.ipynb"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_hostile_output_stays_text(tmp_path):
    shown = nbformat.v4.new_output("stream", text="<script>alert(1)</script>")
    code = nbformat.v4.new_code_cell("'<img src=http://x>'", outputs=[shown])
    cells = [nbformat.v4.new_markdown_cell("# Title\n\nGoes in."), code]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    main([str(tmp_path / "a.ipynb"), "--out", str(tmp_path / "out")])
    html = (tmp_path / "out" / "a.html").read_text()
    assert "<script" not in html
    assert "<img" not in html


def test_rendering_the_reports_runs_copies_of_the_notebooks():
    target = "notebooks/output/report/report.html"
    command = ["make", "--dry-run", "--always-make", target]
    said = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True).stdout
    assert "--output-dir notebooks/output/executed" in said
    assert "--inplace" not in said
