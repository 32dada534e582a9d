"""``dfutils calibrate``."""

from __future__ import annotations

import argparse
import functools
import re
from pathlib import Path

from dfutils.commands.base import answer_lines, count, print_result, share

EXAMPLE = "dfutils calibrate run --max-fpr 0.01 --max-fnr 0.05"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from dfutils.runs.thresholds import MAX_FALSE_NEGATIVE_RATE, MAX_FALSE_POSITIVE_RATE

    parser.description = (
        f"{parser.description}; options that are omitted return to their defaults, except --min-face-pixels"
    )
    parser.add_argument("detector", type=Path, metavar="RUN", help="run folder; its detector.json is replaced")
    parser.add_argument("--method", choices=["platt", "isotonic"], default="platt", help="default: %(default)s")
    parser.add_argument(
        "--operating-point",
        default="balanced_accuracy",
        metavar="RULE",
        help="threshold of the two-class metrics in reports; it does not change the answers, for which --max-fpr is: "
        "balanced_accuracy (default), fpr_N (highest true positive rate at a false positive rate of at most N %%) or "
        "cost_N (a false positive costs as much as N missed fakes)",
    )
    parser.add_argument(
        "--max-fpr",
        type=share,
        default=MAX_FALSE_POSITIVE_RATE,
        metavar="SHARE",
        help="share of REAL videos of new people that may be called FAKE (default: %(default)s); a lower one leaves "
        "more videos UNDECIDED",
    )
    parser.add_argument(
        "--max-fnr",
        type=share,
        default=MAX_FALSE_NEGATIVE_RATE,
        metavar="SHARE",
        help="share of FAKE videos of new people that may be called REAL (default: %(default)s)",
    )
    parser.add_argument(
        "--min-face-pixels",
        type=functools.partial(count, minimum=0),
        metavar="N",
        help="ignore people with a smaller face in the input (0: ignore nobody; default: unchanged)",
    )
    parser.add_argument(
        "--out-of-fold",
        type=Path,
        metavar="FOLDS",
        help="fit on the out-of-fold scores of a run with --folds and the same settings and data, which cover many "
        "more clips than one validation split",
    )


def run(options: argparse.Namespace) -> None:
    """Refit calibration and threshold; for an ensemble, measure the folds again."""
    if options.detector.as_posix().startswith("hf:"):
        options.usage_error("a detector of the Hub comes without its validation scores and cannot be calibrated anew")
    from dfutils.pretrained import resolve_detector
    from dfutils.runs.calibration import recalibrate
    from dfutils.runs.record import RULE_FORMS, RULE_PATTERN

    if not re.fullmatch(RULE_PATTERN, options.operating_point):
        options.usage_error(f"--operating-point: there is no rule {options.operating_point!r}. Give {RULE_FORMS}")
    run_folder = resolve_detector(options.detector)
    detector = recalibrate(
        run_folder,
        method=options.method,
        rule=options.operating_point,
        max_false_positive_rate=options.max_fpr,
        max_false_negative_rate=options.max_fnr,
        min_face_pixels=options.min_face_pixels,
        out_of_fold=options.out_of_fold,
    )
    if detector.members:
        from dfutils.evaluation.out_of_fold import summarise_folds

        summarise_folds(run_folder)
    print_result(options, detector.model_dump(mode="json"), [f"{detector.name}:", *answer_lines(detector)])
