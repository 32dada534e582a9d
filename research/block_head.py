"""Train a head on the means of all blocks of the second release's network, without training the network itself.

    python -m research.block_head WORK draw     # features of drawn crops; resumes when repeated
    python -m research.block_head WORK plain    # the same of training files as `dfutils predict` cuts them; resumes
    python -m research.block_head WORK noise    # by how much features of training crops change in 8 bits
    python -m research.block_head WORK fit      # WORK/runs/blocks: a run folder for `research.ship`

The second release is in ``WORK/second_release``. Its last features vary in about three directions, while its earlier
blocks still hold what those have dropped (see ``LOG.md``). The drawn crops are those that candidate S is trained on
(`research.train_detector`, fold 0), blended and augmented alike. A linear head cannot learn DFDC from augmented crops
alone, so some are added as they are.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from dfutils.errors import MediaError
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.extraction.faces import face_detector
from dfutils.files import read_csv, replacing, sha256_of, write_json
from dfutils.prediction.export import evenly_spaced, quantised
from dfutils.prediction.runtime import Features, OpenVinoNetwork, compile_backbone, read_backbone, read_numpy_head
from dfutils.records import ClipRow
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.training.backbones import rebuilt_as
from dfutils.training.batches import BatchLoader, BatchPlan, PairLoader
from dfutils.training.input_pipeline import BatchSource
from dfutils.training.model import ClipNetwork, build_head, compose
from dfutils.training.saved_network import load_network, write_weights
from dfutils.training.splits import write_splits
from research.train_detector import (
    FORGED,
    GENERATORS,
    dfdc_split_of_file,
    fold_of_group,
    join_forged,
    split_of_group,
)

BACKBONE = "InceptionV3Blocks"

STEPS = 750
"""Draws of 32 crops."""

SEED = 2

STEPS_OF_A_FILE = 25

PLAIN_OF_A_FILE = 600

MOST_PLAIN = {"photos": 3000}
"""Files of a set that are taken as they are; otherwise all."""

NOISE_CROPS = 5000

NOISE_GAIN = 8.0
"""How many times the errors of 8 bits are added to the features that the head is fitted to, or subtracted from them.
Without them it rests on differences that are lost in 8 bits (see ``LOG.md``)."""

STRENGTH = 0.001
"""C, the inverse of the L2 penalty: chosen on validation and on the calibration half of DFDC (see ``LOG.md``)."""


def draw(work: Path) -> None:
    """Write the features and targets of `STEPS` batches, `STEPS_OF_A_FILE` to a file."""
    dataset, rows, _ = _joined(work)
    network = _network(work)
    plan = BatchPlan(rows, batch_size=FORGED.batch_size, settings=FORGED.finetune, seed=SEED)
    pairs = PairLoader(dataset, rows, frames=1, settings=FORGED.finetune)
    with BatchSource(BatchLoader(plan, pairs), workers=2) as source, ThreadPoolExecutor(3) as pool:
        for first in tqdm(range(0, STEPS, STEPS_OF_A_FILE)):
            path = work / "blocks" / f"{first:05d}.npz"
            if path.is_file():
                continue
            features, targets = [], []
            for crops, target in pool.map(source.load, range(first, first + STEPS_OF_A_FILE)):
                features.append(network.features(crops[:, 0]))
                targets += list(target[:, 0])
            _write_features(path, features, targets)


def plain(work: Path) -> None:
    """Write the features and targets of training files, cut as `dfutils predict` cuts them.

    They are DFDC's crops, photographs, and ten frames of each clip that fold 0 is trained on.
    """
    extraction, network = RunFolder(work / "second_release").detector().extraction, _network(work)
    faces, split_of = face_detector(extraction.min_detection_score), dfdc_split_of_file(work)
    chosen: dict[str, Callable[[dict[str, str]], bool]] = {
        "dfdc": lambda row: split_of(row["file"]) == "train",
        "photos": lambda row: split_of_group(row["group"]) == "train",
        "clips": lambda row: fold_of_group(row["group"]) != 0 and row["dataset"] != GENERATORS[0],
    }
    for name, is_in in chosen.items():
        rows = [row for row in read_csv(work / "sets" / f"{name}.csv", ("file", "label", "group")) if is_in(row)]
        rows.sort(key=lambda row: hashlib.sha256(row["file"].encode()).hexdigest())
        for first in tqdm(range(0, len(rows[: MOST_PLAIN.get(name)]), PLAIN_OF_A_FILE), name):
            path = work / "blocks-plain" / f"{name}-{first:05d}.npz"
            if path.is_file():
                continue
            features, targets = [], []
            for row in rows[first : first + PLAIN_OF_A_FILE]:
                with suppress(MediaError):  # no face is found
                    crops = extract_clips(work / "sets" / row["file"], extraction, faces).clips[0].images
                    features.append(network.features(crops))
                    targets += [row["label"] == "FAKE"] * len(crops)
            _write_features(path, features, targets)


def _write_features(path: Path, features: Sequence[Features], targets: Sequence[float]) -> None:
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, features=np.concatenate(features).astype(np.float16), targets=np.array(targets, np.float32))


def _read_features(folder: Path) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
    parts = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    return np.concatenate([part["features"] for part in parts]), np.concatenate([part["targets"] for part in parts])


def noise(work: Path) -> None:
    """Write by how much unaugmented training crops' features change in 8 bits."""
    dataset, rows, _ = _joined(work)
    network, run = _network(work), work / "runs" / "blocks-start"
    record = RunFolder(run).detector()
    compiled = compile_backbone(quantised(read_backbone(run, record), dataset, rows), precision="int8")
    rounded = OpenVinoNetwork(lambda: compiled, read_numpy_head(run, record))
    chosen, errors = evenly_spaced(rows, NOISE_CROPS), []
    for first in tqdm(range(0, NOISE_CROPS, 50)):
        crops = np.concatenate([dataset.load_frames(row, [row.frames // 2]) for row in chosen[first : first + 50]])
        errors.append(rounded.features(crops) - network.features(crops))
    with replacing(work / "blocks-noise.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, errors=np.concatenate(errors).astype(np.float16))


def fit(work: Path) -> None:
    """Fit logistic regression to drawn and plain crops, and write a run folder with it."""
    drawn, crops = _read_features(work / "blocks"), _read_features(work / "blocks-plain")
    features = np.concatenate([drawn[0], crops[0]]).astype(np.float32)
    is_fake = np.concatenate([drawn[1], crops[1]]) > 0
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.maximum(deviation, 0.1 * np.median(deviation))  # an almost constant channel may vary elsewhere
    errors, random = np.load(work / "blocks-noise.npz")["errors"], np.random.default_rng(SEED)
    signs = random.choice([-NOISE_GAIN, NOISE_GAIN], size=(len(features), 1)).astype(np.float32)
    features += signs * errors[random.integers(len(errors), size=len(features))]
    fitted = LogisticRegression(C=STRENGTH, max_iter=300).fit((features - mean) / deviation, is_fake)
    _write_run(work, mean, deviation, fitted, crops={"drawn": len(drawn[1]), "plain": len(crops[1])})


def _write_run(
    work: Path,
    mean: npt.NDArray[np.float32],
    deviation: npt.NDArray[np.float32],
    fitted: LogisticRegression,
    *,
    crops: dict[str, int],
) -> None:
    network, start = _empty_network(work)
    layer = network.head.get_layer("standardise")
    layer.adapt_mean.assign(mean.reshape(layer.adapt_mean.shape))
    layer.adapt_variance.assign((deviation**2).reshape(layer.adapt_variance.shape))
    layer.finalize_state()
    network.head.get_layer("frame_logits").set_weights([fitted.coef_.T, fitted.intercept_])
    run = RunFolder(work / "runs" / "blocks")
    _write(work, run, network, start)
    dataset, _, splits = _joined(work)
    write_splits(run.splits_file, dataset.rows, splits)
    rows = [row for row in dataset.rows if splits[row.video] == "train"]
    about = {
        "backbone": {"weights": start.backbone_weights},
        "clips": len(rows),
        "groups": len({row.group for row in rows}),
        "crops": crops,
    }
    write_json(run.about_file, about)


def _write(work: Path, run: RunFolder, network: ClipNetwork, start: DetectorRecord) -> None:
    """Write weights and ``detector.json``, with the reference of familiarity that the start has."""
    run.path.mkdir(parents=True, exist_ok=True)
    write_weights(run.path, network)
    checksum = sha256_of(run.weights_file)
    changes = {"backbone": BACKBONE, "backbone_checksum": checksum, "weights_sha256": checksum}
    start.model_copy(update=changes).write(run.detector_file)
    run.familiarity_file.write_bytes(RunFolder(work / "second_release").familiarity_file.read_bytes())


def _empty_network(work: Path) -> tuple[ClipNetwork, DetectorRecord]:
    """Return the start's backbone under a new head, and the start's record."""
    network, start = load_network(work / "second_release")
    size, frames = start.extraction.size, start.extraction.frames
    backbone = rebuilt_as(BACKBONE, network.backbone, size=size)
    head = build_head(start.model, frames=frames, channels=backbone.output.shape[-1])
    return compose(backbone, head, frames=frames, size=size), start


@functools.cache
def _network(work: Path) -> OpenVinoNetwork:
    """Return the backbone on OpenVINO, under an untrained head."""
    run = RunFolder(work / "runs" / "blocks-start")
    if not run.detector_file.is_file():
        _write(work, run, *_empty_network(work))
    record = run.detector()
    compiled = functools.cache(lambda: compile_backbone(read_backbone(run.path, record)))
    return OpenVinoNetwork(compiled, read_numpy_head(run.path, record))


@functools.cache
def _joined(work: Path) -> tuple[FaceDataset, list[ClipRow], dict]:
    """Return the dataset as it is trained on, its training rows and the splits of its videos."""
    joined, splits = join_forged(work, fold=0)
    dataset = read_face_dataset(joined).reframed(size=FORGED.size, margin=FORGED.margin)
    return dataset, [row for row in dataset.rows if splits[row.video] == "train"], splits


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("stage", choices=["draw", "plain", "noise", "fit"])
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    {"draw": draw, "plain": plain, "noise": noise, "fit": fit}[options.stage](options.work)


if __name__ == "__main__":
    main()
