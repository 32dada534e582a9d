"""Folders follow the data: each imports only from itself and from those before it."""

import ast
from pathlib import Path

import dfutils

PACKAGE = Path(dfutils.__file__).parent
ORDER = (
    *("errors", "records", "files", "settings", "weights", "statistics", "extraction", "runs", "publishing"),
    *("pretrained", "training", "prediction", "evaluation", "figures", "report", "demo", "notebook", "app"),
    *("commands", "cli", "__main__"),
)


def imported_parts(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (name.split(".")[1] for name in names if name.startswith("dfutils."))


def test_every_folder_imports_only_from_those_before_it():
    parts = {path: path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")}
    assert set(parts.values()) == {*ORDER, "__init__"}
    upwards = [
        f"{path.relative_to(PACKAGE)} imports dfutils.{name}"
        for path, part in parts.items()
        if part != "__init__"
        for name in imported_parts(path)
        if ORDER.index(name) > ORDER.index(part)
    ]
    assert not upwards
