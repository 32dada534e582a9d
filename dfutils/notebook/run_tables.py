"""Tables about a training run, from its splits to its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from dfutils.evaluation.metrics import compute_metrics
from dfutils.files import read_csv, read_json
from dfutils.notebook.display import TextTable, counted_table, facts_table, text_table
from dfutils.records import SPLIT_NAMES, ClipRow, SplitName
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.settings import TrainingSettings
from dfutils.statistics.formatting import with_interval


def splits_table(rows: Sequence[ClipRow], assignment: Mapping[str, SplitName]) -> pd.DataFrame:
    """Count videos and groups per split."""
    videos = {row.video: (assignment[row.video], row.is_fake, row.group) for row in rows}
    counts = counted_table(pd.DataFrame(list(videos.values()), columns=["split", "is_fake", "group"]), "split")
    return counts.reindex(list(SPLIT_NAMES), fill_value=0)


def devices_table(settings: TrainingSettings) -> TextTable:
    """Return the devices on which a training with these settings would run."""
    from dfutils.training.devices import training_devices

    with training_devices(settings) as devices:
        return facts_table(asdict(devices))


def network_table(run: Path) -> TextTable:
    """List the layers of a run's network from the crops to the probability; the backbone is one row."""
    from dfutils.training.saved_network import load_network

    network, settings = load_network(run)
    rows = []
    for layer in [*network.backbone.layers, *network.head.layers]:
        if type(layer).__name__ != "InputLayer":
            shape = " × ".join(str(size) for size in layer.output.shape[1:] if size is not None)
            rows.append((layer.name, type(layer).__name__, shape, f"{layer.count_params():,}"))
    table = TextTable(rows, columns=["layer", "type", "output", "weights"]).set_index("layer")
    return table.rename_axis(index=None, columns=f"{settings.name}")


def detector_table(detector: DetectorRecord) -> TextTable:
    """Return the model of a detector, its calibration and its thresholds."""
    real_up_to, fake_from = detector.answer_range
    facts = {
        "model": detector.model,
        "initial weights of the backbone": detector.backbone_weights,
        "temperature": f"{detector.temperature:.2f}",
        "bias": f"{detector.bias:+.2f}",
        "REAL up to": f"{real_up_to:.2f}",
        "FAKE from": f"{fake_from:.2f}",
        "two-class threshold": f"{detector.threshold:.2f}",
    }
    return facts_table(facts, "value")


def runs_table(runs: Mapping[str, Path]) -> TextTable:
    """Return metrics of finished runs on their validation videos, with which they were stopped and calibrated.

    Args:
        runs: Run folders by the name of their row.
    """
    rows = []
    for name, run in runs.items():
        detector = RunFolder(run).detector()
        metrics = compute_metrics(read_run_predictions(run, split="validation"), threshold=detector.threshold)
        numbers = (with_interval(number, metrics[number]) for number in ("auc", "log_loss"))
        rows.append((name, detector.model, *numbers))
    return text_table(rows, ["validation", "model", "AUC", "log loss"])


def leaks_table(run: Path) -> TextTable:
    """Return the leak report of a run, one sentence per row."""
    return TextTable({"leak report": read_json(RunFolder(run).leaks_file)["lines"]})


def files_table(folder: Path) -> TextTable:
    """List the files of a folder with their sizes."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    sizes = {path.name: path.stat().st_size for path in files}
    text = {name: f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB" for name, size in sizes.items()}
    return facts_table(text, folder.as_posix())


def read_history(run: Path) -> pd.DataFrame:
    """Return training and validation loss and AUC of every epoch of a run."""
    names = ("epoch", "loss", "val_loss", "auc", "val_auc")
    rows = read_csv(RunFolder(run).history_file, names)
    return pd.DataFrame([{name: float(row[name]) for name in names} for row in rows])


def read_run_predictions(run: Path, *, split: SplitName) -> pd.DataFrame:
    """Return a run's scores of one split, in the form that `dfutils.figures.results` expects."""
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
