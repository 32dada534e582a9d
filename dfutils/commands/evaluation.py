"""``dfutils evaluate``, ``compare`` and ``calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import command, print_result


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands, "evaluate", "measure a detector and write a report", "dfutils evaluate run faces --out report"
    )
    parser.add_argument("detector", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("faces", type=Path, nargs="+", metavar="FACES", help="face dataset; several are also compared")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="report folder to write")
    parser.add_argument("--split", choices=["train", "validation", "test", "all"], default="test", help="default: test")
    parser.add_argument(
        "--explain", type=int, default=0, metavar="N", help="explain N clips with pictures, half a minute each"
    )
    group = parser.add_argument_group("robustness")
    group.add_argument("--stress", action="store_true", help="damage the videos in many ways and measure again")
    group.add_argument("--videos", type=Path, metavar="SOURCE", help="folder that the face dataset was cut from")
    group.add_argument(
        "--labels", default="folders", help="as for `dfutils extract` (default: folders); only listed videos are used"
    )
    group.add_argument("--stress-videos", type=int, default=60, metavar="N", help="at most so many (default: 60)")
    group.add_argument("--kinds", nargs="+", metavar="KIND", help="jpeg, h264, …; all by default")
    parser.set_defaults(run=_evaluate, usage_error=parser.error)


def _add_compare(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "compare",
        "measure several detectors side by side, with paired differences",
        "dfutils compare run-1 run-2 --faces faces --out comparison",
    )
    parser.add_argument("detectors", type=Path, nargs="+", metavar="RUN", help="run folders; the first is the measure")
    parser.add_argument("--faces", type=Path, required=True, metavar="FACES", help="face dataset to measure them on")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="report folder to write")
    parser.set_defaults(run=_compare, usage_error=parser.error)


def _add_calibrate(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "calibrate",
        "choose calibration, operating point and undecided band of a trained detector, on clips it was not trained on",
        "dfutils calibrate run --operating-point fpr_5 --max-error 0.1",
    )
    parser.add_argument("detector", type=Path, metavar="RUN", help="run folder; its detector.json is written anew")
    parser.add_argument(
        "--method", choices=["temperature", "isotonic"], default="temperature", help="default: temperature"
    )
    parser.add_argument(
        "--operating-point",
        default="balanced_accuracy",
        metavar="RULE",
        help="balanced_accuracy (default), fpr_1, fpr_5 (most FAKE found with so many %% false alarms), or cost_10 (a "
        "false alarm costs ten missed fakes)",
    )
    band = parser.add_mutually_exclusive_group()
    band.add_argument("--undecided", type=float, nargs=2, metavar=("LOW", "HIGH"), help="say UNDECIDED between these")
    band.add_argument(
        "--max-error", type=float, metavar="SHARE", help="the narrowest band with at most this error outside"
    )
    parser.add_argument(
        "--min-face-pixels",
        type=int,
        metavar="N",
        help="people whose face is smaller than this in the input do not decide (0: everybody does; default: as it is)",
    )
    parser.add_argument(
        "--out-of-fold",
        type=Path,
        metavar="FOLDS",
        help="fit on the out-of-fold scores of a run of folds with the same settings and data: many more clips than "
        "one validation split",
    )
    parser.set_defaults(run=_calibrate, usage_error=parser.error)


def _evaluate(options: argparse.Namespace) -> None:
    if options.stress != bool(options.videos):
        options.usage_error("--stress and --videos SOURCE need each other: damaged videos are cut anew")
    from dfutils.evaluation.evaluate import evaluate
    from dfutils.evaluation.wording import headline

    sections = []
    if options.stress:
        from dfutils.evaluation.stress import stress_section, stress_test
        from dfutils.extraction.catalogue import read_catalogue

        rows = stress_test(
            options.detector,
            read_catalogue(options.videos, options.labels),
            options.out / "stress",
            split=options.split,
            kinds=options.kinds,
            most=options.stress_videos,
        )
        sections.append(stress_section(rows))
    faces = options.faces[0] if len(options.faces) == 1 else options.faces
    metrics = evaluate(
        options.detector, faces, options.out, split=options.split, explain=options.explain, sections=sections
    )
    print_result(options, metrics, [headline(metrics), f"Report: {options.out / 'report.html'}"])


def _compare(options: argparse.Namespace) -> None:
    if len(options.detectors) < 2:
        options.usage_error("RUN: needs two or more")
    from dfutils.evaluation.compare import compare_runs

    comparison = compare_runs(options.detectors, options.faces, options.out)
    print_result(options, comparison.document, [*comparison.lines, f"Report: {options.out / 'report.html'}"])


def _calibrate(options: argparse.Namespace) -> None:
    from dfutils.training.calibration import recalibrate

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
    line = f"{detector.name}: {detector.calibration} calibration, operating point {detector.threshold:.3f}{band}{faces}"
    print_result(options, detector.model_dump(mode="json"), [line])


COMMANDS = (_add_evaluate, _add_compare, _add_calibrate)
