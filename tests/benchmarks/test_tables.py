"""The generated tables are in the pages as the scripts wrote them; the front page has one and stays short."""

import pytest

from benchmarks.detector import FIGURES
from benchmarks.tables import BLOCK, RESULTS, ROOT, SUMMARY, filled, pages, summary
from benchmarks.targets import figures_table, target_lines, targets_document
from dfutils.files import read_json

LONGEST_FRONT_PAGE = 150


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_holds_the_tables_that_scripts_wrote(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- begin ") == text.count("<!-- end ") == len(BLOCK.findall(text)), "a mark without a partner"
    assert filled(text, RESULTS) == text, "run `python -m benchmarks.tables`"


def test_every_table_is_on_exactly_one_page():
    shown = [match["name"] for page in pages() for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(path.stem for path in RESULTS.glob("*.md"))


def test_the_front_page_is_short_and_has_one_generated_table():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [match["name"] for match in BLOCK.finditer(readme)] == ["summary"]
    assert len(readme.splitlines()) <= LONGEST_FRONT_PAGE


def test_the_summary_is_made_of_the_detector_s_figures():
    detector = read_json(RESULTS / "detector.json")
    text = summary(detector)
    assert text == (RESULTS / "summary.md").read_text(encoding="utf-8")
    assert SUMMARY.keys() <= FIGURES.keys()
    assert len(text.splitlines()) == 2 + len(SUMMARY)
    changed = detector["recipes"]["with FaceForensics++ (shipped)"]["dfdc_auc"]
    changed.update(value=0.5, low=0.25, high=0.75)
    assert "AUC | 0.50 (0.25 to 0.75) |" in summary(detector)


def test_a_block_without_a_table_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        filled("<!-- begin nothing -->\n<!-- end nothing -->", tmp_path)


def test_a_block_is_replaced_whole(tmp_path):
    (tmp_path / "a.md").write_text("new\n")
    text = "x\n<!-- begin a -->\nold\nold\n<!-- end a -->\ny"
    once = filled(text, tmp_path)
    assert once == "x\n<!-- begin a -->\n\nnew\n\n<!-- end a -->\ny"
    assert filled(once, tmp_path) == once


def test_targets_are_printed_and_saved_but_are_in_no_table():
    figures = {"cost": ("cost of a thing", "≤ 3"), "speed": ("its speed", "")}
    measured = {"cost": 2.345, "speed": 1234.5, "other": 1.0}
    assert figures_table(measured, figures).splitlines()[2:] == ["| cost of a thing | 2.35 |", "| its speed | 1,234 |"]
    assert target_lines(measured, figures) == "cost of a thing: 2.35 (target ≤ 3)"
    assert targets_document(figures) == {"cost": "≤ 3"}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.md")), ids=lambda path: path.name)
def test_no_table_names_a_target(path):
    assert not {"wanted", "aimed at", "target"} & set(path.read_text(encoding="utf-8").lower().split())
