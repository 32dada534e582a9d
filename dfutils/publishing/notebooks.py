"""Stage notebooks for Kaggle, each after those whose output it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError
from dfutils.publishing.metadata import DATASET_FILE, NOTEBOOK_FILE, check_metadata, read_metadata
from dfutils.publishing.package import LACKING, project_of
from dfutils.publishing.staging import PUSH, Staged, lay_out

ON_KAGGLE = (
    "Kaggle's image lacks the package `dfutils`. The attached dataset has its wheel and the wheels that it "
    "needs, so that the internet can stay off. This cell installs them:"
)
INSTALLATION = """import os

INPUT = os.environ.get("DFUTILS_KAGGLE_INPUT", "/kaggle/input")
%pip install --quiet --no-index --no-deps {places} {names}"""
"""Kaggle has two places for a dataset, with and without the owner's name; pip ignores one that does not exist."""

NOTEBOOK_OWNER = '"your-name"'
"""Placeholder for the owner in the parameters of a committed notebook, which has to run as it is."""
NOTEBOOK_BYTES = 10**6
"""Limit of Kaggle for a notebook without outputs, which the client removes."""


def stage_notebooks(source: Path, staging: Path, *, metadata: Path, owner: str, public: bool = False) -> list[Staged]:
    """Lay out a notebook, or each of a folder, in a folder of its own, each after those whose output it reads.

    Args:
        source: A notebook, or a folder of them.
        staging: Folder to write.
        metadata: The folder ``kaggle-metadata/``.
        owner: Name in the address of your Kaggle page.
        public: Whether everybody may see what the notebooks show.

    Raises:
        PublishError: A notebook or its metadata is missing, or Kaggle would refuse it.
    """
    paths = [source] if source.suffix == ".ipynb" else sorted(source.glob("*.ipynb"))
    if not paths or not all(path.is_file() for path in paths):
        raise PublishError(f"{source}: holds no notebook. Name a notebook or a folder of them.")
    package = read_metadata(metadata / "datasets" / "dfutils" / DATASET_FILE, owner=owner)["id"]
    waiting = []
    for path in paths:
        document = read_metadata(metadata / "notebooks" / path.stem / NOTEBOOK_FILE, owner=owner)
        document["is_private"] = not public
        check_metadata(NOTEBOOK_FILE, document)
        notebook = read_metadata(path)
        if not notebook.get("cells"):
            raise PublishError(f"{path}: is not a notebook with cells. Save it again.")
        size = sum(len("".join(cell["source"]).encode()) for cell in notebook["cells"])
        if size > NOTEBOOK_BYTES:
            raise PublishError(f"{path}: {size} bytes without outputs; Kaggle accepts {NOTEBOOK_BYTES}. Shorten it.")
        _adapt(notebook, owner, package if package in document["dataset_sources"] else None)
        folder, name = staging / path.stem, document["id"]
        files = lay_out(folder, {}, {NOTEBOOK_FILE: document, document["code_file"]: notebook}, source=path)
        commands = {
            PUSH: ["kernels", "push", "-p", str(folder)],
            "check its progress": ["kernels", "status", name],
        }
        waiting.append(Staged(name, folder, document, files, commands))

    ordered: list[Staged] = []
    while waiting:
        # What is not staged here has to be on Kaggle already, as a notebook's own earlier output is.
        names = {one.name for one in waiting}
        ready = [one for one in waiting if not names & set(one.metadata["kernel_sources"]) - {one.name}]
        if not ready:
            raise PublishError(f"kernel_sources: {', '.join(sorted(names))} depend on each other. Break the cycle.")
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered


def _adapt(notebook: dict[str, Any], owner: str, package: str | None) -> None:
    """Insert the owner into the parameters and, after the title, a cell that installs the package from its dataset."""
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = "".join(cell["source"]).replace(NOTEBOOK_OWNER, json.dumps(owner))
    if package is not None:
        names = " ".join(("dfutils", *map(project_of, LACKING)))
        places = " ".join(f"--find-links {{INPUT}}/{place}" for place in (f"datasets/{package}", package.split("/")[1]))
        code = INSTALLATION.format(places=places, names=names)
        notebook["cells"][1:1] = [
            {"cell_type": "markdown", "id": "on-kaggle", "metadata": {}, "source": ON_KAGGLE},
            {
                "cell_type": "code",
                "id": "install",
                "metadata": {},
                "source": code,
                "execution_count": None,
                "outputs": [],
            },
        ]
