"""The README's table of notebooks, from the notebooks themselves and what they ask Kaggle for.

python -m benchmarks.notebooks [--measure]

Title and what goes in and out are each notebook's first lines, the accelerator is its ``machine_shape`` in
``kaggle-metadata/``. Minutes are measured by running it on the demo's clips with `--measure`; they are kept in
``results/notebooks.json``.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.readme import ROOT
from dfutils.files import read_json, write_json, write_text

RESULTS = ROOT / "benchmarks" / "results"
ACCELERATORS = {"None": "none", "NvidiaTeslaT4": "GPU T4 x2"}


def table(notebooks: list[Path], metadata: Path, minutes: dict[str, Any]) -> str:
    """The table in Markdown.

    Args:
        notebooks: In their order.
        metadata: ``kaggle-metadata/``.
        minutes: What `measure` gave.
    """
    lines = [
        "| notebook | what goes in and what comes out | accelerator on Kaggle | CPU minutes on the demo's clips |",
        "|---|---|---|---|",
    ]
    for path in notebooks:
        title, about = opening(path)
        shape = read_json(metadata / "notebooks" / path.stem / "kernel-metadata.json")["machine_shape"]
        spent = minutes["notebooks"][path.stem]
        lines.append(f"| [{title}](notebooks/{path.name}) | {about} | {ACCELERATORS[shape]} | {spent:.1f} |")
    total = sum(minutes["notebooks"].values())
    lines += ["", f"CPU time, {total:.1f} minutes in all, on {minutes['machine']['processor']}; two cores share it."]
    return "\n".join(lines) + "\n"


def opening(path: Path) -> tuple[str, str]:
    """Title and first sentence of a notebook."""
    match = re.match(r"# (.+)\n\n(.+)\n", "".join(read_json(path)["cells"][0]["source"]))
    if not match:
        raise ValueError(f"{path}: does not start with a heading and a sentence.")
    return match[1], match[2]


def measure(notebooks: list[Path]) -> dict[str, Any]:
    """Run copies of the notebooks, one after the other, in a fresh folder; CPU minutes of each, with its children."""
    spent = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in notebooks:
            before = _cpu_seconds()
            command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", folder]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "DFUTILS_OFFLINE": "1", "DFUTILS_CACHE": folder}
            copy = Path(folder) / f"run-{path.name}"
            copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
            subprocess.run([*command, copy], cwd=folder, check=True, env=environment, capture_output=True)
            spent[path.stem] = round((_cpu_seconds() - before) / 60, 2)
    return {"machine": describe_machine(), "notebooks": spent}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="run the notebooks first (minutes)")
    given = parser.parse_args()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if given.measure:
        write_json(RESULTS / "notebooks.json", measure(notebooks))
    minutes = read_json(RESULTS / "notebooks.json")
    write_text(RESULTS / "notebooks.md", table(notebooks, ROOT / "kaggle-metadata", minutes))


if __name__ == "__main__":
    main()
