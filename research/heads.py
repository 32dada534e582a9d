"""Compare candidate heads over time with those of the package, on features of real clips.

    python -m research.heads FACES --work WORK
    python -m research.heads FACES --work WORK --run RUN --name heads_fine_tuned    # on the backbone of a run

FACES is a face dataset with FaceForensics++ c23 clips; its other data sets are left out. RUN must not have been trained
on them. The protocol is that of `research.real_videos`: frozen backbone, five folds by source pair, three seeds,
intervals over source pairs. The rule was fixed before any result was seen: a candidate is added to the package if its
AUC exceeds that of the best existing head, with a paired 95 % interval above 0. An interrupted run continues.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common import RESEARCH_RESULTS, script_parser, with_interval, write_results
from dfutils.extraction.dataset import read_face_dataset
from dfutils.runs.folder import RunFolder
from dfutils.statistics.cross_validation import FoldScores, measure, measure_difference
from dfutils.training.backbones import Backbone, build_backbone
from dfutils.training.backend import keras
from dfutils.training.features import clip_features, feature_cache_key
from dfutils.training.model import HEADS, build_head
from dfutils.training.saved_network import load_network
from research.cross_validation import Task, cross_validate

EXISTING = ("inception_mean", "inception_gru", "inception_lstm_gru")
"""Heads that the package had when the candidates were tried."""


@dataclass(frozen=True, slots=True)
class Options:
    """Amount of computation; the defaults are the published protocol."""

    work: Path
    dataset: str = "ffpp_c23"
    backbone_weights: str = "auto"
    run: Path | None = None
    folds: int = 5
    seeds: int = 3
    epochs: int = 10


def _lstm_head(frames: int, channels: int) -> keras.Model:
    features, standardised = _begin(frames, channels)
    return _end(features, keras.layers.LSTM(128)(standardised), "lstm")


def _convolution_head(frames: int, channels: int) -> keras.Model:
    """Two residual convolutions over time, the second dilated, and the mean over time."""
    features, standardised = _begin(frames, channels)
    states = keras.layers.Dense(128)(standardised)
    for dilation in (1, 2):
        found = keras.layers.Conv1D(128, 3, padding="same", dilation_rate=dilation, activation="relu")(states)
        states = keras.layers.Add()([states, found])
    return _end(features, keras.layers.GlobalAveragePooling1D()(states), "convolution")


def _transformer_head(frames: int, channels: int) -> keras.Model:
    """One block of self-attention with learnt positions, and the mean over time."""
    features, standardised = _begin(frames, channels)
    states = _Positions()(keras.layers.Dense(128)(standardised))
    attended = keras.layers.MultiHeadAttention(4, 32)(*[keras.layers.LayerNormalization()(states)] * 2)
    states = keras.layers.Add()([states, attended])
    thought = keras.layers.Dense(256, activation="gelu")(keras.layers.LayerNormalization()(states))
    states = keras.layers.Add()([states, keras.layers.Dense(128)(thought)])
    return _end(features, keras.layers.GlobalAveragePooling1D()(states), "transformer")


class _Positions(keras.layers.Layer):
    """Adds a learnt vector to each position in time."""

    def build(self, input_shape: tuple[int, ...]) -> None:
        """See `keras.layers.Layer`."""
        self.positions = self.add_weight(shape=input_shape[1:], initializer="random_normal")

    def call(self, states: keras.KerasTensor) -> keras.KerasTensor:
        """See `keras.layers.Layer`."""
        return states + self.positions


def _begin(frames: int, channels: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    features = keras.Input((frames, channels), name="features")
    return features, keras.layers.Normalization(name="standardise")(features)


def _end(features: keras.KerasTensor, state: keras.KerasTensor, name: str) -> keras.Model:
    logit = keras.layers.Dense(1)(keras.layers.Dropout(0.5)(state))
    return keras.Model(features, keras.layers.Activation("sigmoid", dtype="float32")(logit), name=name)


CANDIDATES = {"lstm": _lstm_head, "convolution": _convolution_head, "transformer": _transformer_head}


def run(faces: Path, options: Options) -> dict[str, Any]:
    """Measure every head, and its difference from the best existing one."""
    HEADS.update(CANDIDATES)  # workers=1 below: all fits are made in this process
    dataset = read_face_dataset(faces)
    rows = [row for row in dataset.rows if row.dataset.startswith(options.dataset) and row.track == 0]
    is_fake, groups = np.array([row.is_fake for row in rows]), [row.group for row in rows]
    size = dataset.settings.size
    backbone = choose_backbone(options, size)
    key = feature_cache_key(backbone.checksum, size=size, family=backbone.family)
    features = clip_features(dataset, rows, backbone.features, cache_key=key)

    def scores_of(name: str) -> FoldScores:
        def task(seed: int, splits: npt.NDArray[np.str_]) -> Task:
            return Task(name, features, features, is_fake, splits, seed, options.epochs)

        folder = options.work / "fits"
        return cross_validate(
            name, task, rows, folds=options.folds, seeds=options.seeds, grouped=True, folder=folder, workers=1
        )

    scores = {name: scores_of(name) for name in (*EXISTING, *CANDIDATES)}
    measured = {name: measure(one, is_fake, groups) for name, one in scores.items()}
    best = max(EXISTING, key=lambda name: measured[name]["auc"]["value"] or 0.0)
    return {
        "clips": len(rows),
        "groups": len(set(groups)),
        "folds": options.folds,
        "seeds": options.seeds,
        "size": size,
        "backbone": {"family": backbone.family, "weights": backbone.weights, "origin": backbone.origin},
        "best": best,
        "heads": {
            name: {
                **measured[name],
                "weights": build_head(name, frames=features.shape[1], channels=features.shape[2]).count_params(),
                "difference": measure_difference(scores[name], scores[best], is_fake, groups)["auc"],
            }
            for name in scores
        },
    }


def choose_backbone(options: Options, size: int) -> Backbone:
    """Return the frozen backbone of the options: a run's, or one with published weights."""
    if options.run is None:
        return build_backbone(options.backbone_weights, size=size)
    network, settings = load_network(options.run)
    origin = RunFolder(options.run).about()["backbone"]["origin"]
    return Backbone(
        network.backbone,
        weights=f"fine-tuned by a run of {settings.name}",
        checksum=settings.backbone_checksum,
        origin=origin,
        family=settings.backbone,
    )


def earns_its_place(head: Mapping[str, Any]) -> bool:
    """Tell whether the interval of the difference from the best head lies above 0."""
    low = head["difference"]["low"]
    return low is not None and low > 0


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table and the decision, as Markdown."""
    best = results["best"]
    lines = [
        f"{results['clips']} FaceForensics++ c23 clips of {results['groups']} source pairs, {results['size']} pixels; "
        f"{results['folds']}-fold cross-validation by source pair, mean of {results['seeds']} seeds, 95 % intervals. "
        f"{results['backbone']['family']}, frozen: {results['backbone']['weights']}.",
        "",
        f"| head | weights | AUC | difference from `{best}` | log loss |",
        "|---|---|---|---|---|",
    ]
    for name, head in results["heads"].items():
        difference = "" if name == best else with_interval(head["difference"], sign="+")
        auc, log_loss = with_interval(head["auc"]), with_interval(head["log_loss"])
        cells = (f"`{name}`", f"{head['weights']:,}", auc, difference, log_loss)
        lines.append(f"| {' | '.join(cells)} |")
    earned = [name for name in CANDIDATES if earns_its_place(results["heads"][name])]
    verdict = f"Added: {', '.join(earned)}." if earned else "No candidate was added."
    rule = f"A candidate is added if the interval of its difference from `{best}`, the best head so far, lies above 0."
    return "\n".join([*lines, "", f"{verdict} {rule}"]) + "\n"


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__, out=RESEARCH_RESULTS)
    parser.add_argument("faces", type=Path, help="face dataset")
    parser.add_argument("--work", type=Path, required=True, help="folder for finished fits")
    parser.add_argument("--run", type=Path, help="run folder whose backbone is used instead of the frozen ImageNet one")
    parser.add_argument("--name", default="heads", help="name of the results files (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    results = run(options.faces, Options(work=options.work, run=options.run))
    write_results(options.out, options.name, results, markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
