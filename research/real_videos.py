"""Measure common recipes on real videos of people that they never saw, and what each common fault changes.

    python -m research.real_videos DATA --work WORK

DATA holds ``videos.csv`` (file,label,dataset,group). An interrupted run continues. 95 clips take about 25 minutes on
two cores.

Protocol, fixed before any result was seen: five folds by source pair, three seeds (folds and weights), scores
calibrated and thresholds chosen on a validation part of the other folds; intervals are 95 % percentiles of 2,000
bootstrap resamples of whole groups; differences are paired by seed and resample. AUC compares clips of one fold only,
because each fold has a model of its own. (A first version pooled the folds; a constant then scored 0.48, which showed
the mistake. Nothing else was changed after results were seen.)
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common import RESEARCH_RESULTS, describe_machine, script_parser, write_results
from dfutils.extraction.catalogue import Catalogue, read_catalogue
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.figures.style import figure_png
from dfutils.files import read_json, write_bytes, write_json
from dfutils.records import ClipRow
from dfutils.settings import ExtractionSettings
from dfutils.statistics.cross_validation import FoldScores, measure, measure_difference
from dfutils.training.backbones import build_backbone
from dfutils.training.backend import keras
from dfutils.training.features import clip_features, feature_cache_key
from research import real_videos_tables as tables
from research.cross_validation import Flags, Task, cross_validate

BLOCKS = {"mixed2": 288, "mixed5": 768, "mixed10": 2048}
"""Pooled InceptionV3 blocks and their channels: an early, a middle and the last one."""

MODELS = ("inception_mean", "inception_gru", "inception_lstm_gru")
BLACK_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """A difference from the sound protocol.

    Attributes:
        title: Description in the table.
        crops: Changed extraction settings of training and test crops.
        test_crops: Settings changed for test crops only.
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
    """Amount of computation; the defaults are the published protocol."""

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
    """Stages that share the clips and a log of their costs."""

    def __init__(self, catalogue: Catalogue, options: Options) -> None:
        self.catalogue, self.options = catalogue, options
        self._costs_file = options.work / "costs.json"
        self.costs: dict[str, Any] = read_json(self._costs_file) if self._costs_file.is_file() else {}
        self.backbone = build_backbone(options.backbone_weights, size=options.size)
        self.dataset = self.extract({})
        self.rows: tuple[ClipRow, ...] = self.dataset.rows
        self.is_fake: Flags = np.array([row.is_fake for row in self.rows])
        self.groups = [row.group for row in self.rows]

    def extract(self, changes: dict[str, Any]) -> FaceDataset:
        """Return the face dataset that is extracted with changed settings."""
        settings = ExtractionSettings.parse({"size": self.options.size, **changes}, source="benchmark")
        name = "-".join(f"{key}-{value}" for key, value in sorted(changes.items())) or "motion"
        folder = self.options.work / "faces" / name
        started, was_there = time.monotonic(), (folder / "manifest.csv").is_file()
        extract_dataset(self.catalogue, folder, settings=settings, workers=self.options.workers)
        if not was_there:
            self._note(f"extract {name}", time.monotonic() - started, videos=len(self.catalogue.videos))
        return read_face_dataset(folder)

    def features(self, changes: dict[str, Any], *, bgr: bool = False) -> npt.NDArray[np.float32]:
        """Return pooled blocks ``(N, T, 288 + 768 + 2048)`` in the order of ``self.rows``."""
        dataset = self.extract(changes)
        by_video = {row.video: row for row in dataset.rows}
        rows = [by_video[row.video] for row in self.rows]
        key = feature_cache_key(self.backbone.checksum, size=self.options.size) + f" blocks {list(BLOCKS)} bgr {bgr}"
        blocks = functools.partial(self._blocks(bgr=bgr).predict, batch_size=16, verbose=0)
        started = time.monotonic()
        features = clip_features(dataset, rows, blocks, cache_key=key)
        seconds = time.monotonic() - started
        if seconds > len(rows) * 0.05:  # otherwise they came from the cache
            images = features.shape[0] * features.shape[1]
            self._note(f"features {changes or 'motion'}{' bgr' if bgr else ''}", seconds, images=images)
        return features

    def score(self, name: str, model: str, fault: Fault, block: str = "mixed10") -> FoldScores:
        """Return cross-validated scores of one model with one fault."""
        start = sum(list(BLOCKS.values())[: list(BLOCKS).index(block)])
        channels = slice(start, start + BLOCKS[block])
        train = self.features(fault.crops, bgr=fault.bgr)[..., channels]
        test = self.features({**fault.crops, **fault.test_crops}, bgr=fault.bgr)[..., channels]
        if fault.shuffled:
            train, test = _shuffled(train, self.rows), _shuffled(test, self.rows)
        if fault.black:
            black = np.zeros((1, self.options.size, self.options.size, 3), np.uint8)
            test = test.copy()
            test[:, -BLACK_FRAMES:] = self._blocks(bgr=fault.bgr).predict(black, verbose=0)[0, channels]
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
        """Return cross-validated scores of one model on the given features."""

        def task(seed: int, splits: npt.NDArray[np.str_]) -> Task:
            return Task(model, train, test, self.is_fake, splits, seed, self.options.epochs)

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

    def _blocks(self, *, bgr: bool) -> Any:
        inception = next(layer for layer in self.backbone.model.layers if layer.name.startswith("inception"))
        outputs = [keras.layers.GlobalAveragePooling2D()(inception.get_layer(name).output) for name in BLOCKS]
        blocks = keras.Model(inception.input, keras.layers.Concatenate()(outputs))
        size = self.options.size
        crops = keras.Input((size, size, 3), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(crops)
        return keras.Model(crops, blocks(scaled[..., ::-1] if bgr else scaled))

    def _note(self, stage: str, seconds: float, **amounts: int) -> None:
        rates = {f"{name}_per_second": round(amount / seconds, 2) for name, amount in amounts.items() if seconds > 0}
        self.costs[stage] = {"seconds": round(seconds, 1), **amounts, **rates}
        write_json(self._costs_file, self.costs)


def run(catalogue: Catalogue, options: Options) -> dict[str, Any]:
    """Measure all rows of both tables and return them as one JSON document."""
    bench = Benchmark(catalogue, options)
    sound = {model: bench.score(model, model, Fault("")) for model in options.models}
    baseline = sound[options.fault_model]
    constant, facts = np.zeros((len(bench.rows), 1, 1), np.float32), file_facts(bench.rows)
    systems = {
        "constant": bench.validate("constant", "logistic", constant, constant),
        "file_facts": bench.validate("file facts", "logistic", facts, facts),
        **{
            f"logistic_{block}": bench.score(f"logistic {block}", "logistic", Fault(""), block=block)
            for block in BLOCKS
        },
        **sound,
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
    }


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__, out=RESEARCH_RESULTS)
    parser.add_argument("data", type=Path, help="folder with videos.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for crops and finished fits")
    parser.add_argument("--dataset", default="ffpp_c23", help="prefix of the data sets to use (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    videos = read_catalogue(options.data, options.data / "videos.csv").videos
    chosen = tuple(video for video in videos if video.dataset.startswith(options.dataset))
    results = {**run(Catalogue(chosen, ()), Options(work=options.work)), "machine": describe_machine()}
    write_results(options.out, "real_videos", results, tables.markdown(results))
    write_bytes(options.out / "real_videos.png", figure_png(tables.plot(results), dpi=110))
    print(f"{options.out}: real_videos.json, real_videos.md, real_videos.png")


def file_facts(rows: Sequence[ClipRow]) -> npt.NDArray[np.float32]:
    """Return what is known of a file without decoding it, as logarithms: size, frame rate, duration and bit rate."""
    facts = [
        [row.width * row.height, row.fps, row.duration_seconds, 8 * row.size_bytes / row.duration_seconds]
        for row in rows
    ]
    return np.log(np.array(facts, np.float32))[:, None, :]


def _shuffled(features: npt.NDArray[np.float32], rows: Sequence[ClipRow]) -> npt.NDArray[np.float32]:
    """Put the frames of each clip into an order of its own, as a directory listing may return them."""
    orders = [np.random.default_rng(int(row.sha256[:8], 16)).permutation(features.shape[1]) for row in rows]
    return np.stack([clip[order] for clip, order in zip(features, orders, strict=True)])


if __name__ == "__main__":
    main()
