"""``dfutils train``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dfutils.commands.base import answer_lines, print_result
from dfutils.commands.options import add_setting_options, settings_of
from dfutils.errors import how_to_install

logger = logging.getLogger(__name__)

EXAMPLE = "dfutils train faces --out run --model inception_gru"

SETTINGS = ("model", "mode", "backbone_weights", "init_from", "epochs", "seed")
"""Fields of `TrainingSettings` that have an option; the others are set by ``--settings``."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from dfutils.settings import TrainingSettings

    parser.add_argument("faces", type=Path, metavar="FACES", help="face dataset")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder to write")
    parser.add_argument("--splits", type=Path, metavar="FILE", help="splits.csv of an earlier run, to keep its splits")
    parser.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="train K detectors by grouped cross-validation: RUN becomes their ensemble, measured in folds.csv",
    )
    parser.add_argument(
        "--fold",
        type=int,
        metavar="I",
        help="train only fold I of --folds K, from 0 to K - 1, into RUN/fold-I; without --fold, they are joined",
    )
    parser.add_argument(
        "--scheduler", default="", metavar="tcp://…", help="train the folds on the workers of this Dask scheduler"
    )
    add_setting_options(parser.add_argument_group("settings"), TrainingSettings, SETTINGS)


def run(options: argparse.Namespace) -> None:
    """Train a detector, or one per fold."""
    if options.folds is not None and (options.folds < 2 or options.splits):
        options.usage_error("--folds: needs at least 2, and makes its own splits: omit --splits")
    if options.fold is not None and not 0 <= options.fold < (options.folds or 0):
        options.usage_error("--fold I is one of --folds K, from 0 to K - 1")
    if options.scheduler and (options.folds is None or options.fold is not None):
        options.usage_error("--scheduler trains the folds of --folds K at the same time: omit --fold")
    from dfutils.settings import TrainingSettings

    settings = settings_of(options, TrainingSettings)
    if "seed" in options:  # --seed also seeds the split
        settings = settings.model_copy(update={"split": settings.split.model_copy(update={"seed": settings.seed})})
    out = options.out
    if options.folds is None:
        from dfutils.training.run import train

        detector = train(options.faces, out, settings=settings, splits_file=options.splits)
    elif options.fold is not None:
        from dfutils.training.folds import train_fold

        detector = train_fold(options.faces, out, settings=settings, folds=options.folds, fold=options.fold)
        out = out / f"fold-{options.fold}"
    else:
        from dfutils.training.folds import train_folds

        detector = train_folds(options.faces, out, settings=settings, folds=options.folds, scheduler=options.scheduler)
    for folder in [out / member.folder for member in detector.members] or [out]:
        draw_history(folder)
    lines = [f"{detector.name}: run folder {out}", *answer_lines(detector)]
    document = {"run": str(out), **detector.model_dump(mode="json")}
    if detector.members:
        from dfutils.evaluation.out_of_fold import summarise_folds

        measured = summarise_folds(out)
        lines += [one.line() for one in measured]
        document["folds"] = [one.document() for one in measured]
    print_result(options, document, lines)


def draw_history(run: Path) -> None:
    """Write ``history.png`` if matplotlib is installed."""
    try:
        from dfutils.figures.history import write_history_figure
    except ImportError:
        logger.info("history.png: not drawn, because matplotlib is not installed. %s.", how_to_install("report"))
        return
    write_history_figure(run)
