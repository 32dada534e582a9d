"""Calibrate candidate S of the second generation, and write it as package data: three commands, in this order.

    python -m research.ship WORK RUN pack      # WORK/packed: weights, calibration, export in 8 bits
    python -m research.measure WORK WORK/packed/inception-cross-2 second --parts dfdc_test photos_test …
    python -m research.ship WORK RUN finish    # the package's folder: figures, model card, licence, golden scores

RUN is the run folder of candidate S. Its calibration and thresholds are fitted to half of DFDC's test people and to
photographs of validation people, none of whom any training saw; `research.measure` measures it on the others.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESEARCH_RESULTS, with_interval, write_results
from dfutils.files import read_csv, read_json, write_json, write_text
from dfutils.prediction.detector import load_detector
from dfutils.prediction.export import export_detector
from dfutils.pretrained import FOLDER
from dfutils.report.verdict_words import ONLY_FACES
from dfutils.runs.folder import RunFolder
from dfutils.runs.thresholds import HeldOutScores, fit_decision
from dfutils.settings import ExtractionSettings, View
from dfutils.statistics.bootstrap import Estimate
from dfutils.weights import WEIGHT_FILES
from research.measure import calibrates
from research.packing import GOLDEN, golden_scores, pack_detector
from research.train_detector import dfdc_split_of_file, split_of_group

NAME = "inception-cross-2"

VIEWS: tuple[View, ...] = ("mirrored", "compressed", "rescaled")
"""Chosen on validation images; see ``LOG.md``."""

MIN_FACE_PIXELS = 64
"""As in the first release: small faces in the background, enlarged, were called FAKE."""

MOST_OF_A_PART = 400
"""Crops of each part that calibration and thresholds are fitted to."""

MOST_JUDGED = 600
"""Crops on which the export in 8 bits is compared with Keras."""

UNFITTED: dict[str, Any] = {
    "temperature": 1.0, "bias": 0.0, "isotonic": (), "operating_points": (), "operating_point": "balanced_accuracy",
    "threshold": 0.5, "real_up_to": None, "fake_from": None, "answer_costs": None, "calibration": "platt",
}  # fmt: skip

LICENCE = "Weights for research use only, see LICENSE beside them; the code is MIT."

ABOUT = (
    "Trained on face crops of the Deepfake Detection Challenge, photographs, frames of FaceForensics++ clips and of "
    "modern talking heads, and on blended faces."
)

FIGURES = {
    "dfdc_test": {
        "auc": "DFDC face crops of new people: AUC",
        "log_loss": "the same: log loss (a constant scores 0.69)",
        "ece_even_mix": "the same: calibration error at an even mix",
        "answered": "the same: share answered",
        "answered_right": "the same: share of answers that are right",
        "real_answered_fake": "REAL called FAKE, DFDC face crops of new people",
        "fake_answered_fake": "FAKE called FAKE, the same",
        "fake_answered_real": "FAKE called REAL, the same",
    },
    "modern_unseen": {
        "auc": "nine talking heads, three real and six by EchoMimic v1, that no training has seen: AUC",
    },
    "photos_test": {"real_answered_fake": "REAL called FAKE, photographs of new people (LFW, UTKFace, FFHQ)"},
    "celeba": {"real_answered_fake": "REAL called FAKE, CelebA, which no training has seen"},
    "ffpp_c23": {
        "auc": "FaceForensics++ c23 clips, all of them trained on: AUC",
        "real_answered_fake": "REAL called FAKE, the same clips",
        "fake_answered_fake": "FAKE called FAKE, the same clips",
    },
    "ffpp_c40": {
        "auc": "FaceForensics++ c40 clips, all of them trained on: AUC",
        "fake_answered_fake": "FAKE called FAKE, the same c40 clips",
    },
    "modern": {
        "auc": "talking heads, real and made by four generators, three of them trained on: AUC",
        "real_answered_fake": "REAL called FAKE, the same talking heads",
    },
}
"""Parts of `research.measure` and the figures of each that are published, with their words."""

LICENSE = """Licence of the weights in this folder

The weights were trained on face crops of the training set of the Deepfake Detection Challenge (Dolhansky et al. 2020),
frames of FaceForensics++ (Rössler et al. 2019), photographs of LFW, UTKFace and FFHQ, and frames of talking heads. The
terms of these data sets allow research use. The weights hold none of the images. They may be used, copied and changed
for research and teaching. They may not be used to take decisions about people, and not commercially. They come without
any warranty. Whoever passes them on passes on this file with them.

The backbone started from: {origin}.

The code of the package is under the MIT licence of the package.
"""

CARD = """# {name}

{about} One network for single frames (InceptionV3, {size} pixels, a linear frame head). The score of a clip is the mean
of the logits of its frames, as they are and in three copies: mirrored, compressed again, and scaled down and up.

## What it is for

A second opinion on whether a face in a video or image was swapped, re-enacted or animated, and a baseline for research.
It is no evidence about anybody, and no tool for decisions about people. {only_faces}

## Data

* The first release: 19,000 face crops of the Deepfake Detection Challenge (DFDC), frames of 125 FaceForensics++ clips
  (c23 and c40), and faces blended from REAL crops.
* From there it went on for {steps} steps of 32 crops with {clips:,} images of {groups:,} people and sources: DFDC,
  photographs of LFW, UTKFace and FFHQ, FaceForensics++, and real and made talking heads of 2024 and 2025. Three fakes
  in ten, and all fakes from photographs, are blended on the fly.
* DFDC's crops are split by person (clusters of face embeddings). A tenth of the people of each set of photographs, all
  of CelebA, and all clips of EchoMimic v1 were never trained on.
* Calibration and thresholds are fitted to half of DFDC's test people and to photographs of people of the validation
  part; the figures below are of the others. At the thresholds, at most 3 % of REAL images of such people are called
  FAKE, and at most 10 % of FAKE ones REAL.
* Backbone: {origin}.
* On OpenVINO its backbone runs in 8 bits. On {judged:,} crops of DFDC's validation people that gives an AUC of
  {auc:.3f} instead of {auc_keras:.3f}; {same_labels:.1%} of the labels stay, and no probability moves more than
  {largest_difference:.2f}.

## What was measured, by plain `dfutils predict`, with 95 % intervals over people or sources

{table}

All clips of FaceForensics++ were trained on in the first release, so these rows do not say what it does on others of
their kind. Candidate X of the second generation, which was trained on blended faces without FaceForensics++, has an AUC
of 0.82 (0.76 to 0.89) on the c23 clips.

## Where it fails

* Talking heads of generators that it never saw: only nine clips were at hand to measure it, too few to tell.
* Heavy compression (c40), and faces whose expression alone was changed: few of them reach the threshold.
* It rather says nothing: most photographs and most crops of new people are UNDECIDED.
* Not measured: faces that are wholly made up, and very small or turned faces.
* It never saw motion: order and rhythm of frames mean nothing to it.
"""


def calibration_scores(work: Path, run: Path) -> HeldOutScores:
    """Score the files that calibration and thresholds are fitted to by `dfutils predict`, without a calibration."""
    detector = load_detector(run, engine="openvino")
    detector.settings = detector.settings.model_copy(update={**UNFITTED, "views": VIEWS})
    split_of = dfdc_split_of_file(work)

    def is_in(row: dict[str, str]) -> bool:
        if row["dataset"] == "dfdc":
            return calibrates(row["group"]) and split_of(row["file"]) == "test"
        return split_of_group(row["group"]) == "validation"

    chosen: list[dict[str, str]] = []
    for name in ("dfdc_real", "dfdc_fake", "photos"):
        rows = [row for row in read_csv(work / "sets" / f"{name}.csv", ("file", "label", "group")) if is_in(row)]
        chosen += sorted(rows, key=lambda row: hashlib.sha256(row["file"].encode()).hexdigest())[:MOST_OF_A_PART]
    verdicts = detector.predict_many([work / "sets" / row["file"] for row in chosen], workers=2, credentials=False)
    scored = [
        (row["label"] == "FAKE", verdict.fake_probability, row["group"])
        for row, verdict in zip(chosen, verdicts, strict=True)
        if verdict.fake_probability is not None  # a face was found
    ]
    is_fake, probability, groups = zip(*scored, strict=True)
    return HeldOutScores(np.array(is_fake), np.array(probability), np.array(groups))


def pack(work: Path, run: Path, folder: Path) -> None:
    """Write the calibrated weights in half precision, and their export in 8 bits."""
    shutil.rmtree(folder, ignore_errors=True)
    size = RunFolder(run).detector().extraction.size
    pack_detector(
        run,
        folder,
        name=NAME,
        extraction=ExtractionSettings(size=size),
        min_face_pixels=MIN_FACE_PIXELS,
        views=VIEWS,
        **{**UNFITTED, **fit_decision(calibration_scores(work, run))},
    )
    splits = folder / "splits.csv"  # it names files of the training data, which are not shipped
    shutil.copy(run / splits.name, splits)
    try:
        export = export_detector(folder, work / "joined" / "fold-0", precision="int8", most=MOST_JUDGED)[0]
    finally:
        splits.unlink()
    write_json(folder.with_suffix(".export.json"), export.model_dump(mode="json"))


def finish(work: Path, run: Path, packed: Path, folder: Path) -> None:
    """Write the package's folder of the detector, and the tables of the pages."""
    parts = {part: read_json(work / "measured" / "second" / f"{part}.json") for part in FIGURES}
    figures = {f"{part}_{key}": _estimate(parts[part][key]) for part, keys in FIGURES.items() for key in keys}
    measured = {
        words: with_interval(figures[f"{part}_{key}"]) for part, keys in FIGURES.items() for key, words in keys.items()
    }
    lines = "\n".join(["| test | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in measured.items())])
    first = work / "measured" / "first"  # of the first release, where it was measured on the same files
    before = {
        words: with_interval(_estimate(read_json(first / f"{part}.json")[key]))
        for part, keys in FIGURES.items()
        if (first / f"{part}.json").is_file() and not part.startswith("ffpp")
        for key, words in keys.items()
    }
    both = ["| test | first release | this one |", "|---|---|---|"]
    both += [f"| {words} | {before.get(words, '')} | {value} |" for words, value in measured.items()]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(packed, folder)
    write_json(folder / "metrics.json", {"about": ABOUT, "measured": measured, "licence": LICENCE, "figures": figures})
    about, settings = read_json(run / "run.json"), read_json(run / "settings.json")
    origin = WEIGHT_FILES[about["backbone"]["weights"]].origin
    export = read_json(packed.with_suffix(".export.json"))
    values = {
        **export,
        "judged": export["clips"],
        "name": NAME,
        "only_faces": ONLY_FACES,
        "about": ABOUT,
        "size": RunFolder(folder).detector().extraction.size,
        "steps": settings["finetune"]["steps_per_epoch"],
        "clips": about["clips"],
        "groups": about["groups"],
        "origin": origin,
        "table": lines,
    }
    write_text(folder / "MODEL_CARD.md", CARD.format(**values))
    write_text(folder / "LICENSE", LICENSE.format(origin=origin))
    write_json(folder / GOLDEN, golden_scores(folder))
    write_results(RESEARCH_RESULTS, "second_release", {"figures": figures}, "\n".join([*both, ""]))


def _estimate(figure: Any) -> Estimate:
    """Return a figure as it is, or, if it has no interval, without one."""
    return figure if isinstance(figure, dict) else {"value": figure, "low": None, "high": None}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("stage", choices=["pack", "finish"])
    options = parser.parse_args()
    packed = options.work / "packed" / NAME
    if options.stage == "pack":
        pack(options.work, options.run, packed)
    else:
        finish(options.work, options.run, packed, FOLDER / NAME)


if __name__ == "__main__":
    main()
