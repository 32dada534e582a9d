"""``dfutils calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import print_result

EXAMPLE = "dfutils calibrate run --max-fpr 0.01 --max-fnr 0.05"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from dfutils.runs.thresholds import MAX_FALSE_NEGATIVE_RATE, MAX_FALSE_POSITIVE_RATE

    parser.add_argument("detector", type=Path, metavar="RUN", help="run folder; its detector.json is replaced")
    parser.add_argument("--method", choices=["platt", "isotonic"], default="platt", help="default: %(default)s")
    parser.add_argument(
        "--operating-point",
        default="balanced_accuracy",
        metavar="RULE",
        help="balanced_accuracy (default); fpr_1 or fpr_5 (highest true positive rate at a false positive rate of at "
        "most 1 or 5 %%); or cost_10 (a false positive costs as much as ten missed fakes)",
    )
    parser.add_argument(
        "--max-fpr",
        type=float,
        default=MAX_FALSE_POSITIVE_RATE,
        metavar="SHARE",
        help="share of REAL videos of new people that may be called FAKE (default: %(default)s); a lower one leaves "
        "more videos UNDECIDED",
    )
    parser.add_argument(
        "--max-fnr",
        type=float,
        default=MAX_FALSE_NEGATIVE_RATE,
        metavar="SHARE",
        help="share of FAKE videos of new people that may be called REAL (default: %(default)s)",
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
        max_false_positive_rate=options.max_fpr,
        max_false_negative_rate=options.max_fnr,
        min_face_pixels=options.min_face_pixels,
        out_of_fold=options.out_of_fold,
    )
    if detector.members:
        from dfutils.evaluation.out_of_fold import summarise_folds

        summarise_folds(options.detector)
    real_up_to, fake_from = detector.answer_range
    faces = f", faces from {detector.min_face_pixels} pixels" if detector.min_face_pixels else ""
    method = "Platt scaling" if detector.calibration == "platt" else "isotonic calibration"
    lines = [
        f"{detector.name}: {method}, REAL up to {real_up_to:.3f}, FAKE from {fake_from:.3f}, two-class threshold "
        f"{detector.threshold:.3f}{faces}"
    ]
    if (costs := detector.answer_costs) is not None:
        lines.append(
            f"On {detector.fitted_in_words}: {costs.false_positive_rate.value:.1%} of REAL called FAKE, "
            f"{costs.false_negative_rate.value:.1%} of FAKE called REAL, {costs.undecided.value:.1%} UNDECIDED. Bounds "
            f"for new, similar people: {costs.false_positive_bound:.1%} and {costs.false_negative_bound:.1%}."
        )
        if costs.false_positive_bound > options.max_fpr or costs.false_negative_bound > options.max_fnr:
            lines.append(
                f"{costs.real_groups} groups with REAL and {costs.fake_groups} with FAKE clips are too few for the "
                "shares that were asked for: train with more people, or use --out-of-fold."
            )
    print_result(options, detector.model_dump(mode="json"), lines)
