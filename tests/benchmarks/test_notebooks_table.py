import pytest

from benchmarks.notebooks import RESULTS, opening, table
from benchmarks.readme import ROOT
from dfutils.files import write_json

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_the_table_says_what_the_notebooks_say():
    written = (RESULTS / "notebooks.md").read_text(encoding="utf-8")
    now = table(PATHS, ROOT / "kaggle-metadata")
    assert now == written, "run `python -m benchmarks.notebooks` and `python -m benchmarks.readme`"


def test_only_training_asks_for_a_gpu():
    lines = (RESULTS / "notebooks.md").read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0][3:4] for line in lines if "GPU T4 x2" in line] == ["3"]


def test_a_notebook_without_a_heading_is_an_error(tmp_path):
    write_json(tmp_path / "a.ipynb", {"cells": [{"source": "no heading"}]})
    with pytest.raises(ValueError, match="does not open with a heading"):
        opening(tmp_path / "a.ipynb")
