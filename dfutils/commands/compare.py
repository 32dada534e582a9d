"""``dfutils compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import needing, print_result
from dfutils.commands.options import add_engine_option

EXAMPLE = "dfutils compare run-1 run-2 --faces faces --out comparison"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "detectors",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="run folders, included detectors by name, or hf://OWNER/NAME; the others are compared with the first",
    )
    parser.add_argument("--faces", type=Path, required=True, metavar="FACES", help="face dataset to measure them on")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="report folder to write")
    add_engine_option(parser)


def run(options: argparse.Namespace) -> None:
    """Measure all detectors on the videos that none of them used in training or validation."""
    if len(options.detectors) < 2:
        options.usage_error("RUN: give two or more")
    with needing("report", "the report"):
        from dfutils.report.comparison import compare_runs

    comparison = compare_runs(options.detectors, options.faces, options.out, engine=options.engine)
    print_result(options, comparison.document, [*comparison.lines, f"Report: {options.out / 'report.html'}"])
