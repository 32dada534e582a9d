"""From labelled data to the detector that is shipped. Every stage goes on where it was stopped.

    python -m benchmarks.train_detector DATA --work WORK --stage faces     # cut the crops
    python -m benchmarks.train_detector DATA --work WORK --stage cross     # candidate X: DFDC and self-blended crops
    python -m benchmarks.train_detector DATA --work WORK --stage folds     # the shipped recipe in cross-validation
    python -m benchmarks.train_detector DATA --work WORK --stage shipped   # and on everything
    python -m benchmarks.detector WORK                                     # the table

DATA holds ``dfdc_faces.csv`` (file,label,group,person) with still face crops of the Deepfake Detection Challenge, and
``videos.csv`` (file,label,dataset,group) with FaceForensics++ clips.

Protocol, written down before the first training:

* DFDC crops are split 80/10/10 by ``person``, so that its test part shows people who were never seen.
* Candidate X sees DFDC's training part and fakes blended from its REAL crops only. FaceForensics++ is then a test on
  new people, cameras and forgeries.
* What is chosen (epoch, temperature, threshold) is chosen on DFDC's validation part. The test parts are looked at once
  per candidate, by `benchmarks.detector`.
* The shipped detector goes on from X with FaceForensics++ clips. Its number there comes from five folds by source pair:
  each fold's network starts from X, and its epoch, temperature and threshold are chosen on a part of the other folds.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.files import read_csv, write_csv
from dfutils.settings import ExtractionSettings, TrainingSettings
from dfutils.training.run import train
from dfutils.training.splits import fold_videos, write_splits

SIZE, FOLDS = 224, 5

CROSS = TrainingSettings.model_validate(
    {
        "model": "inception_mean",
        "mode": "finetune",
        "epochs": 5,
        "patience": 5,
        "batch_size": 16,
        "learning_rate": 2e-4,
        "split": {"test_fraction": 0.1, "validation_fraction": 1 / 9},
        "finetune": {
            "steps_per_epoch": 400,
            "self_blended": 0.5,
            "paired": True,
            "weight_average": 0.99,
            "precision": "cpu_bfloat16",
        },
    }
)
"""Candidate X."""

CLIPS = TrainingSettings.model_validate(
    {
        "model": "inception_mean",
        "mode": "finetune",
        "epochs": 4,
        "patience": 4,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "finetune": {
            "steps_per_epoch": 40,
            "frames_per_clip": 1,
            "self_blended": 0.3,
            "weight_average": 0.95,
            "precision": "cpu_bfloat16",
        },
    }
)
"""How FaceForensics++ clips are added to X."""


def cut_faces(data: Path, work: Path) -> None:
    """DFDC's ready-made crops, grouped by person, and the clips of the videos."""
    rows = read_csv(data / "dfdc_faces.csv", ("file", "label", "person"))
    labels = work / "dfdc_people.csv"
    write_csv(labels, ("file", "label", "dataset", "group"), (_by_person(row) for row in rows))
    if not (pictures := work / "dfdc_faces").exists():
        pictures.symlink_to((data / "dfdc_faces").resolve())  # files of a catalogue are named from its CSV on
    crops = ExtractionSettings(size=SIZE, crop="none")
    extract_dataset(read_catalogue(work, labels), work / "dfdc", settings=crops, workers=2, trusted=True)
    clips = ExtractionSettings(size=SIZE)
    extract_dataset(read_catalogue(data, data / "videos.csv"), work / "ffpp", settings=clips, workers=2)


def train_cross(_data: Path, work: Path) -> None:
    """Candidate X."""
    train(work / "dfdc", work / "runs" / "cross", settings=CROSS)


def train_folds(_data: Path, work: Path) -> None:
    """The shipped recipe, once a fold: ``runs/fold-<k>``."""
    rows = read_face_dataset(work / "ffpp").rows
    settings = CLIPS.model_copy(update={"init_from": str(work / "runs" / "cross")})
    for number, assignment in enumerate(fold_videos(rows, folds=FOLDS, seed=0)):
        splits = work / f"fold-{number}.csv"
        write_splits(splits, rows, assignment)
        train(work / "ffpp", work / "runs" / f"fold-{number}", settings=settings, splits_file=splits)


def _by_person(row: dict[str, str]) -> dict[str, str]:
    return {"file": row["file"], "label": row["label"], "dataset": "dfdc", "group": row["person"]}


STAGES = {"faces": cut_faces, "cross": train_cross, "folds": train_folds}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="outside the repository: it holds faces of people")
    parser.add_argument("--stage", choices=STAGES, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.work.mkdir(parents=True, exist_ok=True)
    STAGES[options.stage](options.data, options.work)


if __name__ == "__main__":
    main()
