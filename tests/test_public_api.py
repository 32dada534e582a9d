"""The public API: its names, that they cost nothing before they are used, and that every one has an example."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dfutils

PROJECT = Path(__file__).parents[1]
HEAVY = ("tensorflow", "keras", "cv2", "av", "numpy", "pandas", "sklearn", "matplotlib", "openvino", "pydantic")


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", dfutils.__all__)
def test_a_public_name_is_what_its_module_defines(name):
    found = getattr(dfutils, name)
    assert found is getattr(import_module(dfutils._MODULES[name]), name)
    assert found.__module__ == dfutils._MODULES[name]
    assert found.__doc__


def test_type_checkers_see_the_names_that_are_loaded_on_use():
    block = next(one for one in parsed(Path(dfutils.__file__)).body if isinstance(one, ast.If))
    seen = {alias.name: one.module for one in block.body for alias in one.names}
    assert seen == dfutils._MODULES
    assert dfutils.__all__ == sorted(dfutils._MODULES)
    assert set(dfutils.__all__) <= set(dir(dfutils))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dfutils.no_such_name


def test_importing_the_package_and_listing_its_names_imports_nothing_heavy():
    code = f"import sys, dfutils, dfutils.cli; dir(dfutils); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", dfutils.__all__)
def test_a_public_name_has_an_example_in_the_docs(name):
    page = (PROJECT / "docs" / "python-api.md").read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE))
    used = {node.id for node in ast.walk(ast.parse(examples)) if isinstance(node, ast.Name)}
    assert name in used


def _names(tree):
    """Names that a module defines itself, and names that it only imports from elsewhere in the package."""
    defined, imported = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dfutils"):
            imported |= {alias.asname or alias.name for alias in node.names}
    return defined, imported


def test_names_are_imported_from_the_module_that_defines_them():
    # Packages may offer names of their modules: `dfutils` the public API, `dfutils.notebook` what notebooks use.
    paths = [path for path in (PROJECT / "dfutils").rglob("*.py") if path.name != "__init__.py"]
    modules = {".".join(path.relative_to(PROJECT).with_suffix("").parts): _names(parsed(path)) for path in paths}
    detours = []
    for folder in ("dfutils", "tests", "benchmarks", "research"):
        for path in (PROJECT / folder).rglob("*.py"):
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.ImportFrom) and node.module in modules:
                    defined, imported = modules[node.module]
                    detours += [
                        f"{path.name}:{node.lineno}: {alias.name} from {node.module}"
                        for alias in node.names
                        if alias.name in imported - defined
                    ]
    assert not detours
