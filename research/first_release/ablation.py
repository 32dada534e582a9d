"""Measure what each part of the first release's recipe is worth, by changing one thing at a time on few crops.

    python -m research.first_release.ablation WORK            # an interrupted run continues
    python -m research.first_release.ablation WORK --only base --only "no self-blended fakes"

WORK is that of ``research.first_release.recipe`` after its stages ``faces`` and ``cross``. Protocol, written down
before any row was trained: two passes over about 4,000 DFDC crops of people in candidate X's training part, drawn
person by person. One half of the people of its validation part chooses the epoch, the other half is measured; its test
part and FaceForensics++ are not used. Intervals are 95 % percentiles of a bootstrap over people, and differences are
paired. Each row is one training, so the intervals do not contain differences between seeds.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESEARCH_RESULTS, script_parser, with_interval, write_results
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv
from dfutils.records import SplitName
from dfutils.settings import TrainingSettings
from dfutils.statistics.cross_validation import FoldScores, measure, measure_difference
from dfutils.training.run import train
from research.first_release.recipe import CROSS, changed, crops_of, extract_as_is, label_row

TRAINING_CROPS = 4000

BASE = changed(
    CROSS,
    batch_size=32,
    finetune={"steps_per_epoch": TRAINING_CROPS // 32, "train_batch_norm": False, "ema_decay": 0.98},
)

ROWS: dict[str, TrainingSettings] = {
    "base": BASE,
    "backbone from random weights": BASE.model_copy(update={"backbone_weights": "random"}),
    "backbone never trained": TrainingSettings(model=BASE.model, epochs=20, class_weights=True),
    "trained from mixed8 up": changed(BASE, finetune={"unfreeze": "mixed8"}),
    "batch normalisation trained": changed(BASE, finetune={"train_batch_norm": True}),
    "no self-blended fakes": changed(BASE, finetune={"self_blended": 0.0}),
    "self-blended fakes alone": changed(BASE, finetune={"self_blended": 1.0}),
    "fakes of any person (not paired)": changed(BASE, finetune={"paired": False}),
    "no augmentation": changed(BASE, finetune={"augment": 0}),
    "patches of 160 pixels": changed(BASE, finetune={"patch": 160}),
}
"""The first part of candidate X, and what each row changes in it."""


def cut_subset(work: Path) -> tuple[Path, dict[str, SplitName]]:
    """Write the face dataset that the protocol names, and return it with the split of each crop."""
    splits = assign_splits(work)
    rows = [row for row in read_face_dataset(work / "dfdc").rows if row.video in splits]
    extract_as_is(work, "ablation", [label_row(row.video, row.is_fake, row.dataset, row.group) for row in rows])
    return work / "ablation", splits


def assign_splits(work: Path) -> dict[str, SplitName]:
    """Return the split of each crop that is used, by whole people and the same every time."""
    seen, held = crops_of(work, "train"), crops_of(work, "validation")
    of_person: dict[str, list[str]] = {}
    for row in read_face_dataset(work / "dfdc").rows:
        of_person.setdefault(row.group, []).append(row.video)
    people = sorted(of_person)
    splits: dict[str, SplitName] = {}
    taken: Counter[SplitName] = Counter()
    for place in np.random.default_rng(0).permutation(len(people)):
        crops = of_person[people[place]]
        split: SplitName
        if crops[0] in seen and taken["train"] < TRAINING_CROPS:
            split = "train"
        elif crops[0] in held:
            split = "validation" if taken["validation"] < taken["test"] else "test"
        else:
            continue
        splits |= dict.fromkeys(crops, split)
        taken[split] += len(crops)
    return splits


def measure_rows(work: Path) -> dict[str, Any]:
    """Return the figures of every trained row on the measured people, and its difference from the base."""
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
    """Return the rows as Markdown."""
    lines = ["| changed | AUC | difference from the base | log loss |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {with_interval(row['auc'])} | {with_interval(row.get('difference'), sign='+', missing='')} "
        f"| {with_interval(row['log_loss'])} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__, out=RESEARCH_RESULTS, parts=ROWS)
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    faces, splits = cut_subset(options.work)
    for name in options.only or ROWS:
        train(faces, _folder(options.work, name), settings=ROWS[name], assignment=splits)
        rows = measure_rows(options.work)
        write_results(options.out, "ablation", {"crops": Counter(splits.values()), "rows": rows}, table(rows))
    print(table(measure_rows(options.work)))


if __name__ == "__main__":
    main()
