"""Which heads over time earn a place in the package: candidates against those it has, on features of real clips.

    python -m benchmarks.heads FACES --work WORK
    python -m benchmarks.heads FACES --work WORK --run RUN --name heads_fine_tuned    # on the backbone of a run

FACES is a face dataset of FaceForensics++ c23 (other data sets in it are left out). The protocol is that of
`benchmarks.real_videos`: frozen backbone, five folds by source pair, three seeds, intervals over source pairs. The rule
was fixed before any result was seen: a candidate is taken into the package if its AUC is above that of the best head
that is there already, with a paired 95 % interval that leaves out 0. Everything is resumable. A RUN must not have been
trained on FACES.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.cross_validation import Task, cross_validate
from benchmarks.machine import describe_machine
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import write_json, write_text
from dfutils.runs.folder import RunFolder
from dfutils.statistics.cross_validation import FoldScores, measure, measure_difference
from dfutils.training.backbones import Backbone, build_backbone
from dfutils.training.backend import keras
from dfutils.training.features import backbone_key, clip_features
from dfutils.training.model import HEADS, build_head
from dfutils.training.saved_network import load_network

HERE = ("inception_mean", "inception_gru", "inception_lstm_gru")
"""Heads of the package when the candidates were tried."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much to compute; the defaults are the published protocol."""

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
    """Two residual convolutions over time, the second with gaps, and the mean of what they give."""
    features, standardised = _begin(frames, channels)
    states = keras.layers.Dense(128)(standardised)
    for dilation in (1, 2):
        found = keras.layers.Conv1D(128, 3, padding="same", dilation_rate=dilation, activation="relu")(states)
        states = keras.layers.Add()([states, found])
    return _end(features, keras.layers.GlobalAveragePooling1D()(states), "convolution")


def _transformer_head(frames: int, channels: int) -> keras.Model:
    """One block of self-attention over frames that know their place, and the mean of what it gives."""
    features, standardised = _begin(frames, channels)
    states = _Places()(keras.layers.Dense(128)(standardised))
    attended = keras.layers.MultiHeadAttention(4, 32)(*[keras.layers.LayerNormalization()(states)] * 2)
    states = keras.layers.Add()([states, attended])
    thought = keras.layers.Dense(256, activation="gelu")(keras.layers.LayerNormalization()(states))
    states = keras.layers.Add()([states, keras.layers.Dense(128)(thought)])
    return _end(features, keras.layers.GlobalAveragePooling1D()(states), "transformer")


class _Places(keras.layers.Layer):
    """Adds a learnt vector for each place in time."""

    def build(self, input_shape: tuple[int, ...]) -> None:
        """See Keras."""
        self.places = self.add_weight(shape=input_shape[1:], initializer="random_normal")

    def call(self, states: keras.KerasTensor) -> keras.KerasTensor:
        """See Keras."""
        return states + self.places


def _begin(frames: int, channels: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    features = keras.Input((frames, channels), name="features")
    return features, keras.layers.Normalization(name="standardise")(features)


def _end(features: keras.KerasTensor, state: keras.KerasTensor, name: str) -> keras.Model:
    logit = keras.layers.Dense(1)(keras.layers.Dropout(0.5)(state))
    return keras.Model(features, keras.layers.Activation("sigmoid", dtype="float32")(logit), name=name)


CANDIDATES = {"lstm": _lstm_head, "convolution": _convolution_head, "transformer": _transformer_head}


def run(faces: Path, options: Options) -> dict[str, Any]:
    """Every head measured, and every candidate's difference from the best head that is there."""
    HEADS.update(CANDIDATES)  # of this process, in which all fits are made
    dataset = read_face_dataset(faces)
    rows = [row for row in dataset.rows if row.dataset.startswith(options.dataset) and row.track == 0]
    is_fake, groups = np.array([row.is_fake for row in rows]), [row.group for row in rows]
    size = dataset.settings.size
    backbone = _backbone(options, size)
    key = backbone_key(backbone.checksum, size=size, family=backbone.family)
    features = clip_features(dataset, rows, backbone.model, backbone_key=key)

    def scores_of(name: str) -> FoldScores:
        def task(seed: int, sides: npt.NDArray[np.str_]) -> Task:
            return Task(name, features, features, is_fake, sides, seed, options.epochs)

        folder = options.work / "fits"
        return cross_validate(
            name, task, rows, folds=options.folds, seeds=options.seeds, grouped=True, folder=folder, workers=1
        )

    scores = {name: scores_of(name) for name in (*HERE, *CANDIDATES)}
    measured = {name: measure(one, is_fake, groups) for name, one in scores.items()}
    best = max(HERE, key=lambda name: measured[name]["auc"]["value"] or 0.0)
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
        "machine": describe_machine(),
    }


def _backbone(options: Options, size: int) -> Backbone:
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
    """Whether the interval of the difference from the best head lies above 0."""
    low = head["difference"]["low"]
    return low is not None and low > 0


def markdown(results: Mapping[str, Any]) -> str:
    """The table, and what follows from it."""
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
        difference = "" if name == best else _interval(head["difference"], sign="+")
        cells = (f"`{name}`", f"{head['weights']:,}", _interval(head["auc"]), difference, _interval(head["log_loss"]))
        lines.append(f"| {' | '.join(cells)} |")
    earned = [name for name in CANDIDATES if earns_its_place(results["heads"][name])]
    verdict = f"Added: {', '.join(earned)}." if earned else "No candidate was added."
    rule = f"A candidate is added if the interval of its difference from `{best}`, the best head so far, lies above 0."
    return "\n".join([*lines, "", f"{verdict} {rule}"]) + "\n"


def _interval(estimate: Mapping[str, float | None], *, sign: str = "") -> str:
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "–"
    return f"{value:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})".replace("-", "−")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="face dataset")
    parser.add_argument("--work", type=Path, required=True, help="folder for finished fits")
    parser.add_argument("--run", type=Path, help="run folder whose backbone is used instead of the usual frozen one")
    parser.add_argument("--name", default="heads", help="of the files that are written (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="default: %(default)s")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    results = run(options.faces, Options(work=options.work, run=options.run))
    write_json(options.out / f"{options.name}.json", results)
    write_text(options.out / f"{options.name}.md", markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
