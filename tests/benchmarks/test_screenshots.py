"""What the screenshots of docs/ look for is there."""

import json

import pytest

pytest.importorskip("gradio", reason="the web page needs pip install '.[app]'")

from benchmarks.common import ROOT
from benchmarks.screenshots import EXAMPLE, NOTEBOOKS
from dfutils.app.examples import EXAMPLES


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_notebook_has_the_heading_at_which_its_screenshot_starts(name):
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    lines = [line.strip() for cell in cells for line in "".join(cell["source"]).splitlines()]
    assert f"## {NOTEBOOKS[name][0]}" in lines


def test_the_page_has_the_example_that_is_shown():
    assert EXAMPLE in [example.title for example in EXAMPLES]
