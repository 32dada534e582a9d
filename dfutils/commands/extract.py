"""``dfutils extract``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import count, show
from dfutils.commands.options import add_setting_options, settings_of, shard

EXAMPLE = "dfutils extract videos/ --labels videos/labels.csv --out faces --workers 2"

SETTINGS = ("frames", "size", "margin", "sampling", "tracks", "crop", "image_format", "incomplete")
"""Fields of `ExtractionSettings` that have an option."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from dfutils.settings import ExtractionSettings

    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder of videos or images")
    parser.add_argument("--out", type=Path, required=True, metavar="FACES", help="face dataset to write or continue")
    parser.add_argument(
        "--labels",
        default="folders",
        help="folders (real/ and fake/), dfdc, faceforensics, celebdf, deepfakebench:FILE.json (its test split alone: "
        "deepfakebench-test:FILE.json), or a CSV with file,label[,group,dataset,split] (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=count, default=1, metavar="N", help="videos decoded at a time (default: %(default)s)"
    )
    parser.add_argument("--scheduler", default="", metavar="tcp://…", help="use the workers of this Dask scheduler")
    parser.add_argument(
        "--shard",
        type=shard,
        default="1/1",
        metavar="i/n",
        help="extract only this part; join the parts with dfutils merge",
    )
    parser.add_argument(
        "--trusted", action="store_true", help="decode your own videos without a child process and its limits"
    )
    parser.add_argument(
        "--verify", action="store_true", help="compare finished videos by their checksum, not by size and time alone"
    )
    add_setting_options(parser.add_argument_group("settings"), ExtractionSettings, SETTINGS)


def run(options: argparse.Namespace) -> None:
    """Extract the faces, and print how many videos yielded a clip."""
    from dfutils.extraction.catalogue import read_catalogue
    from dfutils.extraction.extract import extract_dataset
    from dfutils.settings import ExtractionSettings

    settings = settings_of(options, ExtractionSettings)
    summary = extract_dataset(
        read_catalogue(options.source, options.labels),
        options.out,
        settings=settings,
        workers=options.workers,
        scheduler=options.scheduler,
        trusted=options.trusted,
        shard=options.shard,
        verify=options.verify,
    )
    show(options, summary)
