"""``dfutils merge``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import show

EXAMPLE = "dfutils merge faces-1 faces-2 --out faces"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "shards", nargs="+", type=Path, metavar="FOLDER", help="face datasets, or verdict folders, one per shard"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write")


def run(options: argparse.Namespace) -> None:
    """Merge the shards."""
    if (options.shards[0] / "job.json").is_file():
        from dfutils.prediction.verdict_folder import merge_verdicts

        show(options, merge_verdicts(options.shards, options.out))
        return
    from dfutils.extraction.shards import merge_datasets

    show(options, merge_datasets(options.shards, options.out))
