"""The committed notebooks: thin, linked, and with outputs that name no machine. nbval runs them."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from close_numbers import CloseText
from notebook_series import FOLDER, NAMES, PATHS

SANITIZING = Path(__file__).parents[1] / "nbval.cfg"
UNTHIN = (ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While, ast.If, ast.Try, ast.With, ast.comprehension)
MOST_LINES = 25
MOST_BYTES = 600_000
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users|usr|opt|mnt)/|\b[A-Z]:\\\\|0x[0-9a-f]{8}|\x1b\[")


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_there_are_five():
    assert [path.stem for path in PATHS] == NAMES


def test_the_format_is_valid_and_stable(path, notebook):
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert ids == [f"{path.stem[:2]}-{number:02d}" for number in range(1, len(ids) + 1)]
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert path.stat().st_size < MOST_BYTES


def test_every_code_cell_was_run_in_order_and_shows_something(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        shown = [output for output in cell.outputs if output.output_type in ("execute_result", "display_data")]
        assert shown, cell.source
        rich = {"text/html", "image/png", "image/jpeg", "text/markdown"}
        assert all(rich & set(output.data) for output in shown), cell.source


def test_no_output_is_an_error_or_goes_to_stderr(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"execute_result", "display_data", "stream"}
    assert {output.name for output in outputs if output.output_type == "stream"} <= {"stdout"}


def test_nothing_names_a_machine(path, notebook):
    texts = [cell.source for cell in notebook.cells]
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            texts += [output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))]
    found = [match for text in texts for match in MACHINE.findall(text)]
    assert not found


def test_only_the_package_is_imported_and_nothing_is_programmed(notebook):
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, UNTHIN), cell.source
            assert not isinstance(node, ast.Import), cell.source
            if isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] == "dfutils", cell.source


def test_all_imports_are_in_the_first_cell_which_shows_versions(notebook):
    first, *others = code_cells(notebook)
    assert first.source.rstrip().endswith("start_notebook()")
    assert not any(isinstance(node, ast.ImportFrom) for cell in others for node in ast.walk(ast.parse(cell.source)))


def test_one_cell_is_to_be_edited(notebook):
    (cell,) = tagged(notebook, "parameters")
    assert cell is code_cells(notebook)[1]
    assert "NotebookFolders(" in cell.source


def test_only_versions_and_devices_are_left_out_of_the_comparison(notebook):
    ignored = [cell.source for cell in tagged(notebook, "nbval-ignore-output")]
    devices = [cell.source for cell in code_cells(notebook) if "devices_table(" in cell.source]
    assert ignored == [code_cells(notebook)[0].source, *devices]
    assert "NBVAL" not in json.dumps([cell.source for cell in notebook.cells])
    assert all(
        tag in ("parameters", "nbval-ignore-output") for c in notebook.cells for tag in c.metadata.get("tags", [])
    )


def test_cells_fit_on_a_screen(notebook):
    first, *others = (len(cell.source.splitlines()) for cell in code_cells(notebook))
    assert first <= MOST_LINES
    assert max(others) <= 5


def test_a_sentence_that_ends_in_a_colon_leads_to_every_code_cell(notebook):
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown"
            assert before.source.rstrip().endswith(":"), before.source


def test_it_opens_with_what_to_expect_and_closes_with_what_it_does_not_show(notebook):
    first, *_, last = notebook.cells
    assert first.source.startswith("# ")
    assert all(f"**{word}:**" in first.source for word in ("Data", "Accelerator", "Time"))
    assert last.cell_type == "markdown"
    assert all(
        words in last.source for words in ("What this leaves behind", "**What this does not show:**", "**Next:**")
    )


def test_neighbours_are_linked_and_every_link_resolves(path, notebook):
    place = NAMES.index(path.stem)
    first = notebook.cells[0].source
    for neighbour, arrow in ((place - 1, "[← "), (place + 1, " →]")):
        if 0 <= neighbour < len(NAMES):
            assert f"({NAMES[neighbour]}.ipynb)" in first
            assert arrow in first
    for target in re.findall(r"\]\(([^)]+)\)", prose(notebook)):
        assert target.startswith("https://") or (FOLDER / target).is_file(), target


@pytest.mark.parametrize(
    ("kept", "new", "agrees"),
    [
        ("AUC 0.81 of 12", "AUC 0.81 of 12", True),
        ("AUC 0.83 (0.70–0.9)", "AUC 0.81 (0.69–0.91)", True),
        ("loss 3.15", "loss 3.23", True),
        ("loss 3.15", "loss 3.35", False),
        ("AUC 0.84", "AUC 0.79", False),
        ("clip 0.4567", "clip 0.5432", True),
        ("clip 0.4567", "clip 0.5678", False),
        ("0.012 to 0.1", "0.015 to 0.1", True),
        ("rate 0.001", "rate 0.01", False),
        ("decay 0.0001", "decay 0.0900", False),
        ("AUC 0.81 of 12", "AUC 0.81 of 13", False),
        ("AUC 0.81", "auc 0.81", False),
        ("AUC 0.81", "AUC ", False),
        ("0.81", "", False),
        ("-0.81", "0.81", False),
        ("2.17.1", "2.16.1", False),
    ],
)
def test_numbers_that_are_close_are_equal_and_all_other_text_must_be(kept, new, agrees):
    assert (CloseText(kept) == CloseText(new)) == agrees
    assert (CloseText(kept) != CloseText(new)) != agrees


@pytest.mark.parametrize(("kept", "agrees"), [("AUC 0.81\n", True), ("AUC 0.82\n", True), ("AUC 0.91\n", False)])
def test_the_comparison_fails_if_an_output_differs_from_the_committed_one(tmp_path, kept, agrees):
    cell = nbformat.v4.new_code_cell("print('AUC', 0.81)", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=kept)]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "one.ipynb")
    options = ["-o", "addopts=", "-p", "no:cacheprovider", "-p", "close_numbers", "--nbval", "--nbval-current-env"]
    command = [sys.executable, "-m", "pytest", "-q", *options, "--nbval-sanitize-with", str(SANITIZING), "one.ipynb"]
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode == 0) == agrees, done.stdout
    assert ("1 passed" if agrees else "1 failed") in done.stdout
