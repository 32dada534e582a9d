"""``dfutils merge``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import show

EXAMPLE = "dfutils merge faces-1 faces-2 --out faces"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("shards", nargs="+", type=Path, metavar="FACES", help="face datasets, one per shard")
    parser.add_argument("--out", type=Path, required=True, metavar="FACES", help="face dataset to write")


def run(options: argparse.Namespace) -> None:
    """Merge the shards."""
    from dfutils.extraction.shards import merge_datasets

    summary = merge_datasets(options.shards, options.out)
    show(options, summary)
