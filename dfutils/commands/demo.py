"""``dfutils demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import count, show

EXAMPLE = "dfutils demo --out demo-output"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--people", type=count, default=24, metavar="N", help="made-up people, two clips each (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    """Run the demo and print its verdicts."""
    from dfutils.demo.pipeline import run_demo

    result = run_demo(options.out, people=options.people)
    show(options, result)
