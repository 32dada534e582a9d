"""Measure the verdicts of a verdict folder against labels that became known later."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dfutils.errors import DatasetError, ReportError
from dfutils.evaluation.slices import NOT_STATED, SLICE, match_files
from dfutils.extraction.catalogue import read_columns
from dfutils.extraction.layouts import LABELS
from dfutils.prediction.verdict_folder import read_job, read_verdicts
from dfutils.runs.probabilities import at_prior
from dfutils.runs.record import DetectorRecord

logger = logging.getLogger(__name__)


def read_record(folder: Path) -> DetectorRecord:
    """Return ``detector.json`` of the detector that gave the verdicts of a folder.

    Raises:
        DatasetError: The folder holds no verdicts, or was made by an earlier version.
        RunError: It was made by a version that this one cannot read.
    """
    job = read_job(folder)
    if "record" not in job:
        raise DatasetError(f"{folder}: was made by an earlier version, without what a report needs. Make it again.")
    about = {**job["record"], "name": job["name"], "version": job["package version"]}
    return DetectorRecord.parse(about, source=str(folder))


def labelled_verdicts(folder: Path, labels: Path, *, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per verdict on a labelled file, as `dfutils.evaluation.scoring.video_predictions` does.

    Probabilities are those at the prior that the detector is calibrated for, whatever prior the verdicts were given at;
    answers are those that were given.

    Args:
        folder: A verdict folder.
        labels: CSV with the columns ``file,label`` and optionally ``group,dataset``, as for ``dfutils extract``. A file
            is that of the verdict whose id it is as written, or else whose path it is or is the end of; it need not
            exist here.
        columns: Further columns of ``labels``, each of which becomes a slice.

    Raises:
        CatalogueError: The label file cannot be read.
        DatasetError: The folder holds no verdicts, is damaged, or was made by an earlier version.
        ReportError: A label is neither REAL nor FAKE, no verdict is on a labelled file, or two are on the same one.
    """
    record, prior = read_record(folder), read_job(folder)["prior"]
    given = [
        {name: row[name] for name in ("id", "input", "fake_probability", "label", "reason")}
        for row in read_verdicts(folder)
    ]
    ids = {row["id"] for row in given}
    of_file = read_columns(labels, ["label", "group", "dataset", *columns], ids=ids)
    if unknown := [name for name, row in of_file.items() if row["label"].upper() not in LABELS]:
        label = of_file[unknown[0]]["label"]
        raise ReportError(f"{labels}: label {label!r} of {unknown[0]} is unknown. Write REAL or FAKE.")
    if not given:
        raise ReportError(f"{folder}: holds no verdicts yet. Repeat the command that started it.")
    paths = match_files((row["input"] for row in given), of_file.keys() - ids)
    rows: dict[str, dict[str, object]] = {}
    for verdict in given:
        file = verdict["id"] if verdict["id"] in of_file else paths[verdict["input"]]
        if file is None:
            continue
        if file in rows:
            raise ReportError(
                f"{labels}: {file} is the file of two verdicts ({rows[file]['id']} and {verdict['id']}). Write longer "
                "paths in the label file."
            )
        about, probability = of_file[file], verdict["fake_probability"]
        rows[file] = {
            "id": verdict["id"],
            "video": file,
            "dataset": about["dataset"] or "videos",
            "group": about["group"] or file,
            "is_fake": LABELS[about["label"].upper()],
            "fake_probability": math.nan if probability is None else probability,
            "label": verdict["label"],
            "reason": verdict["reason"],
            **{f"{SLICE}{column}": about[column] or NOT_STATED for column in columns},
        }
    if not rows:
        raise ReportError(
            f"{labels}: none of the {len(given)} files with a verdict is listed (first: {given[0]['input']}). Paths "
            "in it are those of the files, or the ends of them."
        )
    if without := len(given) - len(rows):
        logger.warning("left out %d of %d verdicts: their files have no label", without, len(given))
    if missing := [file for file in of_file if file not in rows]:
        logger.warning("%d labelled files have no verdict (first: %s)", len(missing), missing[0])
    table = pd.DataFrame(list(rows.values())).drop(columns="id")
    if prior != record.prior:
        scored = table["fake_probability"].notna()
        known = table.loc[scored, "fake_probability"].to_numpy(np.float64)
        table.loc[scored, "fake_probability"] = at_prior(known, record.prior, known=prior)
    return table
