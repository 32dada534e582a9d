"""The table of notebooks in docs/kaggle.md, from the notebooks themselves and what they ask Kaggle for.

    python -m benchmarks.notebooks            # the table
    python -m benchmarks.notebooks --run      # runs them in order, elsewhere, and takes their times first

Title and what goes in and out stand in each notebook's first cell; the accelerator is its ``machine_shape`` in
``kaggle-metadata/``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.tables import RESULTS, ROOT
from dfutils.files import read_json, write_json, write_text

TIMES = RESULTS / "notebooks.json"
ACCELERATORS = {"None": "none", "NvidiaTeslaT4": "GPU T4 x2"}
TARGET_MINUTES = 8
"""For all five together on the demo's clips, on two cores."""
_OPENING = re.compile(r"# (?P<title>.+)\n\n(?P<about>.+)\n")


def table(notebooks: list[Path], metadata: Path, measured: Mapping[str, Any]) -> str:
    """The table in Markdown.

    Args:
        notebooks: In their order.
        metadata: ``kaggle-metadata/``.
        measured: What `run_all` gave.
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
    """Run them one after the other in a copy of their folder, and say how many seconds each took."""
    load, seconds = round(os.getloadavg()[0], 1), dict[str, float]()
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DFUTILS_OFFLINE": "1", "DFUTILS_CACHE": f"{folder}/cache"}
        environment.pop("DFUTILS_WEIGHTS", None)
        shutil.copytree(notebooks[0].parent, f"{folder}/notebooks", ignore=shutil.ignore_patterns("output"))
        shutil.copytree(ROOT / "kaggle-metadata", f"{folder}/kaggle-metadata")
        for path in notebooks:
            copy, started = Path(folder, "notebooks", path.name), time.perf_counter()
            subprocess.run([*command, str(copy)], check=True, env=environment, cwd=copy.parent)
            seconds[path.stem] = round(time.perf_counter() - started, 1)
    return {"machine": describe_machine(), "load_before": load, "target_minutes": TARGET_MINUTES, "seconds": seconds}


def opening(path: Path) -> tuple[str, str]:
    """Title and first sentence of a notebook.

    Raises:
        ValueError: It opens otherwise.
    """
    match = _OPENING.match("".join(read_json(path)["cells"][0]["source"]))
    if not match:
        raise ValueError(f"{path}: does not open with a heading and a sentence.")
    return match["title"], match["about"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="take the times anew")
    options = parser.parse_args()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if options.run:
        measured = run_all(notebooks)
        write_json(TIMES, measured)
        print(f"{sum(measured['seconds'].values()) / 60:.1f} minutes (target ≤ {TARGET_MINUTES})")
    write_text(RESULTS / "notebooks.md", table(notebooks, ROOT / "kaggle-metadata", read_json(TIMES)))


if __name__ == "__main__":
    main()
