"""Put the tables in ``benchmarks/results`` and ``research/results`` into the pages that show them.

    python -m benchmarks.tables

A page marks the place of a table with ``<!-- begin NAME -->`` and ``<!-- end NAME -->``. README.md shows one small
table, ``summary``, which is made from ``research/results/third_release.json``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import RESEARCH_RESULTS, RESULTS, ROOT, with_interval
from dfutils.files import read_json, write_text

BLOCK = re.compile(r"(<!-- begin (?P<name>[a-z_]+) -->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)

SUMMARY = {
    "dfdc_test_auc": "Deepfake Detection Challenge (DFDC), face crops of new people: AUC",
    "dfdc_test_answered": "DFDC: answered REAL or FAKE",
    "dfdc_test_answered_right": "DFDC: answers that are right",
    "dfdc_test_fake_answered_fake": "DFDC: FAKE called FAKE",
    "dfdc_test_real_answered_fake": "DFDC: REAL called FAKE",
    "photos_test_real_answered_fake": "Photographs of new people: REAL called FAKE",
    "celeba_real_answered_fake": "Photographs of a data set that no training has seen (CelebA): REAL called FAKE",
}

NOT_SHARES = ("auc", "log_loss", "ece_even_mix")
"""Figures of `research.measure` that are no shares of images."""


def figure_text(key: str, estimate: Mapping[str, float | None]) -> str:
    """Return a figure of `research.measure` with its interval: shares as percentages."""
    return with_interval(estimate, is_share=not key.endswith(NOT_SHARES), missing="")


def pages() -> list[Path]:
    """Return every page that may show a table."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


def read_tables() -> dict[str, str]:
    """Return every generated table by its name."""
    paths = [path for folder in (RESULTS, RESEARCH_RESULTS) for path in folder.glob("*.md")]
    return {path.stem: path.read_text(encoding="utf-8") for path in paths}


def summary(results: Mapping[str, Any]) -> str:
    """Return the front page's table of what the shipped detector scores, from ``third_release.json``."""
    rows = [f"| {words} | {figure_text(key, results['figures'][key])} |" for key, words in SUMMARY.items()]
    return "\n".join(["| test | measured |", "|---|---|", *rows]) + "\n"


def filled(page: str, tables: Mapping[str, str]) -> str:
    """Return the text of a page with every marked block replaced by its table.

    Raises:
        KeyError: A block names a table that does not exist.
    """
    return BLOCK.sub(lambda block: f"{block[1]}\n{tables[block['name']]}\n{block[3]}", page)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_text(RESEARCH_RESULTS / "summary.md", summary(read_json(RESEARCH_RESULTS / "third_release.json")))
    tables = read_tables()
    for page in pages():
        write_text(page, filled(page.read_text(encoding="utf-8"), tables))


if __name__ == "__main__":
    main()
