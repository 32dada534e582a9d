import re

import pytest

from benchmarks.common import RESULTS, ROOT
from benchmarks.notebooks import TARGET_MINUTES, TIMES, opening, table
from dfutils.files import read_json, write_json

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_the_table_says_what_the_notebooks_say():
    written = (RESULTS / "notebooks.md").read_text(encoding="utf-8")
    now = table(PATHS, ROOT / "kaggle-metadata", read_json(TIMES))
    assert now == written, "run `python -m benchmarks.notebooks` and `python -m benchmarks.tables`"


def test_the_notebooks_together_meet_their_target():
    seconds = {path.stem: 60.0 for path in PATHS}
    text = table(PATHS, ROOT / "kaggle-metadata", {"seconds": seconds, "load_before": 0.1, "machine": {"cores": 2}})
    assert "Together 5.0 minutes" in text
    assert sum(read_json(TIMES)["seconds"].values()) <= 60 * TARGET_MINUTES


def test_only_training_asks_for_a_gpu():
    lines = (RESULTS / "notebooks.md").read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0][3:4] for line in lines if "GPU T4 x2" in line] == ["3"]


def test_a_notebook_without_a_heading_is_an_error(tmp_path):
    write_json(tmp_path / "a.ipynb", {"cells": [{"source": "no heading"}]})
    with pytest.raises(ValueError, match="does not open with a heading"):
        opening(tmp_path / "a.ipynb")


SAID = {
    "a few seconds": (0, 15),
    "about half a minute": (15, 45),
    "less than a minute": (20, 60),
    "about a minute": (40, 90),
    "about a minute and a half": (75, 120),
}
"""Range of measured seconds for each phrase that a notebook may use for its time on the demo's clips."""


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_names_the_time_that_was_measured(path):
    first = "".join(read_json(path)["cells"][0]["source"])
    (time,) = re.findall(r"\*\*Time:\*\* (.+)", first)
    least, most = SAID[re.split(r" on two CPU cores|;", time)[0]]
    assert least <= read_json(TIMES)["seconds"][path.stem] <= most
    assert "on Kaggle" in time
    assert "estimated" in time
