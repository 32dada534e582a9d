"""``dfutils stress``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import count, needing, print_result
from dfutils.commands.options import add_engine_option

EXAMPLE = "dfutils stress run videos/ --labels videos/labels.csv --out report"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "detector", type=Path, metavar="RUN", help="run folder, an included detector by name, or hf://OWNER/NAME"
    )
    parser.add_argument("videos", type=Path, metavar="VIDEOS", help="folder that its face dataset was extracted from")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="REPORT", help="report folder; dfutils evaluate includes the results"
    )
    parser.add_argument(
        "--labels", default="folders", help="as for dfutils extract (default: folders); only listed videos are used"
    )
    parser.add_argument(
        "--split", choices=["train", "validation", "test", "all"], default="test", help="default: %(default)s"
    )
    parser.add_argument(
        "--kinds", nargs="+", metavar="KIND", help="such as jpeg and h264; an unknown one lists them (default: all)"
    )
    parser.add_argument(
        "--most", type=count, default=60, metavar="N", help="use at most N videos (default: %(default)s)"
    )
    add_engine_option(parser)


def run(options: argparse.Namespace) -> None:
    """Damage the videos of a split at several strengths, and measure the detector at each."""
    with needing("report", "the stress test"):
        from dfutils.evaluation.damage import DAMAGES
        from dfutils.evaluation.stress import stress_lines, stress_test
    if unknown := [kind for kind in options.kinds or () if kind not in DAMAGES]:
        options.usage_error(f"--kinds: {unknown[0]!r} is unknown. Choose from: {', '.join(DAMAGES)}")
    from dfutils.extraction.catalogue import read_catalogue

    rows = stress_test(
        options.detector,
        read_catalogue(options.videos, options.labels),
        options.out,
        split=options.split,
        kinds=options.kinds,
        most=options.most,
        engine=options.engine,
    )
    print_result(options, rows, stress_lines(rows))
