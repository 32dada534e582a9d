"""Pages hold the tables that the scripts wrote; every script has help and is in its folder's README."""

import importlib
import sys

import pytest

from benchmarks import extraction, load, mutations, prediction, report, training
from benchmarks.common import RESEARCH_RESULTS, RESULTS, ROOT, figures_table, target_lines, targets_document
from benchmarks.tables import BLOCK, SUMMARY, filled, pages, read_tables, summary
from dfutils.files import read_json
from dfutils.pretrained import DEFAULT, FOLDER
from research import heads, real_videos_tables
from research.first_release import ablation, detector, engine_choice, engines

SCRIPTS = [
    path.relative_to(ROOT)
    for folder in ("benchmarks", "research")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "def main(" in path.read_text(encoding="utf-8")
]
LONGEST_FRONT_PAGE = 150


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_every_script_has_help_and_is_in_its_readme(path, monkeypatch, capsys):
    name = ".".join(path.with_suffix("").parts)
    module = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert f"python -m {name}" in capsys.readouterr().out
    readme = (ROOT / path.parts[0] / "README.md").read_text(encoding="utf-8")
    assert f"`{'.'.join(path.with_suffix('').parts[1:])}`" in readme


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_holds_the_tables_that_scripts_wrote(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- begin ") == text.count("<!-- end ") == len(BLOCK.findall(text)), "a mark without a partner"
    assert filled(text, read_tables()) == text, "run `python -m benchmarks.tables`"


def test_every_table_is_on_exactly_one_page():
    shown = [match["name"] for page in pages() for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(read_tables())


def test_the_front_page_is_short_and_has_one_generated_table():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [match["name"] for match in BLOCK.finditer(readme)] == ["summary"]
    assert len(readme.splitlines()) <= LONGEST_FRONT_PAGE


def test_the_summary_is_made_from_the_detector_s_figures():
    results = read_json(RESEARCH_RESULTS / "third_release.json")
    text = summary(results)
    assert text == read_tables()["summary"]
    assert results["figures"] == read_json(FOLDER / DEFAULT / "metrics.json")["figures"]
    assert len(text.splitlines()) == 2 + len(SUMMARY)
    results["figures"]["dfdc_test_auc"].update(value=0.5, low=0.25, high=0.75)
    assert "AUC | 0.50 (0.25 to 0.75) |" in summary(results)


def test_a_block_is_replaced_whole_and_needs_a_table():
    text = "x\n<!-- begin a -->\nold\nold\n<!-- end a -->\ny"
    once = filled(text, {"a": "new\n"})
    assert once == "x\n<!-- begin a -->\n\nnew\n\n<!-- end a -->\ny"
    assert filled(once, {"a": "new\n"}) == once
    with pytest.raises(KeyError):
        filled(text, {})


def test_targets_are_printed_and_saved_but_are_in_no_table():
    figures = {"cost": ("cost of a thing", "≤ 3"), "speed": ("its speed", "")}
    measured = {"cost": 2.345, "speed": 1234.5, "other": 1.0}
    assert figures_table(measured, figures).splitlines()[2:] == ["| cost of a thing | 2.35 |", "| its speed | 1,234 |"]
    assert target_lines(measured, figures) == "cost of a thing: 2.35 (target ≤ 3)"
    assert targets_document(figures) == {"cost": "≤ 3"}
    for text in read_tables().values():
        assert not {"wanted", "aimed at", "target"} & set(text.lower().split())


def test_every_table_is_what_its_script_makes_of_its_json():
    made = {path.stem: read_json(path) for folder in (RESULTS, RESEARCH_RESULTS) for path in folder.glob("*.json")}
    tables = {
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
    written = read_tables()
    for name, text in tables.items():
        assert text == written[name], name


@pytest.mark.parametrize("script", [detector, extraction, load, prediction, report, training])
def test_the_json_has_the_targets_of_its_script(script):
    folder = RESEARCH_RESULTS if script is detector else RESULTS
    results = read_json(folder / f"{script.__name__.rpartition('.')[2]}.json")
    assert results["targets"] == targets_document(script.FIGURES)
