"""Make one detector from several trainings with the same start: the mean of their weights.

Networks that moved a short way from the same start in different directions are often best half-way between, at the cost
of a single network (Wortsman et al. 2022, "Model soups").
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from dfutils.files import read_csv, read_json, replacing, sha256_of, write_csv, write_json
from dfutils.runs.folder import CHECKSUMMED, PREDICTION_COLUMNS, RunFolder
from dfutils.runs.record import DetectorRecord

COPIED = ("settings.json", "leaks.json", "history.csv")


def average_runs(runs: Sequence[Path], folder: Path) -> DetectorRecord:
    """Write a run folder with the mean weights of finished runs, to be calibrated on out-of-fold scores.

    Settings, leaks and history are those of the first run. The mean counts as trained on every clip that any of the
    runs was trained on: ``splits.csv`` puts every video into training, and ``predictions.csv`` is empty.

    Args:
        runs: Run folders of the same model, crops and start.
        folder: Target; left alone if it already holds the mean of these runs.

    Raises:
        ValueError: The runs differ in model, crops or start, or ``folder`` is the mean of other runs.
        RunError: A run is not finished, is an ensemble, or was altered.
        DatasetError: A run was interrupted before its end.
    """
    settings, abouts = [RunFolder(run).detector() for run in runs], [RunFolder(run).about() for run in runs]
    weights = [RunFolder(run).checked_weights(own) for run, own in zip(runs, settings, strict=True)]
    members = [own.weights_sha256 for own in settings]
    starts = {(about["backbone"].get("family"), about["backbone"]["checksum"]) for about in abouts}
    if len({(own.model, own.extraction.model_dump_json()) for own in settings}) > 1 or len(starts) > 1:
        raise ValueError("only runs of one model, on the same crops and from one start, have weights with a mean")
    if (folder / "run.json").is_file():
        if read_json(folder / "run.json").get("averaged") != members:
            raise ValueError(f"{folder}: is the mean of other runs. Delete it first.")
        return RunFolder(folder).detector()
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copy(runs[0] / name, folder)
    rows = [
        {"video": row["video"], "group": row["group"], "split": "train"}
        for row in read_csv(runs[0] / "splits.csv", ("video", "group"))
    ]
    write_csv(folder / "splits.csv", tuple(rows[0]), rows)
    write_csv(folder / "predictions.csv", PREDICTION_COLUMNS, ())
    if settings[0].familiarity is not None:  # that of the first run, whose clips are almost those of the others
        shutil.copy(RunFolder(runs[0]).familiarity_file, folder)
    write_mean_weights(weights, folder / weights[0].name)
    checksum = sha256_of(folder / weights[0].name)
    same_backbone = {own.backbone_checksum for own in settings}
    settings[0].model_copy(
        update={
            "weights_sha256": checksum,
            "backbone_checksum": same_backbone.pop() if len(same_backbone) == 1 else checksum,
            # Those of the first run were fitted for other weights.
            "temperature": 1.0,
            "bias": 0.0,
            "threshold": 0.5,
            "operating_points": (),
            "real_up_to": None,
            "fake_from": None,
            "answer_costs": None,
        }
    ).write(folder / "detector.json")
    write_json(
        folder / "run.json", {**abouts[0], "averaged": members, "files": RunFolder(folder).checksums(CHECKSUMMED)}
    )
    return RunFolder(folder).detector()


def write_mean_weights(sources: Sequence[Path], target: Path) -> None:
    """Write a ``model.weights.h5`` whose variables are the means over ``sources``, atomically."""
    with replacing(target) as temporary, ExitStack() as stack:
        shutil.copy(sources[0], temporary)
        mean = stack.enter_context(h5py.File(temporary, "r+"))
        others = [stack.enter_context(h5py.File(source)) for source in sources]

        def average(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset) and np.issubdtype(item.dtype, np.floating):
                item[...] = np.mean([other[name][()] for other in others], axis=0, dtype=np.float64)

        mean.visititems(average)
