"""Write candidate X or S as package data: weights in half precision, settings, figures, model card and licence.

    python -m research.first_release.ship WORK --int8      # with its export for OpenVINO

WORK is that of ``research.first_release.recipe``, whose rule chooses between the two: X was trained without
FaceForensics++, S with it. The figures come from ``research.first_release.detector``.
"""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import RESEARCH_RESULTS, with_interval
from dfutils.files import read_json, write_json, write_text
from dfutils.prediction.export import export_detector
from dfutils.pretrained import DEFAULT, FOLDER
from dfutils.report.verdict_words import ONLY_FACES
from dfutils.runs.folder import RunFolder
from dfutils.settings import ExtractionSettings
from dfutils.weights import WEIGHT_FILES
from research.first_release.detector import CROSS, FIGURES, MIXED, RECIPES
from research.packing import GOLDEN, golden_scores, pack_detector

MIN_FACE_PIXELS = 64
"""Two REAL clips were called FAKE for background faces of 35 and 54 pixels, enlarged four- to sixfold."""

LICENCE = "Weights for research use only, see LICENSE beside them; the code is MIT."

MOST_FORGOTTEN = 0.02
"""Largest loss of AUC against X, on people of DFDC, with which S is shipped."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Texts about a candidate, and where its files are.

    Attributes:
        about: Sentence on its training data.
        sources: Data whose terms apply to the weights, for the licence.
        data: Lines of the model card on the training data.
        chosen: Line of the model card on what was chosen on which clips.
        held: Clips on which its int8 export was judged, in words.
        judged: Run whose validation part those clips are.
        faces: Face dataset that it was trained on, in WORK.
        tested: Prefix of its figures on FaceForensics++.
    """

    about: str
    sources: str
    data: str
    chosen: str
    held: str
    judged: str
    faces: str
    tested: str


DFDC = """* {X}: {train} face crops of the Deepfake Detection Challenge's training set, one a video. Half of each
  batch is REAL; of the fakes about half are the data set's, half blended on the fly from the REAL crops beside them
  (Shiohara & Yamasaki 2022). First and last it saw whole crops, in between random squares of them.
* Those crops were split 80/10/10 by person (clusters of face embeddings), so that validation and test show other
  people. Clusters are not certain: {near} crops have a near-duplicate on another side.
"""

CANDIDATES = {
    CROSS: Candidate(
        about="Trained on still face crops of the Deepfake Detection Challenge and on self-blended faces, "
        "never on FaceForensics++.",
        sources="face crops of the training set of the Deepfake Detection Challenge (Dolhansky et al. 2020)",
        data=DFDC.replace("{X}", "Training"),
        chosen="* Epoch, temperature and threshold were chosen on its validation part.",
        held="its validation part",
        judged=str(RECIPES[CROSS].run),
        faces="dfdc",
        tested="cross",
    ),
    MIXED: Candidate(
        about="Trained on still face crops of the Deepfake Detection Challenge, on self-blended faces, and on frames "
        "of FaceForensics++ clips.",
        sources="face crops of the training set of the Deepfake Detection Challenge (Dolhansky et al. 2020) and "
        "frames of\nFaceForensics++ (Rössler et al. 2019)",
        data=DFDC.replace("{X}", "First")
        + """\
* From there it went on with ten frames of each of 125 FaceForensics++ clips (18 source pairs; c23 and c40) and with a
  few crops of each person in that validation part; nothing of the test part was used. Figures on FaceForensics++ in
  five folds are those of the same recipe trained five times without the clips that it is measured on. What comes with
  the package is the mean of the weights of those five and of one more training (Wortsman et al. 2022, "Model soups"),
  and saw all of the clips.
* It was measured on the test crops twice: first the one training on everything, calibrated on its own validation part
  (AUC .82, log loss .551), then the mean of six.
""",
        chosen="""\
* The epoch of each training was chosen on a validation part of its own, temperature and threshold on the scores that
  the five folds' networks gave to frames and crops that were new to them (863 of the 2,113 are of people on whom
  the epoch of the training before FaceForensics++ was chosen).""",
        held="299 crops that the folds trained on (so compare the two, and do not read them as what it can do)",
        judged="mixed",
        faces="mixed",
        tested="folds",
    ),
}

EXPORTED = """
* Without TensorFlow its backbone runs in 8 bits. On
  {held}
  that gives an AUC of {auc:.3f} instead of {auc_keras:.3f}; {same_labels:.1%} of the labels stay, and no probability
  moves more than {largest_difference:.2f}."""

LICENSE = """Licence of the weights in this folder

The weights were trained on {sources},
whose terms allow research use and no redistribution of the images. The weights hold none of the images. They may be
used, copied and changed for research and teaching. They may not be used to take decisions about people, and not
commercially. They come without any warranty. Whoever passes them on passes on this file with them.

The backbone started from: {origin}.

The code of the package is under the MIT licence of the package.
"""

CARD = """# {name}

{about} One network for single frames (InceptionV3, {size} pixels, a linear frame head); a clip's score is the mean of
its frames' logits.

## What it is for

A second opinion on whether a face in a video or image was swapped or re-enacted, and a baseline for research. It is
no evidence about anybody, and no tool for decisions about people.

{only_faces}

## Data

{data}{chosen}
* The threshold is the one that finds most FAKE ones there, {found:.0%}, while at most 5 % of the REAL ones are called
  FAKE.
* Backbone: {origin}.{exported}

## What was measured, with 95 % intervals over people or source pairs

{table}

## Where it fails

* Heavy compression (c40): it ranks clips no worse there, but hardly any forgery reaches its threshold (balanced
  accuracy {c40}).
* Not measured, and not to be expected: faces that are wholly made up and have no blending edge, very small or turned
  faces.
* Crops cut in another way than `dfutils extract` cuts them.
* It never saw motion: order and rhythm of frames mean nothing to it.
"""


def choose(results: Mapping[str, Any]) -> str:
    """Return the candidate to ship, by the rule that was written down before S was trained."""
    forgotten = results.get("forgotten")
    return MIXED if forgotten and forgotten["difference"]["value"] >= -MOST_FORGOTTEN else CROSS


def ship(work: Path, results: Path, folder: Path, *, int8: bool = False) -> str:
    """Write the folder of the shipped detector and return the name of its candidate."""
    found = read_json(results / "detector.json")
    name = choose(found)
    own, run, forerunner = CANDIDATES[name], *(work / "runs" / str(RECIPES[each].run) for each in (name, CROSS))
    size = int(read_json(run / "detector.json")["extraction"]["size"])
    detector = pack_detector(
        run, folder, name=folder.name, extraction=ExtractionSettings(size=size), min_face_pixels=MIN_FACE_PIXELS
    )
    shutil.rmtree(RunFolder(folder).export_folder, ignore_errors=True)  # it was made from the former weights
    crossed = {key: value for key, value in found["recipes"][CROSS].items() if key.startswith("cross_")}
    figures = {**crossed, **found["recipes"][name]}
    measured = {
        # X was measured on FaceForensics++ before S, which goes on from it, was trained there; the figure says so.
        words.replace(", never trained on", ", before it was trained on any") if name == MIXED else words: (
            with_interval(figures[key], missing="not measured")
        )
        for key, (words, _) in FIGURES.items()
        if key in figures
    }
    write_json(
        folder / "metrics.json", {"about": own.about, "measured": measured, "licence": LICENCE, "figures": figures}
    )
    about, leaks = read_json(forerunner / "run.json"), read_json(forerunner / "leaks.json")
    values = {
        "name": folder.name,
        "about": own.about,
        "only_faces": textwrap.fill(ONLY_FACES, 118),
        "sources": own.sources,
        "size": size,
        "data": own.data.format(
            train=f"{round(about['clips'] * 0.8, -2):,.0f}", near=leaks["near_duplicates"]["count"]
        ),
        "origin": WEIGHT_FILES[about["backbone"]["weights"]].origin,  # where the first part of X began
        "chosen": own.chosen,
        "found": next(
            point.true_positive_rate for point in detector.operating_points if point.rule == detector.operating_point
        ),
        "c40": with_interval(figures.get(f"{own.tested}_c40_balanced_accuracy"), missing="not measured"),
        "exported": export_int8(own, work, folder) if int8 else "",
        "table": "\n".join(["| test | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in measured.items())]),
    }
    write_text(folder / "MODEL_CARD.md", CARD.format(**values))
    write_text(folder / "LICENSE", LICENSE.format(**values))
    write_json(folder / GOLDEN, golden_scores(folder))
    return name


def export_int8(own: Candidate, work: Path, folder: Path) -> str:
    """Export the packed weights for OpenVINO, and return the model card's words on the comparison."""
    splits = folder / "splits.csv"  # it names files of the training data, which are not shipped
    shutil.copy(work / "runs" / own.judged / splits.name, splits)
    try:
        export = export_detector(folder, work / own.faces, precision="int8")[0]
    finally:
        splits.unlink()
    return EXPORTED.format(held=own.held, **export.model_dump())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--results", type=Path, default=RESEARCH_RESULTS, help="default: %(default)s")
    parser.add_argument("--int8", action="store_true", help="also export it for OpenVINO; needs nncf")
    options = parser.parse_args()
    name = ship(options.work, options.results, FOLDER / DEFAULT, int8=options.int8)
    print(f"The candidate {name} is now in {FOLDER / DEFAULT}.")


if __name__ == "__main__":
    main()
