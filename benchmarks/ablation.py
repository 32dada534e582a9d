"""What each part of the detector's recipe is worth: the recipe with one thing changed at a time, on few crops.

    python -m benchmarks.ablation WORK            # goes on where it was stopped
    python -m benchmarks.ablation WORK --only base --only "no self-blended fakes"

WORK is that of ``benchmarks.train_detector`` after its stages ``faces`` and ``cross``. Protocol, written down before
any row was trained: about 4,000 DFDC crops of people in candidate X's training part, drawn person by person, two
passes; the people of its validation part in two halves, one of which chooses the epoch and the other is measured. Its
test part and FaceForensics++ are not looked at. Intervals are 95 % percentiles of a bootstrap over people, differences
are paired; a row is one training, so that differences between seeds are not in them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.train_detector import CROSS, SIZE, crops_of, label_row
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.files import read_csv, write_csv, write_json, write_text
from dfutils.records import SplitName
from dfutils.settings import ExtractionSettings, TrainingSettings
from dfutils.statistics.cross_validation import FoldScores, measure, measure_difference
from dfutils.training.run import train

TRAINING_CROPS = 4000

BASE = CROSS.model_copy(
    update={
        "batch_size": 32,
        "finetune": CROSS.finetune.model_copy(
            update={"steps_per_epoch": TRAINING_CROPS // 32, "train_batch_norm": False, "ema_decay": 0.98}
        ),
    }
)


def _with(**changes: Any) -> TrainingSettings:
    return BASE.model_copy(update={"finetune": BASE.finetune.model_copy(update=changes)})


ROWS: dict[str, TrainingSettings] = {
    "base": BASE,
    "backbone from random weights": BASE.model_copy(update={"backbone_weights": "random"}),
    "backbone never trained": TrainingSettings(model=BASE.model, epochs=20, class_weights=True),
    "trained from mixed8 up": _with(unfreeze="mixed8"),
    "batch normalisation trained": _with(train_batch_norm=True),
    "no self-blended fakes": _with(self_blended=0.0),
    "self-blended fakes alone": _with(self_blended=1.0),
    "fakes of any person (not paired)": _with(paired=False),
    "no augmentation": _with(augment=False),
    "patches of 160 pixels": _with(patch=160),
}
"""The recipe with which candidate X began, and what is changed."""


def cut_subset(work: Path) -> tuple[Path, dict[str, SplitName]]:
    """A face dataset of the crops that the protocol names, and the side of each; deals the same sides every time."""
    sides = _sides(work)
    labels = work / "ablation.csv"
    rows = [
        label_row(row.video, row.is_fake, row.dataset, row.group)
        for row in read_face_dataset(work / "dfdc").rows
        if row.video in sides
    ]
    write_csv(labels, ("file", "label", "dataset", "group"), rows)
    as_they_are = ExtractionSettings(size=SIZE, crop="none")
    extract_dataset(read_catalogue(work, labels), work / "ablation", settings=as_they_are, workers=2, trusted=True)
    return work / "ablation", sides


def _sides(work: Path) -> dict[str, SplitName]:
    rows = read_face_dataset(work / "dfdc").rows
    seen, held = crops_of(work, "train"), crops_of(work, "validation")
    of_person: dict[str, list[str]] = {}
    for row in rows:
        of_person.setdefault(row.group, []).append(row.video)
    people = [sorted(of_person)[k] for k in np.random.default_rng(0).permutation(len(of_person))]
    sides: dict[str, SplitName] = {}
    taken = measured = chosen_on = 0
    for person in people:
        crops = of_person[person]
        if crops[0] in seen and taken < TRAINING_CROPS:
            sides |= dict.fromkeys(crops, "train")
            taken += len(crops)
        elif crops[0] in held and chosen_on < measured:
            sides |= dict.fromkeys(crops, "validation")
            chosen_on += len(crops)
        elif crops[0] in held:
            sides |= dict.fromkeys(crops, "test")
            measured += len(crops)
    return sides


def measure_rows(work: Path) -> dict[str, Any]:
    """Every row that is trained, on the people who are measured, and its difference from the base."""
    scored = {name: _scores(work, name) for name in ROWS if (_folder(work, name) / "run.json").is_file()}
    groups_of = {row.clip_id: row.group for row in read_face_dataset(work / "ablation").rows}
    results: dict[str, Any] = {}
    for name, (clips, is_fake, scores) in scored.items():
        groups = [groups_of[clip] for clip in clips]
        own = measure(scores, is_fake, groups)
        results[name] = {"auc": own["auc"], "log_loss": own["log_loss"]}
        if name != "base" and "base" in scored:
            results[name]["difference"] = measure_difference(scores, scored["base"][2], is_fake, groups)["auc"]
    return results


def _scores(work: Path, name: str) -> tuple[list[str], np.ndarray, FoldScores]:
    rows = read_csv(_folder(work, name) / "predictions.csv", ("clip_id", "split", "is_fake", "fake_probability"))
    rows = sorted((row for row in rows if row["split"] == "test"), key=lambda row: row["clip_id"])
    probability = np.array([[float(row["fake_probability"]) for row in rows]])
    is_fake = np.array([row["is_fake"] == "true" for row in rows])
    scores = FoldScores(probability, probability >= 0.5, np.zeros(probability.shape, int))
    return [row["clip_id"] for row in rows], is_fake, scores


def _folder(work: Path, name: str) -> Path:
    return work / "runs" / "ablation" / name.replace(" ", "-")


def table(rows: Mapping[str, Any]) -> str:
    """The rows as Markdown."""
    lines = ["| changed | AUC | difference from the base | log loss |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {_cell(row['auc'])} | {_cell(row.get('difference'), sign='+')} | {_cell(row['log_loss'])} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _cell(estimate: Mapping[str, float | None] | None, *, sign: str = "") -> str:
    if estimate is None or any(estimate[key] is None for key in ("value", "low", "high")):
        return ""
    value, low, high = (f"{estimate[key]:{sign}.2f}".replace("-", "−") for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", choices=ROWS, action="append", help="train this row; default: all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    faces, sides = cut_subset(options.work)
    for name in options.only or ROWS:
        train(faces, _folder(options.work, name), settings=ROWS[name], assignment=sides)
        rows = measure_rows(options.work)
        about = {
            "machine": describe_machine(),
            "crops": {side: list(sides.values()).count(side) for side in set(sides.values())},
        }
        write_json(options.out / "ablation.json", {**about, "rows": rows})
        write_text(options.out / "ablation.md", table(rows))
    print(table(measure_rows(options.work)))


if __name__ == "__main__":
    main()
