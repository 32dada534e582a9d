"""Why OpenVINO is OpenVINO: the shipped backbone on each candidate, on the same crops in one run.

    python -m benchmarks.engine_choice WORK

WORK is that of ``benchmarks.train_detector``. AUC is that of crops of the people in DFDC's validation part, so that no
test part is looked at for a choice; a detector that was trained on some of them has a high one. LiteRT runs as it comes
with TensorFlow (`tf.lite.Interpreter`, XNNPACK), as its own wheel does; a dynamic-range model has 8-bit weights and
computes ranges of activations as it goes. Images a second are by the clock on two threads, in turns, the median of some
rounds; start is the time until a model that lies on the disk can be asked, imports not counted. Size is the file's.
"""

from __future__ import annotations

import argparse
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

from benchmarks.machine import describe_machine
from benchmarks.train_detector import crops_of
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import write_json, write_text
from dfutils.prediction.detector import load_detector
from dfutils.prediction.runtime import OpenVinoNetwork, compile_backbone, keras_network, read_backbone
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.records import Crops
from dfutils.runs.folder import RunFolder

Features = npt.NDArray[np.float32]

THREADS, CROPS, TIMED, ROUNDS = 2, 600, 64, 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the backbone.

    Attributes:
        features: Features ``(N, channels)`` of crops ``(N, size, size, 3)``.
        start_seconds: Until it could be asked.
        megabytes: Of its file.
    """

    features: Callable[[Crops], Features]
    start_seconds: float
    megabytes: float


def candidates(folder: Path) -> dict[str, Candidate]:
    """Keras, OpenVINO and LiteRT; ``folder`` gets the files that have to be made first."""
    import openvino as ov

    run = resolve_detector(DEFAULT)
    detector = load_detector(run, engine="keras")
    network, settings = detector.members[0].network, detector.settings
    found = {"Keras, float32": Candidate(network.features, 0.0, _megabytes(run / "model.weights.h5"))}
    graphs = {"OpenVINO, float32": read_backbone(run, settings), "OpenVINO, int8": None}
    for name, graph in graphs.items():
        path = folder / "float32.xml" if graph else RunFolder(run).export_folder / "backbone.xml"
        if graph:
            ov.save_model(graph, path, compress_to_fp16=False)
        compiled, seconds = _timed(functools.partial(_compiled, path))
        ported = OpenVinoNetwork(lambda model=compiled: model, None)  # type: ignore[arg-type, misc]  # no head is asked
        found[name] = Candidate(ported.features, seconds, _megabytes(path.with_suffix(".bin")))
    for name, is_dynamic in (("LiteRT, float32", False), ("LiteRT, dynamic int8", True)):
        path = folder / f"{name}.tflite"
        path.write_bytes(_lite_model(keras_network(network).backbone, folder, dynamic=is_dynamic))
        lite, seconds = _timed(functools.partial(_Lite, path))
        found[name] = Candidate(lite.features, seconds, _megabytes(path))
    return found


def _compiled(path: Path) -> Any:
    import openvino as ov

    return compile_backbone(ov.Core().read_model(path))


def _lite_model(backbone: Any, folder: Path, *, dynamic: bool) -> bytes:
    from dfutils.training.backend import tf

    backbone.export(folder / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if dynamic else []
    return bytes(converter.convert())


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
    """Every candidate on the same crops."""
    faces, held = read_face_dataset(work / "dfdc"), crops_of(work, "validation")
    rows = sorted((row for row in faces.rows if row.video in held), key=lambda row: row.clip_id)
    rows = [rows[k] for k in np.random.default_rng(0).permutation(len(rows))[:CROPS]]
    crops = np.concatenate([faces.load_clip(row) for row in rows])
    is_fake = np.array([row.is_fake for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        found = candidates(Path(folder))
        seconds = _seconds(found, crops[:TIMED])
        head = load_detector(engine="keras").members[0].network
        scores = {name: head.score(one.features(crops)[:, None])[0] for name, one in found.items()}
    reference = scores["Keras, float32"]
    return {
        name: {
            "images_a_second": round(TIMED / seconds[name], 1),
            "times_keras": round(seconds["Keras, float32"] / seconds[name], 2),
            "auc": round(float(roc_auc_score(is_fake, scores[name])), 4),
            "largest_difference": float(np.abs(scores[name] - reference).max()),
            "start_seconds": round(one.start_seconds, 2),
            "megabytes": round(one.megabytes, 1),
        }
        for name, one in found.items()
    }


def _seconds(found: Mapping[str, Candidate], crops: Crops) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(ROUNDS + 1):
        for name, one in found.items():
            _, seconds = _timed(functools.partial(one.features, crops))
            if turn:  # the first one warms up
                taken[name].append(seconds)
    return {name: float(np.median(values)) for name, values in taken.items()}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def table(rows: Mapping[str, Any], load: float) -> str:
    """The rows as Markdown."""
    lines = [
        f"| engine | images/s | × Keras | AUC ({CROPS} crops) | largest difference in probability | start, s | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        start = "" if name.startswith("Keras") else f"{row['start_seconds']:.2f}"
        figures = (row["images_a_second"], row["times_keras"], row["auc"], f"{row['largest_difference']:.1e}", start)
        lines.append(f"| {name} | {' | '.join(map(str, figures))} | {row['megabytes']:.0f} |")
    return (
        "\n".join([*lines, "", f"Wall-clock times on {THREADS} threads; load average before the start {load}."]) + "\n"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    rows = measure(options.work)
    write_json(options.out / "engine_choice.json", {"machine": describe_machine(), "load_before": load, "rows": rows})
    write_text(options.out / "engine_choice.md", table(rows, load))
    print(table(rows, load))


if __name__ == "__main__":
    main()
