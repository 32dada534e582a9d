"""The command ``dfutils``: thin, and quick to start because heavy parts are imported where they are used."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dfutils
from dfutils.errors import DfutilsError
from dfutils.pretrained import default_model

if TYPE_CHECKING:
    from dfutils.prediction.detector import Detector
    from dfutils.records import Verdict

logger = logging.getLogger(__name__)

EXIT_FAILURE, EXIT_FOUND, EXIT_INTERRUPTED = 1, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    The exit code is 0, 1 on failure, 2 on wrong use, 3 where ``predict --fail-on`` found something, 130 when
    interrupted.
    """
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for chatty in ("absl", "tensorflow"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        return options.run(options) or 0
    except DfutilsError as error:
        sys.stderr.write(f"dfutils {options.command}: {error}\n")
        return EXIT_FAILURE
    except KeyboardInterrupt:
        sys.stderr.write(f"\ndfutils {options.command}: interrupted. Give the same command again to go on.\n")
        return EXIT_INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Every sub-command with its options and an example."""
    parser = argparse.ArgumentParser(prog="dfutils", description=dfutils.__doc__)
    parser.add_argument("--version", action="version", version=f"dfutils {dfutils.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_demo,
        _add_extract,
        _add_merge,
        _add_train,
        _add_evaluate,
        _add_predict,
        _add_models,
        _add_publish,
    ):
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


def _count(text: str) -> int:
    """A whole number from 1, for argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


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
    parser.add_argument("--workers", type=_count, default=1, help="videos decoded at a time (default: %(default)s)")
    parser.add_argument("--scheduler", default="", metavar="tcp://…", help="use the workers of this Dask cluster")
    parser.add_argument("--shard", default="1/1", metavar="i/n", help="extract this part only; join with dfutils merge")
    parser.add_argument(
        "--trusted", action="store_true", help="your own videos: decode them without a child process and its limits"
    )
    parser.set_defaults(run=_extract)


def _add_merge(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "merge",
        "join the face datasets of several shards to one",
        "dfutils merge faces-1 faces-2 --out faces",
    )
    parser.add_argument("shards", nargs="+", type=Path, metavar="FACES", help="face datasets, one a shard")
    parser.add_argument("--out", type=Path, required=True, metavar="FACES", help="face dataset to write")
    parser.set_defaults(run=_merge)


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
    parser.add_argument(
        "--mode",
        choices=["cached", "finetune"],
        default="cached",
        help="train the head only, or everything (default: cached)",
    )
    parser.add_argument(
        "--backbone",
        default="InceptionV3",
        metavar="NAME",
        help="network of keras.applications, such as Xception or EfficientNetB4 (default: %(default)s)",
    )
    parser.add_argument(
        "--backbone-weights", default="auto", help="auto, imagenet, stand-in, random or a path (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument(
        "--batch-size", type=int, default=32, help="clips per step, shared by all GPUs (default: %(default)s)"
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=1e-3,
        help="for that batch, however many GPUs share it (default: %(default)s)",
    )
    parser.add_argument("--init-from", metavar="RUN", help="start from the backbone of another run")
    parser.add_argument("--splits", type=Path, metavar="FILE", help="splits.csv of an earlier run, to be kept")
    parser.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="train K detectors by grouped cross-validation: RUN becomes their ensemble, measured in folds.csv",
    )
    parser.add_argument(
        "--views", type=int, default=1, help="times a clip is seen, augmented after the first; cached mode"
    )
    parser.add_argument("--patience", type=int, default=6, help="epochs without a better AUC (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--tensorboard", action="store_true", help="also write the curves into RUN/tensorboard")
    _add_devices(parser.add_argument_group("devices"))
    _add_finetune(parser.add_argument_group("with --mode finetune"))
    parser.set_defaults(run=_train, usage_error=parser.error)


def _add_devices(group: argparse._ArgumentGroup) -> None:
    """Options that are fields of `DeviceSettings`, under the same names."""
    group.add_argument(
        "--strategy",
        choices=["auto", "none", "mirrored"],
        help="auto (default) shares the steps of --mode finetune among all GPUs; mirrored does so in both modes",
    )
    group.add_argument(
        "--cross-device",
        choices=["auto", "nccl", "hierarchical", "reduce_to_one"],
        help="how they add up their gradients (default: auto, TensorFlow's choice)",
    )
    group.add_argument(
        "--input-workers",
        type=int,
        metavar="N",
        help="processes that make the batches of --mode finetune (default: one a core where there is a GPU, else 0)",
    )


def _add_finetune(group: argparse._ArgumentGroup) -> None:
    """Options that are fields of `FinetuneSettings`, under the same names; what is not given keeps its default."""
    group.add_argument("--unfreeze", help="all, or the backbone's first block to train, such as mixed8")
    group.add_argument("--train-batch-norm", action="store_true", default=None, help="also train batch normalisation")
    group.add_argument("--backbone-rate", type=float, help="the backbone's share of the learning rate")
    group.add_argument(
        "--weight-average", type=float, help="momentum of a running average of the weights, which is kept"
    )
    group.add_argument("--paired", action="store_true", default=None, help="take FAKE clips from the REAL one's group")
    group.add_argument("--warmup-fraction", type=float, help="share of the steps over which the learning rate rises")
    group.add_argument("--schedule", choices=["cosine", "plateau"], help="how it falls after that (default: cosine)")
    group.add_argument("--gradient-norm", type=float, help="gradients are scaled down to this norm")
    group.add_argument("--label-smoothing", type=float, help="0 to 0.5")
    group.add_argument("--steps-per-epoch", type=int, help="steps between two validations")
    group.add_argument("--frames-per-clip", type=int, help="random frames of a clip in each step")
    group.add_argument("--self-blended", type=float, help="share of fakes blended on the fly from REAL crops")
    group.add_argument("--no-augment", dest="augment", action="store_false", default=None, help="crops as they are")
    group.add_argument("--checkpoint-minutes", type=float, help="minutes between checkpoints")
    group.add_argument("--time-budget-hours", type=float, help="stop cleanly before; the same command goes on")
    group.add_argument("--precision", choices=["auto", "float32", "mixed_float16", "cpu_bfloat16"])


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
    default = default_model()
    parser.add_argument(
        "--model",
        default=default,
        required=default is None,
        metavar="RUN",
        help=f"run folder, or a name that `dfutils models` lists{f' (default: {default})' if default else ''}",
    )
    parser.add_argument("--workers", type=_count, default=1, help="inputs decoded at a time (default: %(default)s)")
    parser.add_argument("--json-lines", action="store_true", help="print one JSON document a verdict, as they come")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write a table of all verdicts")
    parser.add_argument("--frames-dir", type=Path, metavar="DIR", help="also write the faces that were looked at")
    parser.add_argument(
        "--fail-on",
        choices=["REAL", "FAKE", "UNDECIDED"],
        action="append",
        default=[],
        metavar="LABEL",
        help="exit with 3 if any verdict is this (may be repeated)",
    )
    parser.epilog = f"{parser.epilog}\n\nexit codes: 0 verdicts were given, unreadable inputs included; 1 failure; "
    parser.epilog += "2 wrong use; 3 --fail-on"
    parser.set_defaults(run=_predict)


def _add_models(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "models", "list the detectors that come with the package", "dfutils models")
    parser.set_defaults(run=_models)


def _add_publish(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "publish",
        "stage a dataset, the package, notebooks or a model for Kaggle, and send them with its client when asked",
        "dfutils publish dataset faces --owner some-one --staging to-send",
    )
    parser.add_argument("kind", choices=["dataset", "package", "notebooks", "model"], help="what to publish")
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="SOURCE",
        help="face dataset; project or wheel (default: .); notebook or folder of them (default: notebooks); run folder",
    )
    parser.add_argument("--staging", type=Path, metavar="DIR", help="folder to lay it out in (default: dist/kaggle/…)")
    parser.add_argument("--owner", metavar="NAME", help="in the address of your Kaggle page (default: as signed in)")
    parser.add_argument("--version-notes", metavar="TEXT", help="what changed (default: the package's version)")
    parser.add_argument("--push", action="store_true", help="send it; without this, nothing leaves the machine")
    parser.add_argument("--slug", metavar="NAME", help="last part of its address (default: made of the title)")
    parser.add_argument("--title", metavar="TEXT", help="what people read (default: as in kaggle-metadata)")
    parser.add_argument("--subtitle", metavar="TEXT", help="20 to 80 characters (default: as in kaggle-metadata)")
    parser.add_argument("--public", action="store_true", help="show it to everybody; needs --i-have-the-rights")
    parser.add_argument("--licence", metavar="NAME", help="instead of the committed one; needs --i-have-the-rights")
    parser.add_argument("--i-have-the-rights", action="store_true", help="it is yours to publish or license like that")
    parser.add_argument("--fewer-files", action="store_true", help="a version may lack files of the one it replaces")
    parser.add_argument("--with-wheels", action="store_true", help="package: download what Kaggle's image lacks")
    parser.add_argument("--fetch", metavar="OWNER/NOTEBOOK", help="dataset: first download this notebook's output")
    parser.add_argument("--metadata", type=Path, metavar="DIR", help="default: kaggle-metadata")
    parser.add_argument("--wait", type=float, metavar="MINUTES", help="for Kaggle (default: 60; notebooks: 720)")
    parser.set_defaults(run=_publish, usage_error=parser.error)


def _demo(options: argparse.Namespace) -> None:
    from dfutils.demo.line import run_demo

    result = run_demo(options.out, people=options.people)
    _print(options, result.document(), result.lines())


def _extract(options: argparse.Namespace) -> None:
    from dfutils.extraction.catalogue import read_catalogue
    from dfutils.extraction.extract import extract_dataset
    from dfutils.extraction.shards import Shard
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
    summary = extract_dataset(
        catalogue,
        options.out,
        settings=settings,
        workers=options.workers,
        scheduler=options.scheduler,
        trusted=options.trusted,
        shard=Shard.parse(options.shard),
    )
    _print(options, summary.document(), summary.lines())


def _merge(options: argparse.Namespace) -> None:
    from dfutils.extraction.shards import merge_datasets

    summary = merge_datasets(options.shards, options.out)
    _print(options, summary.document(), summary.lines())


def _train(options: argparse.Namespace) -> None:
    if options.folds is not None and (options.folds < 2 or options.splits):
        options.usage_error("--folds: needs at least 2, and deals its own splits: leave --splits out")
    from dfutils.settings import DeviceSettings, FinetuneSettings, TrainingSettings

    values = {
        "model": options.model,
        "mode": options.mode,
        "backbone": options.backbone,
        "backbone_weights": options.backbone_weights,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "patience": options.patience,
        "init_from": options.init_from,
        "views": options.views,
        "seed": options.seed,
        "finetune": _given(options, FinetuneSettings.model_fields),
        "devices": _given(options, DeviceSettings.model_fields),
        "split": {"seed": options.seed},
    }
    settings = TrainingSettings.parse(values, source="options")
    if options.folds is None:
        from dfutils.training.run import train

        detector = train(
            options.faces, options.out, settings=settings, splits_file=options.splits, tensorboard=options.tensorboard
        )
        _draw_history(options.out)
    else:
        from dfutils.training.folds import train_folds

        detector = train_folds(
            options.faces, options.out, settings=settings, folds=options.folds, tensorboard=options.tensorboard
        )
        for member in detector.members:
            _draw_history(options.out / member.folder)
    lines = [f"{detector.name}: run folder {options.out}, operating point {detector.threshold:.3f}"]
    document = {"run": str(options.out), **detector.model_dump(mode="json")}
    if options.folds is not None:
        from dfutils.evaluation.folds import summarise_folds

        measured = summarise_folds(options.out)
        lines += [one.line() for one in measured]
        document["folds"] = [one.document() for one in measured]
    _print(options, document, lines)


def _given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, object]:
    """Options of these names that were given, and not left to the default of their setting."""
    values = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _draw_history(run: Path) -> None:
    try:
        from dfutils.evaluation.curves import write_history_figure
    except ImportError:
        logger.info("history.png: is left out. To have it, pip install 'dfutils[report]'.")
        return
    write_history_figure(run)


def _evaluate(options: argparse.Namespace) -> None:
    from dfutils.evaluation.evaluate import evaluate
    from dfutils.evaluation.wording import headline

    metrics = evaluate(options.detector, options.faces, options.out, split=options.split)
    _print(options, metrics, [headline(metrics), f"Report: {options.out / 'report.html'}"])


def _predict(options: argparse.Namespace) -> int:
    from dfutils.prediction.detector import load_detector, verdict_document
    from dfutils.prediction.inputs import expand_inputs
    from dfutils.prediction.outputs import write_verdicts

    inputs = expand_inputs(options.inputs)
    detector = load_detector(options.model)
    logger.info("Detector: %s", detector.settings.name)
    verdicts: list[Verdict] = []
    coming = _shown(options, detector, inputs, verdicts)
    if options.csv:
        write_verdicts(options.csv, coming)
    else:
        deque(coming, maxlen=0)
    if options.json:
        _print(options, verdict_document(detector, verdicts), [])
    return EXIT_FOUND if any(verdict.label in options.fail_on for verdict in verdicts) else 0


def _shown(
    options: argparse.Namespace, detector: Detector, inputs: Sequence[str], verdicts: list[Verdict]
) -> Iterator[Verdict]:
    """Verdicts as they come, printed, kept and their faces written on the way."""
    from dfutils.prediction.outputs import plain_verdict, write_faces
    from dfutils.prediction.wording import verdict_line

    for number, (verdict, extraction) in enumerate(detector.examine_many(inputs, workers=options.workers)):
        if options.frames_dir:
            write_faces(options.frames_dir, number, verdict, extraction)
        if options.json_lines:
            sys.stdout.write(json.dumps({"detector": detector.about, **plain_verdict(verdict)}) + "\n")
            sys.stdout.flush()
        elif not options.json:
            _print(options, None, [verdict_line(verdict)])
        verdicts.append(verdict)
        yield verdict


def _models(options: argparse.Namespace) -> None:
    from dfutils.pretrained import describe, pretrained_names

    models = [describe(name) for name in pretrained_names()]
    lines = [line for model in models for line in _model_lines(model)]
    _print(options, {"models": models}, lines or ["No detector comes with this package. Train one: dfutils train."])


def _model_lines(model: dict[str, Any]) -> list[str]:
    about = (
        f"{model['name']}: {model['model']}, {model['size']} pixels, {model['bytes'] / 1e6:.0f} MB. {model['about']}"
    )
    return [about, *(f"  {words}: {value}" for words, value in model["measured"].items()), f"  {model['licence']}"]


def _publish(options: argparse.Namespace) -> None:
    from dfutils.publishing.publish import PublishOptions, publish

    usual = {"package": Path(), "notebooks": Path("notebooks")}
    if not options.source and options.kind not in usual:
        options.usage_error(f"{options.kind}: SOURCE is missing")
    given = {"notes": options.version_notes, "wait_seconds": _seconds(options)}
    values = PublishOptions(
        source=options.source or usual[options.kind],
        staging=options.staging or Path("dist", "kaggle", options.kind),
        push=options.push,
        public=options.public,
        rights=options.i_have_the_rights,
        fewer_files=options.fewer_files,
        wheels=options.with_wheels,
        **{name: getattr(options, name) for name in ("owner", "slug", "title", "subtitle", "licence")},
        **{name: getattr(options, name) for name in ("fetch", "metadata")},
        **{name: value for name, value in given.items() if value is not None},
    )
    publication = publish(options.kind, values)
    _print(options, publication.document(), publication.lines())


def _seconds(options: argparse.Namespace) -> float:
    minutes = options.wait if options.wait is not None else 720 if options.kind == "notebooks" else 60
    return 60.0 * minutes


def _print(options: argparse.Namespace, document: object, lines: Sequence[str]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False) if options.json else "\n".join(lines)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
