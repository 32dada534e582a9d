"""``dfutils predict``, ``export`` and ``models``."""

from __future__ import annotations

import argparse
import json
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfutils.commands.base import command, count, print_result, say
from dfutils.pretrained import default_model

if TYPE_CHECKING:
    from dfutils.prediction.detector import Detector
    from dfutils.records import Label, Verdict

logger = logging.getLogger(__name__)

EXIT_FOUND = 3
"""Of ``predict --fail-on`` where a verdict is one of those."""


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands, "predict", "say whether videos or images are fake", "dfutils predict clip.mp4 photo.jpg --model run"
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="videos, images, or folders of them")
    default = default_model()
    parser.add_argument(
        "--model",
        default=default,
        required=default is None,
        metavar="RUN",
        help=f"run folder, or a name that `dfutils models` lists{f' (default: {default})' if default else ''}",
    )
    parser.add_argument("--workers", type=count, default=1, help="inputs decoded at a time (default: %(default)s)")
    parser.add_argument("--json-lines", action="store_true", help="print one JSON document a verdict, as they come")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write a table of all verdicts")
    parser.add_argument("--frames-dir", type=Path, metavar="DIR", help="also write the faces that were looked at")
    parser.add_argument(
        "--engine",
        choices=["auto", "keras", "light"],
        default="auto",
        help="light needs OpenVINO and no TensorFlow; auto (default) takes it where it is installed and knows the "
        "network, and else keras",
    )
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="DIR",
        help="also write the faces with heat maps of where FAKE is seen; needs TensorFlow",
    )
    parser.add_argument(
        "--fail-on",
        choices=["REAL", "FAKE", "UNDECIDED"],
        action="append",
        default=[],
        metavar="LABEL",
        help="exit with 3 if any verdict is this (may be repeated)",
    )
    parser.epilog = f"{parser.epilog}\n\nexit codes: 0 verdicts were given, unreadable inputs included; 1 failure; "
    parser.epilog += "2 wrong use; 3 --fail-on; 130 interrupted"
    parser.set_defaults(run=_predict, usage_error=parser.error)


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "export",
        "write a detector for the light engine, if it proves equal to Keras",
        "dfutils export run faces --precision int8",
    )
    parser.add_argument("detector", metavar="RUN", help="run folder, or a name that `dfutils models` lists")
    parser.add_argument("faces", type=Path, metavar="FACES", help="face dataset that it was trained on")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "int8"],
        default="float32",
        help="int8 also needs nncf (default: %(default)s)",
    )
    parser.add_argument("--most", type=count, metavar="N", help="compare on at most N clips")
    parser.set_defaults(run=_export)


def _add_models(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "models", "list the detectors that come with the package", "dfutils models")
    parser.set_defaults(run=_models)


def _predict(options: argparse.Namespace) -> int:
    from dfutils.extraction.isolation import close_children, start_child

    if options.explain and options.engine == "light":
        options.usage_error("--explain: heat maps are drawn by Keras; leave --engine light out")
    if options.json and options.json_lines:
        options.usage_error("--json prints one document of all verdicts, --json-lines one of each: leave one out")
    start_child()  # it imports its decoder while this process imports the engine
    try:
        return _predict_all(options)
    except BaseException:  # Ctrl-C among them: nobody waits for the videos that are being decoded
        close_children()
        raise


def _predict_all(options: argparse.Namespace) -> int:
    from dfutils.prediction.detector import load_detector, verdict_document
    from dfutils.prediction.inputs import expand_inputs
    from dfutils.prediction.outputs import write_verdicts

    inputs = expand_inputs(options.inputs)
    detector = load_detector(options.model, engine="keras" if options.explain else options.engine)
    logger.info("Detector: %s, on the engine %s", detector.settings.name, detector.engine)
    labels: set[Label] = set()
    kept: list[Verdict] = []

    def noted() -> Iterator[Verdict]:
        for verdict in _shown(options, detector, inputs):
            labels.add(verdict.label)
            if options.json:  # only one document of all needs them: a folder of any size fits into memory otherwise
                kept.append(verdict)
            yield verdict

    if options.csv:
        write_verdicts(options.csv, noted())
    else:
        deque(noted(), maxlen=0)
    if options.json:
        print_result(options, verdict_document(detector, kept), [])
    return EXIT_FOUND if labels & set(options.fail_on) else 0


def _shown(options: argparse.Namespace, detector: Detector, inputs: Sequence[str]) -> Iterator[Verdict]:
    """Verdicts as they come, printed and their faces written on the way."""
    from dfutils.prediction.outputs import input_folder, plain_verdict, write_faces
    from dfutils.prediction.wording import verdict_line

    for number, (verdict, extraction) in enumerate(detector.examine_many(inputs, workers=options.workers)):
        if options.frames_dir:
            write_faces(options.frames_dir, number, verdict, extraction)
        if options.explain and extraction is not None:
            from dfutils.prediction.explanation import write_heat_maps

            write_heat_maps(input_folder(options.explain, number, verdict), detector, extraction.clips)
        if options.json_lines:
            say(json.dumps({"detector": detector.about, **plain_verdict(verdict)}))
        elif not options.json:
            print_result(options, None, [verdict_line(verdict)])
        yield verdict


def _export(options: argparse.Namespace) -> None:
    from dfutils.prediction.export import export_detector
    from dfutils.pretrained import run_folder

    run = run_folder(options.detector)
    exports = export_detector(run, options.faces, precision=options.precision, most=options.most)
    lines = [
        f"{run}: exported to {one.precision}; on {one.clips} clips the largest difference of a probability is "
        f"{one.largest_difference:.2g}, {one.same_labels:.1%} of the labels are the same"
        + ("" if one.auc is None else f", AUC {one.auc:.4f} (Keras {one.auc_keras:.4f})")
        for one in exports
    ]
    print_result(options, {"run": str(run), "exports": [one.model_dump(mode="json") for one in exports]}, lines)


def _models(options: argparse.Namespace) -> None:
    from dfutils.pretrained import describe, pretrained_names

    models = [describe(name) for name in pretrained_names()]
    lines = [line for model in models for line in _model_lines(model)]
    print_result(
        options, {"models": models}, lines or ["No detector comes with this package. Train one: dfutils train."]
    )


def _model_lines(model: dict[str, Any]) -> list[str]:
    about = (
        f"{model['name']}: {model['model']}, {model['size']} pixels, {model['bytes'] / 1e6:.0f} MB. {model['about']}"
    )
    return [about, *(f"  {words}: {value}" for words, value in model["measured"].items()), f"  {model['licence']}"]


COMMANDS = (_add_predict, _add_export, _add_models)
