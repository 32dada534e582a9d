"""Measure what training costs, as ratios within one run.

    python -m benchmarks.training
    python -m benchmarks.training --only input

Figures go to ``results/training.json`` and ``.md``, targets to the JSON.

``cached``: 50 epochs of a recurrent head over 153 clips of 10 frames (122 for training, 31 for validation), with
features that are computed once, and with features computed in every epoch. The latter would take hours, so the cost per
image is measured on a sample and multiplied. Neither the weights of the backbone nor the content of the images affects
the time: weights are random, faces made up. Wall-clock time, on all cores.

``input``: decoding, self-blending and augmenting single crops, as fine-tuning does, in CPU time on one core, times the
four cores of a Kaggle machine, against the images per second at which one of its T4s trains InceptionV3. Crops get
camera grain, since the smooth ones of the demo would decode faster than real ones. Parallel efficiency is measured in
wall-clock time, with one worker process per core, and the cost of receiving a batch in CPU time of the training
process. Wall-clock times are reliable on a quiet machine only; the load average before the start is recorded.

No published figure for a T4 was found, so `T4_IMAGES_PER_SECOND` is derived, and more likely too high than too low. An
RTX 2080 has the chip of a T4 (TU104) with 2,944 instead of 2,560 cores, 448 instead of 320 GB/s and 215 instead of 70 W
(https://en.gamegpu.com/geforce-rtx-2xx-series/geforce-rtx-2080, https://sysrqmts.com/en/gpus/nvidia/tesla/t4). It
trains InceptionV3 at 142 images/s in float32 with TensorFlow 1.12, and half precision made training 1.446 times as fast
on average over seven networks on an RTX 2080 Ti (https://lambdalabs.com/blog/2080-ti-deep-learning-benchmarks). Smaller
crops are assumed to be faster by the ratio of the areas.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import joblib
import numpy as np

from benchmarks.common import (
    Figures,
    cpu_seconds,
    earlier_figures,
    figures_table,
    script_parser,
    target_lines,
    targets_document,
    wall_seconds,
    write_results,
)
from dfutils.demo.clips import make_demo_videos
from dfutils.demo.rendering import DemoSettings
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import FaceDataset, encode_image, read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.settings import ExtractionSettings, FinetuneSettings, TrainingSettings
from dfutils.training.backbones import build_backbone
from dfutils.training.batches import BatchLoader, BatchPlan, PairLoader
from dfutils.training.features import clip_features
from dfutils.training.fit import fit_head
from dfutils.training.input_pipeline import BatchSource, training_batches

CLIPS, FRAMES, EPOCHS = 153, 10, 50
VALIDATION_CLIPS, SAMPLE_CLIPS = 31, 8
SIZES, BATCHES, BATCH_SIZE = (299, 224), 20, 32
GRAIN = 3.0
"""Standard deviation of the camera grain, in levels of 0..255."""
KAGGLE_CORES = 4
TRAINED = FinetuneSettings(self_blended=0.5)
"""Settings of the measured input pipeline."""
T4_IMAGES_PER_SECOND = 142 * 1.446
"""Speed of training InceptionV3 on crops of 299 pixels in mixed precision; derived, see above."""

FIGURES: Figures = {
    "cached": ("50 epochs of a head: features computed in every epoch / once, time", "≥ 40"),
    "cached_before": ("the same, with features cached by an earlier run", ""),
    **{
        f"input_{size}": (f"images per second: input pipeline on 4 cores / training on one T4, {size} pixels", "≥ 2")
        for size in SIZES
    },
    "input_efficiency": ("parallel efficiency of the input pipeline: all cores / cores × one core", "≥ 0.8"),
    "input_received": ("images per second: batches that the training process can receive / training on two T4s", "≥ 4"),
}


def make_faces(folder: Path, *, size: int) -> FaceDataset:
    """Write a face dataset of eight made-up people, two clips each, with camera grain."""
    labels = make_demo_videos(folder / "videos", settings=DemoSettings(people=8, seconds=2.0), progress=False)
    faces, settings = folder / f"faces-{size}", ExtractionSettings(size=size)
    extract_dataset(read_catalogue(labels.parent, labels), faces, settings=settings, progress=False)
    dataset = read_face_dataset(faces)
    add_grain(dataset)
    return dataset


def add_grain(dataset: FaceDataset) -> None:
    """Add noise of `GRAIN` levels to the crops of a dataset, in place."""
    rng = np.random.default_rng(0)
    for row in dataset.rows:
        clip = dataset.load_clip(row)
        noisy = np.clip(clip + rng.normal(0, GRAIN, clip.shape), 0, 255).astype(np.uint8)
        for file, image in zip(dataset.files[row.clip_id], noisy, strict=True):
            (dataset.folder / file).write_bytes(encode_image(image, image_format="png"))


def measure_cached(folder: Path) -> dict[str, Any]:
    """Compare training a head on features that are computed once with computing them in every epoch."""
    dataset = make_faces(folder, size=SIZES[0])
    rows, images = dataset.rows[:SAMPLE_CLIPS], SAMPLE_CLIPS * FRAMES
    backbone = build_backbone("random", size=SIZES[0])

    def features(key: str = "benchmark") -> object:
        return clip_features(dataset, rows, backbone.features, cache_key=key, progress=False)

    with patch.dict(os.environ, DFUTILS_CACHE=str(folder / "cache")):
        features("warm up")
        compute, read = (wall_seconds(features) * CLIPS * FRAMES / images for _ in range(2))
    return cached_ratios(compute=compute, read=read, head=wall_seconds(train_head))


def cached_ratios(*, compute: float, read: float, head: float) -> dict[str, Any]:
    """Return the ratios, from the seconds to compute all features, to read them, and to train a head for all epochs."""
    anew = EPOCHS * compute + head
    return {
        "seconds_cached": {"compute": round(compute, 1), "read": round(read, 2), "head": round(head, 2)},
        "cached": anew / (compute + head),
        "cached_before": anew / (read + head),
    }


def train_head() -> None:
    """Train a recurrent head for all epochs on random features."""
    rng = np.random.default_rng(0)
    features, is_fake = rng.normal(0, 1, (CLIPS, FRAMES, 2048)).astype(np.float32), np.arange(CLIPS) % 2 == 0
    held = slice(0, VALIDATION_CLIPS)
    fit_head(
        features[VALIDATION_CLIPS:],
        is_fake[VALIDATION_CLIPS:],
        validation=(features[held], is_fake[held]),
        settings=TrainingSettings(model="inception_gru", epochs=EPOCHS, patience=EPOCHS),
        progress=False,
    )


def measure_input(folder: Path) -> dict[str, Any]:
    """Compare the input pipeline of fine-tuning with a T4."""
    figures: dict[str, Any] = {"t4_images_per_second": {}, "input_images_per_core_second": {}}
    figures["load_average"] = round(os.getloadavg()[0], 2)
    for size in SIZES:
        dataset = make_faces(folder, size=size)
        speed = input_speed(dataset, batches=BATCHES)
        t4 = T4_IMAGES_PER_SECOND * (SIZES[0] / size) ** 2
        figures["t4_images_per_second"][str(size)] = round(t4, 1)
        figures["input_images_per_core_second"][str(size)] = {name: round(value, 1) for name, value in speed.items()}
        figures[f"input_{size}"] = KAGGLE_CORES * speed["all"] / t4
        if size == SIZES[0]:
            cores = joblib.cpu_count()
            together = input_together(dataset, workers=cores, batches=BATCHES)
            figures |= {
                "input_cores": cores,
                "input_efficiency": together["speedup"] / cores,
                "input_received": together["received"] / (2 * t4),
            }
    return figures


def input_speed(dataset: FaceDataset, *, batches: int) -> dict[str, float]:
    """Return images per second of CPU time on one core: ``decode`` alone, and ``all`` that fine-tuning does."""
    plan, loader = _plan(dataset), _loader(dataset)
    pairs = [pair for step in range(batches) for pair in plan.pairs(step)]
    rows = [dataset.rows[place] for pair in pairs for place in (pair.real, pair.forged)]
    work: dict[str, Callable[[], object]] = {
        "decode": lambda: deque((dataset.load_frames(row, [0]) for row in rows), maxlen=0),
        "all": lambda: deque(map(loader.load, pairs), maxlen=0),
    }
    return {name: len(rows) / cpu_seconds(step) for name, step in work.items()}


def input_together(dataset: FaceDataset, *, workers: int, batches: int) -> dict[str, float]:
    """Run the input pipeline with worker processes.

    Returns:
        ``speedup`` over a loop in wall-clock time, and ``received``: images per second of the training process's CPU
        time.
    """
    loader = BatchLoader(_plan(dataset), _loader(dataset))
    steps = workers * batches  # each worker has as much to do as the loop

    def consume(count: int) -> None:
        pipeline = training_batches(source, start=0, stop=count, frames=1, size=dataset.settings.size)
        deque(pipeline.as_numpy_iterator(), maxlen=0)

    loop = wall_seconds(lambda: deque(map(loader.load, range(batches)), maxlen=0)) * workers
    with BatchSource(loader, workers=workers) as source:
        consume(4 * workers)  # until all have started
        before = time.process_time()
        pipeline = wall_seconds(lambda: consume(steps))
        received = time.process_time() - before
    return {"speedup": loop / pipeline, "received": steps * BATCH_SIZE / received}


def _plan(dataset: FaceDataset) -> BatchPlan:
    return BatchPlan(dataset.rows, batch_size=BATCH_SIZE, settings=TRAINED, seed=0)


def _loader(dataset: FaceDataset) -> PairLoader:
    return PairLoader(dataset, dataset.rows, frames=1, settings=TRAINED)


PARTS = {"cached": measure_cached, "input": measure_input}


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures and what they rest on, as Markdown."""
    notes = []
    if "seconds_cached" in figures:
        seconds = figures["seconds_cached"]
        notes.append(
            f"{CLIPS} clips of {FRAMES} frames: features {seconds['compute']} s (scaled from {SAMPLE_CLIPS} clips), "
            f"{EPOCHS} epochs of the head {seconds['head']} s."
        )
    if "t4_images_per_second" in figures:
        rates = " and ".join(
            f"{figures['input_images_per_core_second'][str(size)]['all']:.0f} images per second per core at {size} px"
            for size in SIZES
        )
        notes.append(
            f"Input pipeline: {rates}. One T4 is assumed to train InceptionV3 at {T4_IMAGES_PER_SECOND:.0f} images per "
            "second at 299 px: derived, not measured, from Lambda's figures for an RTX 2080, which has the same "
            "chip with more cores (see `benchmarks/training.py`)."
        )
    if "input_cores" in figures:
        notes.append(
            f"Wall-clock times on {figures['input_cores']} cores with one worker process each; load average before "
            f"the start {figures['load_average']:.1f}."
        )
    return "\n".join([figures_table(figures, FIGURES), *notes]) + "\n"


def main() -> None:
    """Command line."""
    options = script_parser(__doc__, parts=PARTS).parse_args()
    cv2.setNumThreads(1)
    figures = earlier_figures(options.out, "training", only=options.only)
    for name in options.only or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            figures |= PARTS[name](Path(folder))
        print(target_lines(figures, FIGURES))
    document = {"targets": targets_document(FIGURES), "figures": figures}
    write_results(options.out, "training", document, table(figures))


if __name__ == "__main__":
    main()
