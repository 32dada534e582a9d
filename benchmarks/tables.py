"""Put the tables in ``results/*.md`` into the pages that show them, between the marks that name them.

    python -m benchmarks.tables

The pages are README.md, which shows the one small table ``summary``, those under docs/, and benchmarks/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfutils.files import read_json, write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- begin (?P<name>[a-z_]+) -->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)

SHIPPED = "with FaceForensics++ (shipped)"
"""The recipe in ``detector.json`` that the summary is about."""

SUMMARY = {
    "dfdc_auc": "face crops of new people, Deepfake Detection Challenge (DFDC): AUC",
    "folds_c23_auc": "FaceForensics++ clips, light compression (c23), five folds by source pair: AUC",
    "folds_c40_auc": "the same, heavy compression (c40): AUC",
    "dfdc_false_alarms": "REAL called FAKE, DFDC face crops of new people",
}


def pages() -> list[Path]:
    """Every page that may show a table."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


def summary(detector: Mapping[str, Any]) -> str:
    """The table of the front page: what the shipped detector scores, made of ``detector.json``."""
    measured = detector["recipes"][SHIPPED]
    rows = [
        f"| {words} | {measured[key]['value']:.2f} ({measured[key]['low']:.2f} to {measured[key]['high']:.2f}) |"
        for key, words in SUMMARY.items()
    ]
    return "\n".join(["| test | measured |", "|---|---|", *rows]) + "\n"


def filled(page: str, results: Path) -> str:
    """The text of a page with every marked block replaced by its table.

    Raises:
        FileNotFoundError: A block names a table that is not in ``results``.
    """

    def replace(match: re.Match[str]) -> str:
        table = (results / f"{match['name']}.md").read_text(encoding="utf-8")
        return f"{match[1]}\n{table}\n{match[3]}"

    return BLOCK.sub(replace, page)


def main() -> None:
    """Command line."""
    write_text(RESULTS / "summary.md", summary(read_json(RESULTS / "detector.json")))
    for page in pages():
        write_text(page, filled(page.read_text(encoding="utf-8"), RESULTS))


if __name__ == "__main__":
    main()
