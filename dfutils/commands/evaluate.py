"""``dfutils evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import count, needing, print_result
from dfutils.commands.options import add_engine_option

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
        "faces",
        type=Path,
        nargs="*",
        metavar="FACES|VIDEOS",
        help="face datasets, measured together and one by one, or one folder of videos with --labels",
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
    parser.add_argument(
        "--labels",
        metavar="LABELS",
        help="CSV for --verdicts or --slice; for a folder of videos, its labels as in dfutils extract",
    )
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
    add_engine_option(parser)


def run(options: argparse.Namespace) -> None:
    """Measure the detector and write the report, including the results of `dfutils stress` in the same folder."""
    from dfutils.extraction.catalogue import read_columns

    if options.verdicts:
        if options.detector or options.explain or options.split != "test" or options.engine != "auto":
            options.usage_error("--verdicts: they are already scored; omit RUN, FACES, --split, --explain and --engine")
        if not options.labels:
            options.usage_error("--verdicts needs --labels CSV")
        with needing("report", "the report"):
            from dfutils.report.verdicts import evaluate_verdicts

        metrics = evaluate_verdicts(options.verdicts, Path(options.labels), options.out, columns=options.slice)
    else:
        if not options.faces:
            options.usage_error("the following arguments are required: RUN and FACES or VIDEOS, or --verdicts VERDICTS")
        from dfutils.extraction.catalogue import read_catalogue
        from dfutils.extraction.dataset import is_face_dataset

        others = [folder for folder in options.faces if options.labels and not is_face_dataset(folder)]
        unlabelled = [folder for folder in options.faces if folder.is_dir() and not is_face_dataset(folder)]
        if unlabelled and not options.labels:
            options.usage_error(
                f"{unlabelled[0]}: is not a face dataset. If it holds videos, give their labels, as --labels folders "
                f"or --labels CSV, or extract their faces first, with dfutils extract {unlabelled[0]} --out FACES"
            )
        if others and len(options.faces) > 1:
            options.usage_error(f"{others[0]}: is not a face dataset. A folder of videos is measured by itself")
        if not others and bool(options.slice) != bool(options.labels):
            options.usage_error("--slice COLUMN needs --labels CSV, and --labels CSV needs --slice COLUMN")
        if options.slice and not Path(options.labels).is_file():
            options.usage_error(f"--slice COLUMN needs a CSV as --labels, and there is no file {options.labels}")
        slices = read_columns(Path(options.labels), options.slice) if options.slice else {}
        with needing("report", "the report"):
            from dfutils.report.evaluate import evaluate

        metrics = evaluate(
            options.detector,
            read_catalogue(others[0], options.labels) if others else options.faces,
            options.out,
            split=options.split,
            slices=slices,
            explain=options.explain,
            engine=options.engine,
        )
    from dfutils.report.wording import headline

    print_result(options, metrics, [headline(metrics), f"Report: {options.out / 'report.html'}"])
