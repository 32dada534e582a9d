"""What the frozen backbone and its recurrent heads really do on people they never saw, and what each fault adds.

    python -m benchmarks.real_videos DATA --work WORK

DATA holds ``videos.csv`` (file,label,dataset,group). Everything is resumable: the same command goes on where it
stopped. Two cores need about 25 minutes for 95 clips.

Protocol, fixed before any result was seen: five folds by source pair, three seeds (folds and weights), scores
calibrated and thresholds chosen on a validation part of the other folds; intervals are 95 % percentiles of 2,000
bootstrap resamples of whole groups; differences are paired by seed and resample. AUC compares clips of one fold only,
since each fold has a model of its own. (A first version pooled the folds; a constant then scored 0.48, which showed the
mistake. Nothing else was changed after results were seen.)
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import real_videos_tables as tables
from benchmarks.cross_validation import Flags, Task, cross_validate
from benchmarks.machine import describe_machine
from dfutils.extraction.catalogue import Catalogue, read_catalogue
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.files import read_json, write_json
from dfutils.records import ClipRow
from dfutils.settings import ExtractionSettings
from dfutils.statistics.cross_validation import FoldScores, measure, measure_difference

BLOCKS = {"mixed2": 288, "mixed5": 768, "mixed10": 2048}
"""Pooled InceptionV3 blocks and their channels: an early, a middle and the last one."""

MODELS = ("inception_mean", "inception_gru", "inception_lstm_gru")
BLACK_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """A difference from the honest protocol.

    Attributes:
        title: For the table.
        crops: Extraction settings of training and test crops that differ.
        test_crops: The same for test crops only.
        bgr: Whether colours are swapped.
        shuffled: Whether frames are out of order.
        black: Whether the last frames are black in prediction only.
        grouped: Whether groups stay together.
    """

    title: str
    crops: dict[str, Any] = field(default_factory=dict)
    test_crops: dict[str, Any] = field(default_factory=dict)
    bgr: bool = False
    shuffled: bool = False
    black: bool = False
    grouped: bool = True


FAULTS = {
    "ungrouped": Fault("split by clip: sources shared between training and test", grouped=False),
    "shuffled": Fault("frames out of order", shuffled=True),
    "bgr": Fault("BGR into RGB weights", bgr=True),
    "black": Fault(f"{BLACK_FRAMES} of 10 frames black in prediction, none in training", black=True),
    "whole": Fault("whole frames instead of faces", crops={"crop": "none"}),
    "margin": Fault("face box 30 % too wide in prediction", test_crops={"margin": 0.15}),
    "uniform": Fault("uniform instead of motion frames", crops={"sampling": "uniform"}),
    "first": Fault("first ten frames", crops={"sampling": "first"}),
    "all": Fault(
        "all together",
        crops={"crop": "none", "sampling": "first"},
        bgr=True,
        shuffled=True,
        black=True,
        grouped=False,
    ),
}


@dataclass(frozen=True, slots=True)
class Options:
    """How much to compute; the defaults are the published protocol."""

    work: Path
    models: Sequence[str] = MODELS
    fault_model: str = "inception_gru"
    faults: Sequence[str] = tuple(FAULTS)
    folds: int = 5
    seeds: int = 3
    epochs: int = 10
    size: int = 299
    backbone_weights: str = "auto"
    workers: int = 2


class Benchmark:
    """Stages that share the clips and a log of what each cost."""

    def __init__(self, catalogue: Catalogue, options: Options) -> None:
        self.catalogue, self.options = catalogue, options
        self._costs_file = options.work / "costs.json"
        self.costs: dict[str, Any] = read_json(self._costs_file) if self._costs_file.is_file() else {}
        self.backbone = self._build_backbone()
        self.dataset = self.extract({})
        self.rows: tuple[ClipRow, ...] = self.dataset.rows
        self.is_fake: Flags = np.array([row.is_fake for row in self.rows])
        self.groups = [row.group for row in self.rows]

    def extract(self, changes: dict[str, Any]) -> FaceDataset:
        """The face dataset of changed settings."""
        settings = ExtractionSettings.parse({"size": self.options.size, **changes}, source="benchmark")
        name = "-".join(f"{key}-{value}" for key, value in sorted(changes.items())) or "motion"
        folder = self.options.work / "faces" / name
        started, was_there = time.monotonic(), (folder / "manifest.csv").is_file()
        extract_dataset(self.catalogue, folder, settings=settings, workers=self.options.workers)
        if not was_there:
            self._note(f"extract {name}", time.monotonic() - started, videos=len(self.catalogue.videos))
        return read_face_dataset(folder)

    def features(self, changes: dict[str, Any], *, bgr: bool = False) -> npt.NDArray[np.float32]:
        """Pooled blocks ``(N, T, 288 + 768 + 2048)`` in the order of ``self.rows``."""
        from dfutils.training.features import backbone_key, clip_features

        dataset = self.extract(changes)
        by_video = {row.video: row for row in dataset.rows}
        rows = [by_video[row.video] for row in self.rows]
        key = backbone_key(self.backbone.checksum, size=self.options.size) + f" blocks {list(BLOCKS)} bgr {bgr}"
        started = time.monotonic()
        features = clip_features(dataset, rows, self._blocks(bgr=bgr), backbone_key=key)
        seconds = time.monotonic() - started
        if seconds > len(rows) * 0.05:  # else they came from the cache
            images = features.shape[0] * features.shape[1]
            self._note(f"features {changes or 'motion'}{' bgr' if bgr else ''}", seconds, images=images)
        return features

    def score(self, name: str, model: str, fault: Fault, block: str = "mixed10") -> FoldScores:
        """Cross-validated scores of one model with one fault."""
        channels = _channels(block)
        train = self.features(fault.crops, bgr=fault.bgr)[..., channels]
        test = self.features({**fault.crops, **fault.test_crops}, bgr=fault.bgr)[..., channels]
        if fault.shuffled:
            train, test = _shuffled(train, self.rows), _shuffled(test, self.rows)
        if fault.black:
            test = test.copy()
            test[:, -BLACK_FRAMES:] = self._black_features(bgr=fault.bgr)[channels]
        return self.validate(name, model, train, test, grouped=fault.grouped)

    def validate(
        self,
        name: str,
        model: str,
        train: npt.NDArray[np.float32],
        test: npt.NDArray[np.float32],
        *,
        grouped: bool = True,
    ) -> FoldScores:
        """Cross-validated scores of one model on given features."""

        def task(seed: int, sides: npt.NDArray[np.str_]) -> Task:
            return Task(model, train, test, self.is_fake, sides, seed, self.options.epochs)

        started = time.monotonic()
        scores = cross_validate(
            name,
            task,
            self.rows,
            folds=self.options.folds,
            seeds=self.options.seeds,
            grouped=grouped,
            folder=self.options.work / "fits",
            workers=self.options.workers,
        )
        seconds = time.monotonic() - started
        if seconds > 2 or f"fit {name}" not in self.costs:
            self._note(f"fit {name}", seconds, fits=self.options.folds * self.options.seeds)
        return scores

    def _build_backbone(self) -> Any:
        from dfutils.training.backbones import build_backbone

        return build_backbone(self.options.backbone_weights, size=self.options.size)

    def _blocks(self, *, bgr: bool) -> Any:
        from dfutils.training.backend import keras

        inception = next(layer for layer in self.backbone.model.layers if layer.name.startswith("inception"))
        outputs = [keras.layers.GlobalAveragePooling2D()(inception.get_layer(name).output) for name in BLOCKS]
        blocks = keras.Model(inception.input, keras.layers.Concatenate()(outputs))
        size = self.options.size
        crops = keras.Input((size, size, 3), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(crops)
        return keras.Model(crops, blocks(scaled[..., ::-1] if bgr else scaled))

    def _black_features(self, *, bgr: bool) -> npt.NDArray[np.float32]:
        black = np.zeros((1, self.options.size, self.options.size, 3), np.uint8)
        return self._blocks(bgr=bgr).predict(black, verbose=0)[0]

    def _note(self, stage: str, seconds: float, **amounts: int) -> None:
        rates = {f"{name}_per_second": round(amount / seconds, 2) for name, amount in amounts.items() if seconds > 0}
        self.costs[stage] = {"seconds": round(seconds, 1), **amounts, **rates}
        write_json(self._costs_file, self.costs)


def run(catalogue: Catalogue, options: Options) -> dict[str, Any]:
    """All rows of both tables as one JSON document."""
    bench = Benchmark(catalogue, options)
    honest = {model: bench.score(model, model, Fault("")) for model in options.models}
    baseline = honest[options.fault_model]
    systems = {
        "constant": bench.validate("constant", "logistic", *_twice(np.zeros((len(bench.rows), 1, 1), np.float32))),
        "file_facts": bench.validate("file facts", "logistic", *_twice(_file_facts(bench.rows))),
        **{
            f"logistic_{block}": bench.score(f"logistic {block}", "logistic", Fault(""), block=block)
            for block in BLOCKS
        },
        **honest,
    }
    faults = {name: bench.score(name, options.fault_model, FAULTS[name]) for name in options.faults}
    truth = (bench.is_fake, bench.groups)
    return {
        "clips": len(bench.rows),
        "real": int((~bench.is_fake).sum()),
        "fake": int(bench.is_fake.sum()),
        "groups": len(set(bench.groups)),
        "folds": options.folds,
        "seeds": options.seeds,
        "fault_model": options.fault_model,
        "backbone": {"weights": bench.backbone.weights, "origin": bench.backbone.origin},
        "face_detector": bench.dataset.about["detector"]["name"],
        "systems": {name: measure(scores, *truth) for name, scores in systems.items()},
        "faults": {
            name: {
                "title": FAULTS[name].title,
                "measured": measure(scores, *truth),
                "difference": measure_difference(scores, baseline, *truth),
            }
            for name, scores in faults.items()
        },
        "costs": bench.costs,
        "machine": describe_machine(),
    }


def select(catalogue: Catalogue, prefix: str) -> Catalogue:
    """The videos whose data set begins with ``prefix``."""
    videos = tuple(video for video in catalogue.videos if video.dataset.startswith(prefix))
    return Catalogue(videos, ())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with videos.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for crops and finished fits")
    parser.add_argument("--dataset", default="ffpp_c23", help="data sets whose name begins so (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="default: %(default)s")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    catalogue = select(read_catalogue(options.data, options.data / "videos.csv"), options.dataset)
    results = run(catalogue, Options(work=options.work))
    write_json(options.out / "real_videos.json", results)
    tables.write(results, options.out)
    print(f"{options.out}: real_videos.json, real_videos.md, real_videos.png")


def _channels(block: str) -> slice:
    end = 0
    for name, channels in BLOCKS.items():
        end += channels
        if name == block:
            return slice(end - channels, end)
    raise ValueError(f"block must be one of {list(BLOCKS)}. Received: {block}")


def _twice(features: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return features, features


def _file_facts(rows: Sequence[ClipRow]) -> npt.NDArray[np.float32]:
    """What a file says without being looked at: size, frame rate, duration and bit rate, as logarithms."""
    facts = [
        [row.width * row.height, row.fps, row.duration_seconds, 8 * row.size_bytes / row.duration_seconds]
        for row in rows
    ]
    return np.log(np.array(facts, np.float32))[:, None, :]


def _shuffled(features: npt.NDArray[np.float32], rows: Sequence[ClipRow]) -> npt.NDArray[np.float32]:
    """Every clip's frames in an order of its own, as a directory listing may give them."""
    orders = [np.random.default_rng(int(row.sha256[:8], 16)).permutation(features.shape[1]) for row in rows]
    return np.stack([clip[order] for clip, order in zip(features, orders, strict=True)])


if __name__ == "__main__":
    main()
