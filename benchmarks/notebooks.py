"""The README's table of notebooks, from the notebooks themselves and what they ask Kaggle for.

python -m benchmarks.notebooks

Title, what goes in and out, and time stand in each notebook's first cell; the accelerator is its ``machine_shape`` in
``kaggle-metadata/``.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.readme import ROOT
from dfutils.files import read_json, write_text

RESULTS = ROOT / "benchmarks" / "results"
ACCELERATORS = {"None": "none", "NvidiaTeslaT4": "GPU T4 x2"}
TIMED_ON = " on two CPU cores"
_OPENING = re.compile(r"# (?P<title>.+)\n\n(?P<about>.+)\n(?:.*\n)*\*\*Time:\*\* (?P<time>.+)")


def table(notebooks: list[Path], metadata: Path) -> str:
    """The table in Markdown.

    Args:
        notebooks: In their order.
        metadata: ``kaggle-metadata/``.
    """
    lines = [
        f"| notebook | what goes in and what comes out | accelerator on Kaggle | time for the demo's clips{TIMED_ON} |",
        "|---|---|---|---|",
    ]
    for path in notebooks:
        title, about, time = opening(path)
        shape = read_json(metadata / "notebooks" / path.stem / "kernel-metadata.json")["machine_shape"]
        lines.append(f"| [{title}](notebooks/{path.name}) | {about} | {ACCELERATORS[shape]} | {time} |")
    return "\n".join(lines) + "\n"


def opening(path: Path) -> tuple[str, str, str]:
    """Title, first sentence and time of a notebook.

    Raises:
        ValueError: It opens otherwise.
    """
    match = _OPENING.match("".join(read_json(path)["cells"][0]["source"]))
    if not match:
        raise ValueError(f"{path}: does not open with a heading, a sentence and a time.")
    return match["title"], match["about"], match["time"].removesuffix(TIMED_ON)


def main() -> None:
    """Command line."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    write_text(RESULTS / "notebooks.md", table(notebooks, ROOT / "kaggle-metadata"))


if __name__ == "__main__":
    main()
