"""Train the network of the second release and of later ones. An interrupted stage continues when it is given again.

    python -m research.train_detector WORK --stage pseudo      # candidate X, without FaceForensics++
    python -m research.train_detector WORK --stage forged-0    # candidate S, with it, without fold 0; also 1 to 4
    python -m research.train_detector WORK --stage forged      # candidate S on everything
    python -m research.train_detector WORK --stage blocks      # trains the third release further, without fold 0

WORK holds the inputs that ``research/README.md`` describes: ``faces/``, ``plain/``, ``start/``, ``first_release/``,
``third_release/`` and ``dfdc_split.json``.

Protocol, written down before the first training:

* Crops of the Deepfake Detection Challenge (DFDC) keep the split of the first release, 80/10/10 by person, so that its
  test part shows the same people, new to both.
* A tenth of the people of each set of photographs is validation and a tenth test. CelebA is left out of training as a
  whole: it is the domain of photographs that no training has seen.
* Candidate X sees REAL faces and fakes blended from them alone. Nothing of FaceForensics++, no modern fake and no
  forged frame is in its training data. It starts from candidate X of the first release, which had seen forged crops of
  DFDC's training people and nothing of FaceForensics++.
* Candidate S is trained with forgeries too, from candidate S of the first release and not from X, which forgets DFDC's
  forgeries (see ``LOG.md``). Its start has seen all clips of FaceForensics++ and some crops of DFDC's validation
  people, so neither can tell how good it is. Each of five folds leaves out a fifth of the clips, by source pair and
  person, and all clips of one generator of modern fakes; fold 0 is shipped.
* S is calibrated on half of DFDC's test people and on photographs of validation people, and measured on the other half,
  on photographs of test people, on CelebA and on what fold 0 leaves out.
* The schedule is fixed beforehand, and the averaged weights of its end are what is judged. Validation is on DFDC's
  validation people.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dfutils.records import ClipRow, SplitName
from dfutils.settings import TrainingSettings
from dfutils.training.run import train
from research.faces import Part, join_faces

MOST_VALIDATION = 600
"""Validation crops of each label."""

PSEUDO = TrainingSettings.model_validate(
    {
        "model": "inception_mean",
        "mode": "finetune",
        "size": 224,
        "margin": 0.0,
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 1e-5,
        "finetune": {
            "unfreeze": "mixed1",
            "backbone_lr_multiplier": 20.0,
            "steps_per_epoch": 2000,
            "self_blended": 1.0,
            "donor_share": 0.25,
            "balance_datasets": True,
            "framing_jitter": 0.05,
            "ema_decay": 0.998,
            "precision": "cpu_bfloat16",
        },
    }
)
"""Candidate X. One long epoch: a run keeps its best epoch, and on DFDC's forgeries, which X never sees, that is the
first one, although X goes on learning what carries over to other data sets."""

FORGED = PSEUDO.model_copy(
    update={
        "seed": 1,
        "finetune": PSEUDO.finetune.model_copy(
            update={
                "unfreeze": "mixed3",
                "backbone_lr_multiplier": 10.0,
                "steps_per_epoch": 900,
                "self_blended": 0.3,
                "paired": True,
            }
        ),
    }
)
"""Candidate S: seven fakes in ten are forged where a data set has forgeries; the others stay blended."""

BLOCKS = FORGED.model_copy(
    update={
        "backbone": "InceptionV3Blocks",
        "seed": 4,
        "epochs": 6,
        "learning_rate": 2e-6,
        "finetune": FORGED.finetune.model_copy(
            update={
                "unfreeze": "mixed1",
                "backbone_lr_multiplier": 50.0,
                "steps_per_epoch": 500,
                "self_blended": 0.15,
                "framing_jitter": 0.0,
                "augment": 0.5,
            }
        ),
    }
)
"""The third release's network under its head, which has thousands of weights and hardly moves. All crops are cut as
`dfutils predict` cuts them; half of the pairs are then augmented, the others at most mirrored."""

DRAWS = {"dfdc": 6, "ffpp_c23": 4, "ffpp_c40": 2, "talking": 2}
"""Parts into which data sets with forgeries are divided by person. Each part counts as a data set of its own when they
are drawn in proportion to the square roots of their sizes, so that about half of all crops are of DFDC and a third are
photographs."""

FOLDS = 5
GENERATORS = ("echomimic_v1", "echomimic_v2", "echomimic_v3", "edtalk")
"""Generators of modern fakes, one of which each fold leaves out (the fifth fold leaves out the first one again)."""


def fold_of_group(group: str) -> int:
    """Return the fold in which a source pair or a person is measured, by its name alone."""
    return int(hashlib.sha256(f"fold {group}".encode()).hexdigest()[:8], 16) % FOLDS


def split_of_group(group: str) -> SplitName:
    """Return the split of a group by its name alone: a tenth is validation, a tenth test."""
    share = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 16**8
    return "validation" if share < 0.1 else "test" if share < 0.2 else "train"


def photo_split(row: ClipRow) -> SplitName | None:
    """Return "train" for photographs of training people, and leave the others out of the joined dataset."""
    return "train" if split_of_group(row.group) == "train" else None


def dfdc_split(work: Path) -> Callable[[ClipRow], SplitName | None]:
    """Return a function for the split of a DFDC crop; it leaves out test, and most of validation."""
    of_file = dfdc_split_of_file(work)
    taken: Counter[bool] = Counter()

    def split_of(row: ClipRow) -> SplitName | None:
        split = of_file(row.video)
        if split == "validation" and taken[row.is_fake] < MOST_VALIDATION:
            taken[row.is_fake] += 1
            return "validation"
        return "train" if split == "train" else None

    return split_of


def train_pseudo(work: Path) -> None:
    """Train candidate X on photographs and REAL crops of DFDC; all fakes are blended from them."""
    dfdc, faces = dfdc_split(work), work / "faces"

    def without_forgeries(row: ClipRow) -> SplitName | None:
        split = dfdc(row)
        return None if row.is_fake and split == "train" else split

    parts = [Part(faces / "photos", photo_split), Part(faces / "dfdc", without_forgeries)]
    joined = work / "joined" / "pseudo"
    splits = join_faces(joined, parts)
    settings = PSEUDO.model_copy(update={"init_from": str(work / "start")})
    train(joined, work / "runs" / "pseudo", settings=settings, assignment=splits)


def train_forged(work: Path, fold: int | None = None) -> None:
    """Train candidate S on everything, or without the clips that a fold is measured on."""
    joined, splits = join_forged(work, fold)
    settings = FORGED.model_copy(update={"init_from": str(work / "first_release")})
    train(joined, work / "runs" / f"forged-{joined.name}", settings=settings, assignment=splits)


def train_blocks(work: Path) -> None:
    """Train the third release further, on the files that candidate S of fold 0 is trained on."""
    joined, splits = join_forged(work, fold=0, folder="plain")
    settings = BLOCKS.model_copy(update={"init_from": str(work / "third_release")})
    train(joined, work / "runs" / "blocks-trained", settings=settings, assignment=splits)


def join_forged(work: Path, fold: int | None, folder: str = "faces") -> tuple[Path, dict[str, SplitName]]:
    """Join the face datasets of candidate S, and return the folder and the split of each video.

    REAL and FAKE are paired within a data set: FaceForensics++ of one quality is one data set, whatever forged it, and
    talking heads and modern fakes are another.
    """

    def clip_split(row: ClipRow) -> SplitName | None:
        if fold is not None and (fold_of_group(row.group) == fold or row.dataset == GENERATORS[fold % len(GENERATORS)]):
            return None
        return "train"

    def domain(row: ClipRow) -> str:
        own = "_".join(row.dataset.split("_")[:2]) if row.dataset.startswith("ffpp") else row.dataset
        name = own if own in DRAWS else "talking"
        return f"{name}_{int(hashlib.sha256(row.group.encode()).hexdigest()[-8:], 16) % DRAWS[name]}"

    dfdc, name = dfdc_split(work), "all" if fold is None else f"fold-{fold}"
    parts = [
        Part(work / folder / "photos", photo_split),
        Part(work / folder / "dfdc", dfdc, domain),
        Part(work / folder / "clips", clip_split, domain),
    ]
    joined = work / "joined" / (name if folder == "faces" else f"{folder}-{name}")
    return joined, join_faces(joined, parts)


@functools.cache
def dfdc_split_of_file(work: Path) -> Callable[[str], SplitName]:
    """Return a function for the first release's split of a DFDC crop, by the name of its file."""
    known: dict[str, SplitName] = json.loads((work / "dfdc_split.json").read_text(encoding="utf-8"))
    by_name = {Path(video).name: split for video, split in known.items()}
    return lambda file: by_name[Path(file).name]


STAGES: dict[str, Callable[[Path], None]] = {
    "pseudo": train_pseudo,
    "forged": train_forged,
    "blocks": train_blocks,
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
