"""Tables of a training, from its split to its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.evaluation.metrics import compute_metrics
from dfutils.files import read_csv, read_json
from dfutils.notebook.page import TextTable, counted_table, facts_table, text_table
from dfutils.records import SPLIT_NAMES, ClipRow, SplitName
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.settings import TrainingSettings
from dfutils.statistics.formatting import with_interval


def splits_table(rows: Sequence[ClipRow], assignment: Mapping[str, SplitName]) -> pd.DataFrame:
    """Videos and groups of each side of a split."""
    videos = {row.video: (assignment[row.video], row.is_fake, row.group) for row in rows}
    counts = counted_table(pd.DataFrame(list(videos.values()), columns=["split", "is_fake", "group"]), "split")
    return counts.reindex(list(SPLIT_NAMES), fill_value=0)


def devices_table(settings: TrainingSettings) -> TextTable:
    """What a training with these settings would run on here."""
    from dfutils.training.devices import training_devices

    with training_devices(settings) as devices:
        return facts_table(asdict(devices))


def network_table(run: Path) -> pd.DataFrame:
    """The layers of a run's network from the crops to the probability, the backbone as one."""
    from dfutils.training.saved_network import load_network

    network, settings = load_network(run)
    layers = [*network.backbone.layers[:-1], network.backbone.layers[-1], *network.head.layers]
    rows = [
        (layer.name, type(layer).__name__, _shape(layer), layer.count_params())
        for layer in layers
        if type(layer).__name__ != "InputLayer"
    ]
    table = pd.DataFrame(rows, columns=["layer", "kind", "gives", "weights"]).set_index("layer")
    table["weights"] = [f"{count:,}" for count in table["weights"]]
    return TextTable(table).rename_axis(index=None, columns=f"{settings.name}")


def _shape(layer: Any) -> str:
    sizes = [str(size) for size in layer.output.shape[1:] if size is not None]
    return " × ".join(sizes)


def detector_table(detector: DetectorRecord) -> TextTable:
    """What was trained, and what surrounds it."""
    facts = {
        "model": detector.model,
        "first weights of the backbone": detector.backbone_weights,
        "temperature": f"{detector.temperature:.2f}",
        "operating point": f"{detector.threshold:.2f}",
    }
    return facts_table(facts, "value")


def runs_table(runs: Mapping[str, Path]) -> TextTable:
    """What finished runs are worth on their validation videos, which stopped and calibrated them.

    Args:
        runs: Run folders by the name that their row gets.
    """
    rows = []
    for name, run in runs.items():
        detector = RunFolder(run).detector()
        metrics = compute_metrics(read_run_predictions(run, split="validation"), threshold=detector.threshold)
        numbers = (with_interval(number, metrics[number]) for number in ("auc", "log_loss"))
        rows.append((name, detector.model, *numbers))
    return text_table(rows, ["validation", "model", "AUC", "log loss"])


def leaks_table(run: Path) -> TextTable:
    """The leak report of a run, a sentence a row."""
    return TextTable({"leak report": read_json(RunFolder(run).leaks_file)["lines"]})


def files_table(folder: Path) -> TextTable:
    """The files of a folder, with their sizes."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return facts_table({path.name: _size(path.stat().st_size) for path in files}, folder.as_posix())


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def read_history(run: Path) -> pd.DataFrame:
    """Training and validation loss and AUC of every epoch of a run."""
    names = ("epoch", "loss", "val_loss", "auc", "val_auc")
    rows = read_csv(RunFolder(run).history_file, names)
    return pd.DataFrame([{name: float(row[name]) for name in names} for row in rows])


def read_run_predictions(run: Path, *, split: SplitName) -> pd.DataFrame:
    """The scores that a run gave to the videos of one side of its split, as `dfutils.figures.results` takes them."""
    groups = {row["video"]: row["group"] for row in read_csv(RunFolder(run).splits_file, ("video", "group"))}
    rows = read_csv(RunFolder(run).predictions_file, ("video", "split", "is_fake", "fake_probability"))
    table = [
        {
            "video": row["video"],
            "dataset": split,
            "group": groups[row["video"]],
            "is_fake": row["is_fake"] == "true",
            "fake_probability": float(row["fake_probability"]),
        }
        for row in rows
        if row["split"] == split
    ]
    return pd.DataFrame(table)
