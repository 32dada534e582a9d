"""``dfutils predict``."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dfutils.commands.base import count, print_result, say, share, show
from dfutils.commands.options import add_engine_option, shard
from dfutils.pretrained import default_model
from dfutils.statistics.formatting import probability_text

if TYPE_CHECKING:
    from dfutils.prediction.detector import Detector
    from dfutils.records import Image, Verdict

logger = logging.getLogger(__name__)

EXIT_FOUND = 3
"""Exit code when ``--fail-on`` matches a verdict."""

EXIT_ENDED = 143
"""Exit code when SIGTERM ended an archive's job; what is finished is kept."""

EXAMPLE = "dfutils predict clip.mp4 photo.jpg --model run"

EXIT_CODES = (
    "exit codes: 0 verdicts were given, even if UNDECIDED; 1 failure; 2 wrong usage; 3 --fail-on matched; "
    "130 interrupted; 143 ended by SIGTERM (--out: after the file at hand)"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="videos, images, folders of them, or URLs")
    default = default_model()
    parser.add_argument(
        "--model",
        default=default,
        required=default is None,
        metavar="RUN",
        help="run folder, a name that `dfutils models` lists, or hf://OWNER/NAME@REVISION"
        + (f" (default: {default})" if default else ""),
    )
    parser.add_argument("--workers", type=count, default=1, help="inputs decoded at a time (default: %(default)s)")
    parser.add_argument("--json-lines", action="store_true", help="print one JSON document per verdict, in order")
    parser.add_argument(
        "--prior",
        type=share,
        metavar="SHARE",
        help="expected share of FAKE among the inputs, for which probabilities are given (default: 0.5; of a "
        "detector of an earlier version, the share in the clips that it was calibrated on)",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write a table of all verdicts")
    parser.add_argument("--frames-dir", type=Path, metavar="DIR", help="also write the faces that were examined")
    add_engine_option(parser)
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="DIR",
        help="also write the faces with heat maps of what raises the score; needs TensorFlow",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="also write a page about the verdict on a single input, as HTML, to be read offline or printed; with "
        "--explain it has the heat maps too",
    )
    archive = parser.add_argument_group("archives", "verdicts on many files, in a folder that can be continued")
    archive.add_argument("--out", type=Path, metavar="VERDICTS", help="verdict folder; needs pyarrow")
    archive.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="CSV or Parquet with a column file, and perhaps id",
    )
    archive.add_argument(
        "--shard", type=shard, default="1/1", metavar="I/N", help="examine part i of n (default: %(default)s)"
    )
    archive.add_argument("--scheduler", default="", metavar="tcp://…", help="use the workers of this Dask scheduler")
    archive.add_argument("--retry-errors", action="store_true", help="retry files that could not be read")
    archive.add_argument(
        "--max-error-rate",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="end with an error if more than this share cannot be read (default: %(default)s)",
    )
    parser.add_argument(
        "--fail-on",
        choices=["REAL", "FAKE", "UNDECIDED", "incomplete"],
        action="append",
        default=[],
        metavar="LABEL",
        help="exit with 3 if any verdict has this label, or (incomplete) if any file is truncated; may be repeated",
    )
    parser.epilog = f"{parser.epilog}\n\n{EXIT_CODES}"


def run(options: argparse.Namespace) -> int:
    """Print a verdict for each input, in the order given."""
    from dfutils.extraction.isolation import close_children, start_child
    from dfutils.extraction.remote import is_url

    if options.json and options.json_lines:
        options.usage_error("--json prints one document of all verdicts, --json-lines one per verdict: omit one")
    if not options.inputs and options.manifest is None:
        options.usage_error("the following arguments are required: INPUT, or --manifest FILE")
    if options.inputs and options.manifest is not None:
        options.usage_error("--manifest names the inputs: omit the others")
    if options.out is None and (
        options.manifest or str(options.shard) != "1/1" or options.scheduler or options.retry_errors
    ):
        options.usage_error("--manifest, --shard, --scheduler and --retry-errors need a verdict folder: give --out")
    if not 0 < options.max_error_rate <= 1:
        options.usage_error(f"--max-error-rate: must be above 0 and at most 1. Received: {options.max_error_rate:g}")
    others = ("json_lines", "csv", "frames_dir", "explain", "report", "fail_on")
    if options.out is not None and (given := [name for name in others if getattr(options, name)]):
        options.usage_error(f"--out writes a verdict folder: omit --{given[0].replace('_', '-')}")
    if options.report and is_url(options.inputs[0]):
        options.usage_error("--report states facts of the file, which must be here: download it first")
    if options.report and len(options.inputs) > 1:
        options.usage_error("--report writes a page about one input: name a single file")
    start_child()  # the child imports its decoder while this process imports the engine
    try:
        return _predict_all(options) if options.out is None else _predict_archive(options)
    except BaseException:  # also Ctrl-C: do not wait for videos that are being decoded
        close_children()
        raise


def _predict_archive(options: argparse.Namespace) -> int:
    from dfutils.extraction.isolation import close_children
    from dfutils.extraction.remote import is_url
    from dfutils.prediction.archive import ArchiveItem, predict_archive, read_archive
    from dfutils.prediction.batch import expand_inputs

    if options.manifest is not None:
        items = read_archive(options.manifest)
    else:
        items = [
            ArchiveItem.of(name, name if is_url(name) else Path(name))
            for name in dict.fromkeys(expand_inputs(options.inputs))
        ]
    summary = predict_archive(
        _load(options),
        items,
        options.out,
        shard=options.shard,
        workers=options.workers,
        scheduler=options.scheduler,
        retry_errors=options.retry_errors,
        max_error_rate=options.max_error_rate,
    )
    show(options, summary)
    if summary.was_ended:
        close_children()  # do not wait for videos that are being decoded
    return EXIT_ENDED if summary.was_ended else 0


def _load(options: argparse.Namespace) -> Detector:
    from dfutils.prediction.detector import load_detector

    detector = load_detector(options.model, engine=options.engine)
    if options.prior is not None:
        detector = detector.for_prior(options.prior)
    if options.explain:
        _ = detector.reference  # loaded now, so that a missing TensorFlow is reported before any work
    shares = map(probability_text, (*detector.answer_range, detector.prior))
    described = (detector.settings.name, detector.engine, *shares)
    logger.info("Detector: %s, on the engine %s; REAL up to %s, FAKE from %s on; prior %s", *described)
    return detector


def _predict_all(options: argparse.Namespace) -> int:
    from dfutils.prediction.batch import expand_inputs
    from dfutils.prediction.detector import verdict_document
    from dfutils.prediction.outputs import write_verdicts
    from dfutils.records import Reason

    inputs = expand_inputs(options.inputs)
    if options.report and len(inputs) > 1:
        options.usage_error(f"--report writes a page about one input, but {options.inputs[0]} holds {len(inputs)}")
    _check_outputs(options, inputs)
    detector = _load(options)
    outcomes: set[str] = set()
    reasons: set[Reason] = set()
    kept: list[Verdict] = []

    def noted() -> Iterator[Verdict]:
        for verdict in _shown(options, detector, inputs):
            outcomes.update([verdict.label, *(["incomplete"] if verdict.is_incomplete else [])])
            reasons.add(verdict.reason)
            if options.json:  # otherwise verdicts are not kept, so that memory suffices for a folder of any size
                kept.append(verdict)
            yield verdict

    if options.csv:
        write_verdicts(options.csv, noted())
    else:
        deque(noted(), maxlen=0)
    if options.json:
        print_result(options, verdict_document(detector, kept), [])
    elif not options.json_lines and reasons - {Reason.UNREADABLE, Reason.TOO_LARGE}:
        from dfutils.report.verdict_words import ONLY_FACES

        logger.info("%s", ONLY_FACES)
    return EXIT_FOUND if outcomes & set(options.fail_on) else 0


def _check_outputs(options: argparse.Namespace, inputs: Sequence[str]) -> None:
    """Fail before any work if an output would replace an input or another output, or a page cannot be written."""
    from dfutils.files import check_writable

    named: dict[str, str] = {}
    for name in ("csv", "report", "frames_dir", "explain"):
        if (path := getattr(options, name)) is None:
            continue
        option, place = f"--{name.replace('_', '-')}", os.path.realpath(path)
        if other := named.get(place):
            options.usage_error(f"{option} and {other} name the same path: {path}")
        named[place] = option
    if not named:
        return
    for given in inputs:
        if taken := named.get(os.path.realpath(given)):
            options.usage_error(f"{taken}: {given} is an input. Choose another path")
    if options.report:
        check_writable(options.report)


def _shown(options: argparse.Namespace, detector: Detector, inputs: Sequence[str]) -> Iterator[Verdict]:
    """Yield each verdict as soon as it is ready, after printing it and writing its faces."""
    from dfutils.prediction.outputs import credentials_line, input_folder, plain_verdict, verdict_line, write_faces

    for number, (verdict, extraction) in enumerate(detector.examine_many(inputs, workers=options.workers)):
        if options.frames_dir:
            write_faces(options.frames_dir, number, verdict, extraction)
        maps: dict[int, dict[int, Image]] = {}
        if options.explain and extraction is not None:
            from dfutils.prediction.explanation import heat_images, write_heat_maps

            maps = {clip.track: heat_images(detector, clip) for clip in extraction.clips}
            write_heat_maps(input_folder(options.explain, number, verdict), maps)
        if options.report:
            from dfutils.files import write_text
            from dfutils.report.verdict_page import MOST_PEOPLE, people_who_count, verdict_page

            shown = {person: maps[person] for person in people_who_count(verdict)[:MOST_PEOPLE] if person in maps}
            page = verdict_page(verdict, extraction, detector, file=Path(verdict.input), maps=shown)
            write_text(options.report, page)
        if options.json_lines:
            say(json.dumps({"detector": detector.about, **plain_verdict(verdict)}))
        elif not options.json:
            print_result(options, None, [line for line in (verdict_line(verdict), credentials_line(verdict)) if line])
        yield verdict
