"""From public data to the second generation of the shipped detector. Every stage goes on where it was stopped.

    python -m research.train_detector WORK --stage pseudo      # candidate X: pseudo-fakes of many domains alone
    python -m research.train_detector WORK --stage forged-0    # candidate S without fold 0; the same for 1 to 4
    python -m research.train_detector WORK --stage forged      # candidate S on everything

WORK holds ``faces/``, the face datasets that ``research/README.md`` tells how to cut, and ``dfdc_split.json``.

Protocol, written down before the first training:

* Crops of the Deepfake Detection Challenge (DFDC) keep the split of the first release, 80/10/10 by person, so that its
  test part shows the same people, new to both.
* A tenth of the people of each set of photographs is validation and a tenth test. CelebA is left out of training as a
  whole: it is the domain of photographs that nobody trained on.
* Candidate X sees REAL faces and fakes blended from them alone. Nothing of FaceForensics++, no modern fake and no
  forged frame is in its training data. It starts from candidate X of the first release, which had seen forged
  crops of DFDC's training people and nothing of FaceForensics++.
* Candidate S goes on from X with forgeries too. Five folds, by source pair and person, leave out a fifth of the clips
  of FaceForensics++ and of the talking heads each; four of them leave out one generator of modern fakes as a whole.
* The schedule is fixed beforehand, and the averaged weights of its end are what is judged. Validation is on DFDC's
  validation people.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from dfutils.records import ClipRow, SplitName
from dfutils.settings import TrainingSettings
from dfutils.training.run import train
from research.faces import Part, join_faces

MOST_VALIDATION = 600
"""Crops of each label on which the epochs of a training are compared."""

PSEUDO = TrainingSettings.model_validate(
    {
        "model": "inception_mean",
        "mode": "finetune",
        "size": 224,
        "margin": 0.0,
        "epochs": 8,
        "patience": 8,
        "batch_size": 32,
        "learning_rate": 1e-5,
        "finetune": {
            "unfreeze": "mixed1",
            "backbone_lr_multiplier": 20.0,
            "steps_per_epoch": 500,
            "self_blended": 1.0,
            "donor_share": 0.25,
            "balance_datasets": True,
            "framing_jitter": 0.05,
            "ema_decay": 0.998,
            "precision": "cpu_bfloat16",
        },
    }
)
"""Candidate X."""


FORGED = PSEUDO.model_copy(
    update={
        "epochs": 2,
        "patience": 2,
        "seed": 1,
        "finetune": PSEUDO.finetune.model_copy(update={"self_blended": 0.4, "paired": True}),
    }
)
"""Candidate S goes on from X: six fakes in ten are forged where a data set has forgeries; the others stay blended."""

FOLDS = 5
GENERATORS = ("echomimic_v1", "echomimic_v2", "echomimic_v3", "edtalk")
"""Modern fakes. Fold k leaves out the k-th of them, beside a fifth of the source pairs and of the talking heads."""


def fold_of_group(group: str) -> int:
    """The fold that a source pair or a person is measured in, by its name alone."""
    return int(hashlib.sha256(f"fold {group}".encode()).hexdigest()[:8], 16) % FOLDS


def split_of_group(group: str) -> SplitName:
    """A tenth of the groups validation, a tenth test, by their names alone."""
    share = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 16**8
    return "validation" if share < 0.1 else "test" if share < 0.2 else "train"


def train_pseudo(work: Path) -> None:
    """Candidate X: photographs, talking heads and REAL crops of DFDC; fakes are blended from them."""
    of_file = dfdc_split_of_file(work)
    taken = {True: 0, False: 0}

    def validation_of(row: ClipRow) -> SplitName | None:
        if of_file(row.video) != "validation" or taken[row.is_fake] >= MOST_VALIDATION:
            return None
        taken[row.is_fake] += 1
        return "validation"

    def only_train(row: ClipRow) -> SplitName | None:
        return "train" if split_of_group(row.group) == "train" else None

    faces = work / "joined" / "pseudo"
    splits = join_faces(
        faces,
        [
            Part(work / "faces" / "photos", only_train),
            Part(
                work / "faces" / "dfdc_real",
                lambda row: "train" if of_file(row.video) == "train" else validation_of(row),
            ),
            Part(work / "faces" / "dfdc_val_fake", validation_of),
        ],
    )
    settings = PSEUDO.model_copy(update={"init_from": str(work / "start")})
    train(faces, work / "runs" / "pseudo", settings=settings, assignment=splits)


def train_forged(work: Path, fold: int | None = None) -> None:
    """Candidate S on everything, or without what one fold is measured on.

    FaceForensics++ of one quality is one data set, whatever forged it, and so are talking heads and modern fakes: REAL
    and FAKE are paired within them.
    """
    of_file = dfdc_split_of_file(work)
    taken = {True: 0, False: 0}

    def dfdc(row: ClipRow) -> SplitName | None:
        split = of_file(row.video)
        if split == "validation" and taken[row.is_fake] < MOST_VALIDATION:
            taken[row.is_fake] += 1
            return "validation"
        return "train" if split == "train" else None

    def clips(row: ClipRow) -> SplitName | None:
        if fold is not None and (fold_of_group(row.group) == fold or row.dataset == GENERATORS[fold % len(GENERATORS)]):
            return None
        return "train"

    def domain(row: ClipRow) -> str:
        return "_".join(row.dataset.split("_")[:2]) if row.dataset.startswith("ffpp") else "talking"

    name = "all" if fold is None else f"fold-{fold}"
    faces = work / "joined" / name
    splits = join_faces(
        faces,
        [
            Part(work / "faces" / "photos", lambda row: "train" if split_of_group(row.group) == "train" else None),
            Part(work / "faces" / "dfdc_real", dfdc),
            Part(work / "faces" / "dfdc_fake", dfdc),
            Part(work / "faces" / "clips", clips, domain),
        ],
    )
    settings = FORGED.model_copy(update={"init_from": str(work / "runs" / "pseudo")})
    train(faces, work / "runs" / f"forged-{name}", settings=settings, assignment=splits)


@functools.cache
def dfdc_split_of_file(work: Path) -> Callable[[str], SplitName]:
    """The first release's split of DFDC, by the name of a crop's file."""
    known: dict[str, SplitName] = json.loads((work / "dfdc_split.json").read_text(encoding="utf-8"))
    by_name = {Path(video).name: split for video, split in known.items()}
    return lambda file: by_name[Path(file).name]


STAGES: dict[str, Callable[[Path], None]] = {
    "pseudo": train_pseudo,
    "forged": train_forged,
    **{f"forged-{fold}": functools.partial(train_forged, fold=fold) for fold in range(FOLDS)},
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="outside the repository: it holds faces of people")
    parser.add_argument("--stage", choices=STAGES, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    STAGES[options.stage](options.work)


if __name__ == "__main__":
    main()
