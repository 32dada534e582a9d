"""``dfutils calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import print_result

EXAMPLE = "dfutils calibrate run --operating-point fpr_5 --max-error 0.1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("detector", type=Path, metavar="RUN", help="run folder; its detector.json is written anew")
    parser.add_argument(
        "--method", choices=["temperature", "isotonic"], default="temperature", help="default: %(default)s"
    )
    parser.add_argument(
        "--operating-point",
        default="balanced_accuracy",
        metavar="RULE",
        help="balanced_accuracy (default); fpr_1 or fpr_5 (highest true positive rate with a false positive rate of at "
        "most so many %%); or cost_10 (a false positive costs ten missed fakes)",
    )
    band = parser.add_mutually_exclusive_group()
    band.add_argument(
        "--undecided", type=float, nargs=2, metavar=("LOW", "HIGH"), help="answer UNDECIDED between these probabilities"
    )
    band.add_argument(
        "--max-error",
        type=float,
        metavar="SHARE",
        help="answer UNDECIDED in the narrowest band that leaves at most this share of the other answers wrong",
    )
    parser.add_argument(
        "--min-face-pixels",
        type=int,
        metavar="N",
        help="people with a smaller face in the input do not decide (0: everybody does; default: unchanged)",
    )
    parser.add_argument(
        "--out-of-fold",
        type=Path,
        metavar="FOLDS",
        help="fit on the out-of-fold scores of a run of folds with the same settings and data: many more clips than "
        "one validation split",
    )


def run(options: argparse.Namespace) -> None:
    """Fit calibration and threshold again."""
    from dfutils.runs.calibration import recalibrate

    detector = recalibrate(
        options.detector,
        method=options.method,
        rule=options.operating_point,
        undecided=tuple(options.undecided) if options.undecided else None,
        max_error=options.max_error,
        min_face_pixels=options.min_face_pixels,
        out_of_fold=options.out_of_fold,
    )
    if detector.members:
        from dfutils.evaluation.folds import summarise_folds

        summarise_folds(options.detector)
    band = "" if detector.undecided is None else ", UNDECIDED between {:.3f} and {:.3f}".format(*detector.undecided)
    faces = f", faces from {detector.min_face_pixels} pixels" if detector.min_face_pixels else ""
    line = f"{detector.name}: {detector.calibration} calibration, threshold {detector.threshold:.3f}{band}{faces}"
    print_result(options, detector.model_dump(mode="json"), [line])
