"""``dfutils calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import print_result

EXAMPLE = "dfutils calibrate run --operating-point fpr_5 --max-error 0.1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("detector", type=Path, metavar="RUN", help="run folder; its detector.json is replaced")
    parser.add_argument(
        "--method", choices=["temperature", "isotonic"], default="temperature", help="default: %(default)s"
    )
    parser.add_argument(
        "--operating-point",
        default="balanced_accuracy",
        metavar="RULE",
        help="balanced_accuracy (default); fpr_1 or fpr_5 (highest true positive rate at a false positive rate of at "
        "most 1 or 5 %%); or cost_10 (a false positive costs as much as ten missed fakes)",
    )
    band = parser.add_mutually_exclusive_group()
    band.add_argument(
        "--undecided", type=float, nargs=2, metavar=("LOW", "HIGH"), help="answer UNDECIDED between these probabilities"
    )
    band.add_argument(
        "--max-error",
        type=float,
        metavar="SHARE",
        help="answer UNDECIDED in the narrowest band that leaves at most this share of the other verdicts wrong",
    )
    parser.add_argument(
        "--min-face-pixels",
        type=int,
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
        from dfutils.evaluation.out_of_fold import summarise_folds

        summarise_folds(options.detector)
    band = "" if detector.undecided is None else ", UNDECIDED between {:.3f} and {:.3f}".format(*detector.undecided)
    faces = f", faces from {detector.min_face_pixels} pixels" if detector.min_face_pixels else ""
    line = f"{detector.name}: {detector.calibration} calibration, threshold {detector.threshold:.3f}{band}{faces}"
    print_result(options, detector.model_dump(mode="json"), [line])
