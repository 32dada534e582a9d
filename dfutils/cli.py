"""The command ``dfutils``: thin, and quick to start because heavy parts are imported where they are used."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import dfutils
from dfutils.commands import app, evaluation, prediction, publishing
from dfutils.commands.base import command, count, print_result
from dfutils.errors import DfutilsError

logger = logging.getLogger(__name__)

EXIT_FAILURE, EXIT_INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    The exit code is 0, 1 on failure, 2 on wrong use, 3 where ``predict --fail-on`` found something, 130 when
    interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be no Unicode; it is printed with escapes then
        sys.stdout.reconfigure(errors="backslashreplace")
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
        # A prediction begins anew: what it has not printed or written is not kept.
        advice = "" if options.command == "predict" else " Give the same command again to go on."
        sys.stderr.write(f"\ndfutils {options.command}: interrupted.{advice}\n")
        return EXIT_INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Every sub-command with its options and an example."""
    parser = argparse.ArgumentParser(
        prog="dfutils", description="Find deepfakes: extract faces, train, evaluate and predict."
    )
    parser.add_argument("--version", action="version", version=f"dfutils {dfutils.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_demo,
        _add_extract,
        _add_merge,
        _add_train,
        *evaluation.COMMANDS,
        *prediction.COMMANDS,
        *publishing.COMMANDS,
        *app.COMMANDS,
    ):
        add(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "demo", "run the whole line on made-up clips", "dfutils demo --out demo-output")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--people", type=int, default=24, help="made-up people, two clips each (default: %(default)s)")
    parser.set_defaults(run=_demo)


def _add_extract(commands: argparse._SubParsersAction) -> None:
    parser = command(
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
    parser.add_argument("--tracks", choices=["main", "all"], default="main", help="main person, or all (default: main)")
    parser.add_argument("--format", choices=["png", "jpg"], default="png", help="of the crops (default: png)")
    parser.add_argument("--crops", action="store_true", help="the files are face crops already: take them as they are")
    parser.add_argument("--workers", type=count, default=1, help="videos decoded at a time (default: %(default)s)")
    parser.add_argument("--scheduler", default="", metavar="tcp://…", help="use the workers of this Dask cluster")
    parser.add_argument("--shard", default="1/1", metavar="i/n", help="extract this part only; join with dfutils merge")
    parser.add_argument(
        "--trusted", action="store_true", help="your own videos: decode them without a child process and its limits"
    )
    parser.set_defaults(run=_extract)


def _add_merge(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "merge",
        "join the face datasets of several shards to one",
        "dfutils merge faces-1 faces-2 --out faces",
    )
    parser.add_argument("shards", nargs="+", type=Path, metavar="FACES", help="face datasets, one a shard")
    parser.add_argument("--out", type=Path, required=True, metavar="FACES", help="face dataset to write")
    parser.set_defaults(run=_merge)


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = command(
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
    parser.add_argument(
        "--class-weights",
        action="store_true",
        help="let REAL and FAKE count alike, however many there are of each; cached mode (finetune always does)",
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
    group.add_argument("--backbone-rate", type=float, help="its learning rate, as a multiple of the head's")
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
    group.add_argument("--patch", type=int, help="train on random squares of the crops, of this many pixels")
    group.add_argument("--self-blended", type=float, help="share of fakes blended on the fly from REAL crops")
    group.add_argument("--no-augment", dest="augment", action="store_false", default=None, help="crops as they are")
    group.add_argument("--checkpoint-minutes", type=float, help="minutes between checkpoints")
    group.add_argument("--time-budget-hours", type=float, help="stop cleanly before; the same command goes on")
    group.add_argument("--precision", choices=["auto", "float32", "mixed_float16", "cpu_bfloat16"])


def _demo(options: argparse.Namespace) -> None:
    from dfutils.demo.line import run_demo

    result = run_demo(options.out, people=options.people)
    print_result(options, result.document(), result.lines())


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
    print_result(options, summary.document(), summary.lines())


def _merge(options: argparse.Namespace) -> None:
    from dfutils.extraction.shards import merge_datasets

    summary = merge_datasets(options.shards, options.out)
    print_result(options, summary.document(), summary.lines())


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
        "class_weights": options.class_weights,
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
    print_result(options, document, lines)


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


if __name__ == "__main__":
    sys.exit(main())
