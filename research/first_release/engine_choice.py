"""Compare engines for the shipped backbone, on the same crops in one run: Keras, OpenVINO and LiteRT.

    python -m research.first_release.engine_choice WORK

WORK is that of ``research.first_release.recipe``. AUC is measured on crops of the people in DFDC's validation part, so
that no test part is used for a choice; it is high for a detector that was trained on some of them. LiteRT runs as it
comes with TensorFlow (`tf.lite.Interpreter`, XNNPACK), like its own wheel; a dynamic-range model has 8-bit weights and
computes the ranges of activations as it runs. Images per second are wall-clock medians of some rounds in turns, on two
threads. Start is the time to load a model from disk, without imports. Size is that of the file.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from benchmarks.common import RESEARCH_RESULTS, script_parser, wall_seconds, write_results
from dfutils.extraction.dataset import read_face_dataset
from dfutils.prediction.detector import load_detector
from dfutils.prediction.runtime import OpenVinoNetwork, compile_backbone, keras_network, read_backbone
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.records import Crops
from dfutils.runs.folder import RunFolder
from research.first_release.recipe import crops_of

Features = npt.NDArray[np.float32]

THREADS, CROPS, TIMED, ROUNDS = 2, 600, 64, 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the backbone.

    Attributes:
        features: Features ``(N, channels)`` of crops ``(N, size, size, 3)``.
        start_seconds: Time to load it.
        megabytes: Size of its file.
    """

    features: Callable[[Crops], Features]
    start_seconds: float
    megabytes: float


def candidates(folder: Path) -> dict[str, Candidate]:
    """Return Keras, OpenVINO and LiteRT; files that have to be made first are written into ``folder``."""
    from dfutils.prediction.openvino_backend import ov
    from dfutils.training.backend import tf

    run = resolve_detector(DEFAULT)
    detector = load_detector(run, engine="keras")
    network, settings = detector.members[0].network, detector.settings

    def read(path: Path) -> Any:
        return compile_backbone(ov.Core().read_model(path))

    found = {"Keras, float32": Candidate(network.features, 0.0, _megabytes(run / "model.weights.h5"))}
    graphs = {"OpenVINO, float32": read_backbone(run, settings), "OpenVINO, int8": None}
    for name, graph in graphs.items():
        path = folder / "float32.xml" if graph else RunFolder(run).export_folder / "backbone.xml"
        if graph:
            ov.save_model(graph, path, compress_to_fp16=False)
        compiled, seconds = _timed(functools.partial(read, path))
        ported = OpenVinoNetwork(lambda model=compiled: model, None)  # type: ignore[arg-type, misc]  # the head is not used
        found[name] = Candidate(ported.features, seconds, _megabytes(path.with_suffix(".bin")))
    keras_network(network).backbone.export(folder / "saved", verbose=False)
    for name, optimizations in (("LiteRT, float32", []), ("LiteRT, dynamic int8", [tf.lite.Optimize.DEFAULT])):
        path = folder / f"{name}.tflite"
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
        converter.optimizations = optimizations
        path.write_bytes(converter.convert())
        lite, seconds = _timed(functools.partial(_Lite, path))
        found[name] = Candidate(lite.features, seconds, _megabytes(path))
    return found


class _Lite:
    def __init__(self, path: Path) -> None:
        from dfutils.training.backend import tf

        self._model = tf.lite.Interpreter(model_path=str(path), num_threads=THREADS)
        self._model.allocate_tensors()

    def features(self, crops: Crops) -> Features:
        into, out = (one[0]["index"] for one in (self._model.get_input_details(), self._model.get_output_details()))
        found = []
        for number in range(len(crops)):
            self._model.set_tensor(into, crops[number : number + 1])
            self._model.invoke()
            found.append(self._model.get_tensor(out)[0])
        return np.stack(found)


def measure(work: Path) -> dict[str, Any]:
    """Measure every candidate on the same crops."""
    faces, held = read_face_dataset(work / "dfdc"), crops_of(work, "validation")
    rows = sorted((row for row in faces.rows if row.video in held), key=lambda row: row.clip_id)
    rows = [rows[k] for k in np.random.default_rng(0).permutation(len(rows))[:CROPS]]
    crops = np.concatenate([faces.load_clip(row) for row in rows])
    is_fake = np.array([row.is_fake for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        found = candidates(Path(folder))
        taken: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(ROUNDS + 1):
            for name, one in found.items():
                taken[name].append(wall_seconds(functools.partial(one.features, crops[:TIMED])))
        seconds = {name: float(np.median(values[1:])) for name, values in taken.items()}  # the first one warms up
        head = load_detector(engine="keras").members[0].network
        scores = {name: head.score(one.features(crops)[:, None])[0] for name, one in found.items()}
    reference = scores["Keras, float32"]
    return {
        name: {
            "images_per_second": round(TIMED / seconds[name], 1),
            "times_keras": round(seconds["Keras, float32"] / seconds[name], 2),
            "auc": round(float(roc_auc_score(is_fake, scores[name])), 4),
            "largest_difference": float(np.abs(scores[name] - reference).max()),
            "start_seconds": round(one.start_seconds, 2),
            "megabytes": round(one.megabytes, 1),
        }
        for name, one in found.items()
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def table(rows: Mapping[str, Any], load: float) -> str:
    """Return the rows as Markdown."""
    lines = [
        f"| engine | images/s | × Keras | AUC ({CROPS} crops) | largest difference in probability | start, s | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        start = "" if name.startswith("Keras") else f"{row['start_seconds']:.2f}"
        figures = (row["images_per_second"], row["times_keras"], row["auc"], f"{row['largest_difference']:.1e}", start)
        lines.append(f"| {name} | {' | '.join(map(str, figures))} | {row['megabytes']:.0f} |")
    return (
        "\n".join([*lines, "", f"Wall-clock times on {THREADS} threads; load average before the start {load}."]) + "\n"
    )


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__, out=RESEARCH_RESULTS)
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    rows = measure(options.work)
    write_results(options.out, "engine_choice", {"load_before": load, "rows": rows}, table(rows, load))
    print(table(rows, load))


if __name__ == "__main__":
    main()
