"""The generated tables are in the pages as the scripts wrote them; the front page has one and stays short."""

import pytest

from benchmarks import (
    ablation,
    detector,
    engine_choice,
    engines,
    extraction,
    heads,
    load,
    mutations,
    prediction,
    real_videos_tables,
    report,
    training,
)
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
    results = read_json(RESULTS / "detector.json")
    text = summary(results)
    assert text == (RESULTS / "summary.md").read_text(encoding="utf-8")
    assert SUMMARY.keys() <= detector.FIGURES.keys()
    assert len(text.splitlines()) == 2 + len(SUMMARY)
    changed = results["recipes"][detector.MIXED]["dfdc_auc"]
    changed.update(value=0.5, low=0.25, high=0.75)
    assert "AUC | 0.50 (0.25 to 0.75) |" in summary(results)


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


def _tables():
    """What each script makes of the JSON that it wrote."""
    made = {path.stem: read_json(path) for path in RESULTS.glob("*.json")}
    return {
        "ablation": ablation.table(made["ablation"]["rows"]),
        "detector": detector.table(made["detector"]),
        "engine_choice": engine_choice.table(made["engine_choice"]["rows"], made["engine_choice"]["load_before"]),
        "engines": engines.table(made["engines"]["tests"]),
        "extraction": figures_table(made["extraction"]["figures"], extraction.FIGURES),
        "heads": heads.markdown(made["heads"]),
        "heads_fine_tuned": heads.markdown(made["heads_fine_tuned"]),
        "load": load.table(made["load"]["figures"], made["load"]["load_before"]),
        "mutations": mutations.table(made["mutations"]["figures"]),
        "prediction": prediction.table(made["prediction"]["figures"]),
        "real_videos": real_videos_tables.markdown(made["real_videos"]),
        "report": report.table(made["report"]["figures"], made["report"]["machine"]),
        "training": training.table(made["training"]["figures"]),
    }


def test_every_table_is_what_its_script_makes_of_its_json():
    for name, text in _tables().items():
        assert text == (RESULTS / f"{name}.md").read_text(encoding="utf-8"), name


@pytest.mark.parametrize("script", [detector, extraction, load, prediction, report, training])
def test_the_json_has_the_targets_of_its_script(script):
    name = script.__name__.rpartition(".")[2]
    assert read_json(RESULTS / f"{name}.json")["targets"] == targets_document(script.FIGURES)
