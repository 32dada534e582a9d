"""``dfutils evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import count, print_result

EXAMPLE = "dfutils evaluate run faces --out report"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "detector",
        type=Path,
        nargs="?",
        metavar="RUN",
        help="run folder, an included detector by name, or hf://OWNER/NAME",
    )
    parser.add_argument(
        "faces", type=Path, nargs="*", metavar="FACES", help="face datasets, measured together and one by one"
    )
    parser.add_argument(
        "--verdicts",
        type=Path,
        metavar="VERDICTS",
        help="measure a verdict folder of `dfutils predict --out` against --labels, instead of RUN on FACES",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="report folder to write")
    parser.add_argument(
        "--split", choices=["train", "validation", "test", "all"], default="test", help="default: %(default)s"
    )
    parser.add_argument("--labels", type=Path, metavar="CSV", help="label file, for --verdicts and --slice")
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="COLUMN",
        help="also measure the videos of each value of this column, such as an age or a camera; may be repeated",
    )
    parser.add_argument(
        "--explain", type=count, default=0, metavar="N", help="explain N clips with heat maps; half a minute each"
    )


def run(options: argparse.Namespace) -> None:
    """Measure the detector and write the report, including the results of `dfutils stress` in the same folder."""
    from dfutils.extraction.catalogue import read_columns
    from dfutils.report.wording import headline

    if options.verdicts:
        if options.detector or options.explain or options.split != "test":
            options.usage_error("--verdicts has been scored: omit RUN, FACES, --split and --explain")
        if not options.labels:
            options.usage_error("--verdicts needs --labels CSV")
        from dfutils.report.verdicts import evaluate_verdicts

        metrics = evaluate_verdicts(options.verdicts, options.labels, options.out, columns=options.slice)
    else:
        if not options.faces:
            options.usage_error("the following arguments are required: RUN and FACES, or --verdicts VERDICTS")
        if bool(options.slice) != bool(options.labels):
            options.usage_error("--slice COLUMN needs --labels CSV, and --labels CSV needs --slice COLUMN")
        from dfutils.report.evaluate import evaluate

        metrics = evaluate(
            options.detector,
            options.faces,
            options.out,
            split=options.split,
            slices=read_columns(options.labels, options.slice) if options.labels else {},
            explain=options.explain,
        )
    print_result(options, metrics, [headline(metrics), f"Report: {options.out / 'report.html'}"])
