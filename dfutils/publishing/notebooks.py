"""Staging notebooks for Kaggle, pushing them in order, and comparing what Kaggle kept of them."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.layout import lay_out
from dfutils.publishing.package import LACKING
from dfutils.publishing.rules import DATASET_FILE, NOTEBOOK_FILE, check_notebook
from dfutils.publishing.runs import wait_for_run
from dfutils.publishing.templates import read_document, read_template
from dfutils.publishing.wheels import project_of

logger = logging.getLogger(__name__)

ON_KAGGLE = (
    "Kaggle's image lacks the package `dfutils`. It comes as a wheel in the attached dataset, with the wheels that it "
    "needs, so that the internet may stay off:"
)
INSTALLATION = """import os

INPUT = os.environ.get("DFUTILS_KAGGLE_INPUT", "/kaggle/input")
%pip install --quiet --no-index --no-deps {places} {names}"""
"""Kaggle has two places for a dataset, with and without the owner's name; pip passes over one that is not there."""

NOTEBOOK_OWNER = '"your-name"'
"""Stands for the owner in the cell of parameters of a committed notebook, which has to run as it is."""

COMPARED = ("is_private", "enable_gpu", "enable_tpu", "enable_internet")
COMPARED_SOURCES = ("dataset_sources", "kernel_sources", "competition_sources", "model_sources")
PULL_AGAIN_SECONDS = 5.0
"""Kaggle may need a moment to give back what was just pushed."""


@dataclass(frozen=True, slots=True)
class StagedNotebook:
    """A notebook that lies ready.

    Attributes:
        folder: Holds the notebook and ``kernel-metadata.json``.
        metadata: The content of ``kernel-metadata.json``.
    """

    folder: Path
    metadata: dict[str, Any]


def stage_notebooks(
    source: Path, staging: Path, *, metadata: Path, owner: str, public: bool = False
) -> list[StagedNotebook]:
    """Lay out each notebook in a folder of its own, in the order in which they feed each other.

    Args:
        source: A notebook, or a folder of them.
        staging: Folder to write.
        metadata: ``kaggle-metadata/``.
        owner: Name in the address of your Kaggle page.
        public: Only if you may show to everybody what the notebooks show.

    Raises:
        PublishError: A notebook or its metadata is missing, or breaks one of Kaggle's rules.
    """
    paths = [source] if source.suffix == ".ipynb" else sorted(source.glob("*.ipynb"))
    if not paths or not all(path.is_file() for path in paths):
        raise PublishError(f"{source}: holds no notebook. Name a notebook or a folder of them.")
    package = str(read_template(metadata / "datasets" / "dfutils" / DATASET_FILE, owner=owner)["id"])
    staged = []
    for path in paths:
        document = read_template(metadata / "notebooks" / path.stem / NOTEBOOK_FILE, owner=owner)
        document["is_private"] = not public
        target = staging / path.stem
        check_notebook(document)
        content = _with_owner(read_document(path), owner)
        content = _with_installation(content, document["dataset_sources"], package)
        documents = {NOTEBOOK_FILE: document, document["code_file"]: content}
        lay_out(target, {}, documents, source=path, what="notebook")
        check_notebook(document, target)
        staged.append(StagedNotebook(target, document))
    return _in_order(staged)


def _with_owner(notebook: dict[str, Any], owner: str) -> dict[str, Any]:
    """The notebook with the owner in its cell of parameters, so that the commands it shows are the reader's own."""
    cells = [
        {**cell, "source": "".join(cell["source"]).replace(NOTEBOOK_OWNER, json.dumps(owner))}
        if "parameters" in cell["metadata"].get("tags", [])
        else cell
        for cell in notebook.get("cells", [])
    ]
    return {**notebook, "cells": cells}


def _with_installation(notebook: dict[str, Any], sources: Sequence[str], package: str) -> dict[str, Any]:
    """The notebook with a cell after its title that installs the package from an attached dataset."""
    if package not in sources or not notebook.get("cells"):
        return notebook
    names = " ".join(("dfutils", *map(project_of, LACKING)))
    places = " ".join(f"--find-links {{INPUT}}/{place}" for place in (f"datasets/{package}", package.split("/")[1]))
    code = INSTALLATION.format(places=places, names=names)
    first, *others = notebook["cells"]
    prose = {"cell_type": "markdown", "id": "on-kaggle", "metadata": {}, "source": ON_KAGGLE}
    installation: dict[str, Any] = {
        "cell_type": "code", "id": "install", "metadata": {}, "source": code, "execution_count": None, "outputs": []
    }  # fmt: skip
    return {**notebook, "cells": [first, prose, installation, *others]}


def _in_order(notebooks: list[StagedNotebook]) -> list[StagedNotebook]:
    """Sources first; what is not staged here has to be on Kaggle already, as a notebook's own earlier output is."""
    left, ordered = list(notebooks), list[StagedNotebook]()
    while left:
        waiting = {one.metadata["id"] for one in left}
        ready = next(
            (one for one in left if not waiting & set(one.metadata["kernel_sources"]) - {one.metadata["id"]}), None
        )
        if ready is None:
            raise PublishError(f"kernel_sources: {', '.join(sorted(waiting))} wait for each other. Break the circle.")
        ordered.append(ready)
        left.remove(ready)
    return ordered


def push_notebooks(kaggle: Kaggle, notebooks: Sequence[StagedNotebook]) -> list[str]:
    """Push each notebook once those that feed it have run, and wait for its own run.

    With ``kaggle.wait_seconds`` 0 each is asked once, and only a failure stops.

    Returns:
        What happened, in lines.

    Raises:
        PublishError: One was refused, lacks a source, differs from what was pushed, or its run failed.
    """
    lines = []
    for notebook in notebooks:
        name = notebook.metadata["id"]
        lines.append(
            kaggle.send(name, ["kernels", "push", "-p", str(notebook.folder)], success="successfully pushed").strip()
        )
        lines.append(_check_kept(kaggle, notebook))
        lines.append(f"{name}: {wait_for_run(kaggle, name, just_pushed=True)}")
    return lines


def _check_kept(kaggle: Kaggle, notebook: StagedNotebook) -> str:
    """Pull the notebook again and compare; the client says nothing of a model that could not be attached.

    Raises:
        PublishError: It cannot be read back, or Kaggle holds another notebook, or other flags or sources.
    """
    name, sent = notebook.metadata["id"], notebook.metadata
    with tempfile.TemporaryDirectory() as folder:
        kept = _pulled(kaggle, name, Path(folder))
        sources = _cell_sources(notebook.folder / sent["code_file"])
        same = sources == _cell_sources(Path(folder) / kept["code_file"])
    differing = [field for field in COMPARED if kept.get(field) != sent[field]]
    differing += ["machine_shape"] if _machine(kept) != _machine(sent) else []
    differing += [field for field in COMPARED_SOURCES if set(kept.get(field) or []) != set(sent[field])]
    if not same or differing:
        what = ", ".join(differing) or "cells"
        raise PublishError(
            f"{name}: Kaggle kept it otherwise than sent ({what}). Look at its page, then push it again."
        )
    return f"{name}: {len(sources)} cells, flags and sources read back as sent"


def _pulled(kaggle: Kaggle, name: str, folder: Path) -> dict[str, Any]:
    for pause in (PULL_AGAIN_SECONDS, 0.0):
        answer = kaggle.run("kernels", "pull", name, "-p", str(folder), "-m")
        if not answer.exit_code and (folder / NOTEBOOK_FILE).is_file():
            return read_document(folder / NOTEBOOK_FILE)
        time.sleep(pause)
    raise PublishError(
        f"{name}: was pushed, but could not be read back ({answer.reason}), so nobody knows what Kaggle holds. "
        "Look at its page, or push it again."
    )


def _machine(document: Mapping[str, Any]) -> str:
    """The accelerator, without which a notebook for two T4 runs out of time; no accelerator has three spellings."""
    machine = document.get("machine_shape") or ""
    return "" if machine == "None" else str(machine)


def _cell_sources(path: Path) -> list[str]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    return []
