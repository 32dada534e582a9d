"""The command ``dfutils``: thin, and quick to start because heavy parts are imported where they are used."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import dfutils
from dfutils.errors import DfutilsError

EXIT_FAILURE, EXIT_INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; the exit code is 0, 1 on failure, 2 on wrong use, 130 when interrupted."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for chatty in ("absl", "tensorflow"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        options.run(options)
    except DfutilsError as error:
        sys.stderr.write(f"dfutils {options.command}: {error}\n")
        return EXIT_FAILURE
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndfutils {options.command}: interrupted. Give the same command again to go on.\n")
        return EXIT_INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Every sub-command with its options and an example."""
    parser = argparse.ArgumentParser(prog="dfutils", description=dfutils.__doc__)
    parser.add_argument("--version", action="version", version=f"dfutils {dfutils.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_demo, _add_extract, _add_train, _add_evaluate, _add_predict):
        add(commands)
    return parser


def _command(commands: argparse._SubParsersAction, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--verbose", action="store_true", help="also log what is of interest only when something fails")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")
    return parser


def _add_demo(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "demo", "run the whole line on made-up clips", "dfutils demo --out demo-output")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--people", type=int, default=24, help="made-up people, two clips each (default: %(default)s)")
    parser.set_defaults(run=_demo)


def _add_extract(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "extract",
        "cut motion-chosen face crops out of labelled videos",
        "dfutils extract videos/ --labels videos/labels.csv --out faces --workers 2",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder of videos or images")
    parser.add_argument("--out", type=Path, required=True, metavar="FACES", help="face dataset to write or go on with")
    parser.add_argument(
        "--labels",
        default="folders",
        help="folders (real/ and fake/), dfdc, faceforensics, celebdf, or a CSV with file,label[,group,dataset,split]",
    )
    parser.add_argument("--frames", type=int, default=10, help="crops per clip (default: %(default)s)")
    parser.add_argument("--size", type=int, default=299, help="side of a crop in pixels (default: %(default)s)")
    parser.add_argument("--margin", type=float, default=0.0, help="room around the face's box (default: %(default)s)")
    parser.add_argument("--sampling", choices=["motion", "uniform", "first"], default="motion", help="default: motion")
    parser.add_argument("--detector", choices=["auto", "yunet", "haar"], default="auto", help="default: auto")
    parser.add_argument("--tracks", choices=["main", "all"], default="main", help="main person, or all (default: main)")
    parser.add_argument("--format", choices=["png", "jpg"], default="png", help="of the crops (default: png)")
    parser.add_argument("--crops", action="store_true", help="the files are face crops already: take them as they are")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.set_defaults(run=_extract)


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "train", "train a detector on a face dataset", "dfutils train faces --out run --model inception_gru"
    )
    parser.add_argument("faces", type=Path, metavar="FACES", help="face dataset")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder to write")
    parser.add_argument(
        "--model",
        default="inception_gru",
        help="inception_lstm_gru, inception_gru or inception_mean (default: %(default)s)",
    )
    parser.add_argument("--mode", choices=["cached"], default="cached", help="default: cached")
    parser.add_argument(
        "--backbone-weights", default="auto", help="auto, imagenet, stand-in, random or a path (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default: %(default)s")
    parser.add_argument("--splits", type=Path, metavar="FILE", help="splits.csv of an earlier run, to be kept")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.set_defaults(run=_train)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "evaluate", "measure a detector and write a report", "dfutils evaluate run faces --out report"
    )
    parser.add_argument("detector", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("faces", type=Path, metavar="FACES", help="face dataset")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="report folder to write")
    parser.add_argument("--split", choices=["train", "validation", "test", "all"], default="test", help="default: test")
    parser.set_defaults(run=_evaluate)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "predict", "say whether videos or images are fake", "dfutils predict clip.mp4 photo.jpg --model run"
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="videos, images, or folders of them")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="run folder")
    parser.set_defaults(run=_predict)


def _demo(options: argparse.Namespace) -> None:
    from dfutils.demo.line import run_demo

    result = run_demo(options.out, people=options.people)
    _print(options, result.document(), result.lines())


def _extract(options: argparse.Namespace) -> None:
    from dfutils.extraction.catalogue import read_catalogue
    from dfutils.extraction.extract import extract_dataset
    from dfutils.settings import ExtractionSettings

    values = {
        "frames": options.frames,
        "size": options.size,
        "margin": options.margin,
        "sampling": options.sampling,
        "detector": options.detector,
        "tracks": options.tracks,
        "image_format": options.format,
        "crop": "none" if options.crops else "face",
    }
    settings = ExtractionSettings.parse(values, source="options")
    catalogue = read_catalogue(options.source, options.labels)
    summary = extract_dataset(catalogue, options.out, settings=settings, workers=options.workers)
    _print(options, summary.document(), summary.lines())


def _train(options: argparse.Namespace) -> None:
    from dfutils.settings import TrainingSettings

    values = {
        "model": options.model,
        "mode": options.mode,
        "backbone_weights": options.backbone_weights,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "split": {"seed": options.seed},
    }
    settings = TrainingSettings.parse(values, source="options")
    from dfutils.training.run import train

    detector = train(options.faces, options.out, settings=settings, splits_file=options.splits)
    lines = [f"{detector.name}: run folder {options.out}, operating point {detector.threshold:.3f}"]
    _print(options, {"run": str(options.out), **detector.model_dump(mode="json")}, lines)


def _evaluate(options: argparse.Namespace) -> None:
    from dfutils.evaluation.evaluate import evaluate
    from dfutils.evaluation.wording import headline

    metrics = evaluate(options.detector, options.faces, options.out, split=options.split)
    _print(options, metrics, [headline(metrics), f"Report: {options.out / 'report.html'}"])


def _predict(options: argparse.Namespace) -> None:
    from dfutils.prediction.detector import load_detector, verdict_document
    from dfutils.prediction.inputs import expand_inputs
    from dfutils.prediction.wording import verdict_line

    inputs = expand_inputs(options.inputs)
    detector = load_detector(options.model)
    verdicts = []
    for verdict in detector.predict_many(inputs):
        verdicts.append(verdict)
        if not options.json:
            _print(options, None, [verdict_line(verdict)])
    if options.json:
        _print(options, verdict_document(detector, verdicts), [])


def _print(options: argparse.Namespace, document: object, lines: Sequence[str]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False) if options.json else "\n".join(lines)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
