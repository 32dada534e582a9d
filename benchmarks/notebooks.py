"""Write the table of notebooks in docs/kaggle.md, from the notebooks and their Kaggle metadata.

    python -m benchmarks.notebooks            # write the table
    python -m benchmarks.notebooks --run      # first run copies of the notebooks in order, and time them

A notebook's first cell has its title and what goes in and comes out; ``machine_shape`` in ``kaggle-metadata/`` is the
accelerator.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, describe_machine, wall_seconds
from dfutils.files import read_json, write_json, write_text

TIMES = RESULTS / "notebooks.json"
ACCELERATORS = {"None": "none", "NvidiaTeslaT4": "GPU T4 x2"}
TARGET_MINUTES = 8
"""Target for all five notebooks together on the demo's clips, on two cores."""
_OPENING = re.compile(r"# (?P<title>.+)\n\n(?P<about>.+)\n")


def table(notebooks: list[Path], metadata: Path, measured: Mapping[str, Any]) -> str:
    """Return the table in Markdown.

    Args:
        notebooks: Notebooks in their order.
        metadata: ``kaggle-metadata/``.
        measured: Result of `run_all`.
    """
    lines = [
        "| notebook | input and output | accelerator on Kaggle | seconds on the demo's clips |",
        "|---|---|---|---|",
    ]
    for path in notebooks:
        title, about = opening(path)
        shape = read_json(metadata / "notebooks" / path.stem / "kernel-metadata.json")["machine_shape"]
        seconds = measured["seconds"][path.stem]
        lines.append(f"| [{title}](../notebooks/{path.name}) | {about} | {ACCELERATORS[shape]} | {seconds:.0f} |")
    minutes = sum(measured["seconds"].values()) / 60
    lines += [
        "",
        f"Together {minutes:.1f} minutes on {measured['machine']['cores']} CPU cores without a GPU; load average "
        f"before the start {measured['load_before']:g}.",
    ]
    return "\n".join(lines) + "\n"


def run_all(notebooks: list[Path]) -> dict[str, Any]:
    """Run the notebooks in order in a copy of their folder, and return the seconds that each took."""
    load, seconds = round(os.getloadavg()[0], 1), dict[str, float]()
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DFUTILS_OFFLINE": "1", "DFUTILS_CACHE": f"{folder}/cache"}
        environment.pop("DFUTILS_WEIGHTS", None)
        shutil.copytree(notebooks[0].parent, f"{folder}/notebooks", ignore=shutil.ignore_patterns("output"))
        shutil.copytree(ROOT / "kaggle-metadata", f"{folder}/kaggle-metadata")
        for path in notebooks:
            copy = Path(folder, "notebooks", path.name)
            run = partial(subprocess.run, [*command, str(copy)], check=True, env=environment, cwd=copy.parent)
            seconds[path.stem] = round(wall_seconds(run), 1)
    return {"machine": describe_machine(), "load_before": load, "target_minutes": TARGET_MINUTES, "seconds": seconds}


def opening(path: Path) -> tuple[str, str]:
    """Return title and first sentence of a notebook.

    Raises:
        ValueError: The notebook does not open with a heading and a sentence.
    """
    match = _OPENING.match("".join(read_json(path)["cells"][0]["source"]))
    if not match:
        raise ValueError(f"{path}: does not open with a heading and a sentence.")
    return match["title"], match["about"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="run and time the notebooks first")
    options = parser.parse_args()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if options.run:
        measured = run_all(notebooks)
        write_json(TIMES, measured)
        print(f"{sum(measured['seconds'].values()) / 60:.1f} minutes (target ≤ {TARGET_MINUTES})")
    write_text(RESULTS / "notebooks.md", table(notebooks, ROOT / "kaggle-metadata", read_json(TIMES)))


if __name__ == "__main__":
    main()
