"""Measure what a verdict costs, as ratios within one run.

    python -m benchmarks.prediction
    python -m benchmarks.prediction --model RUN --only images      # a run folder that has an export

Figures go to ``results/prediction.json`` and ``.md``, targets to the JSON.

* ``images``: images per second of OpenVINO against ``predict`` of Keras, alternating in one process.
* ``cold``: from the start of ``dfutils predict`` to its verdict on 10 s of 1080p, against `benchmarks.reference_system`
  on the same clip, with the memory of all its processes together.
* ``help``: ``dfutils --help``.
* ``warm``: verdicts on 360p videos, two at a time, against decoding alone on as many threads, and the CPU time of each
  step of one.
* ``many``: memory for a folder of 1,000 videos against one of 10.
* ``profile``: the time of each step of a cold start.

Everything runs on two cores where the system allows it. Wall-clock times are reliable on a quiet machine only: the load
average before the start is recorded, and CPU time stands beside the wall-clock time where it can be compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    Cost,
    Figures,
    command_cost,
    cpu_seconds,
    earlier_figures,
    figures_table,
    script_parser,
    target_lines,
    targets_document,
    wall_seconds,
    write_results,
)
from benchmarks.extraction import SIZES, decode_alone, make_clip
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.faces import FaceDetector, face_detector
from dfutils.prediction.detector import Detector, load_detector
from dfutils.pretrained import DEFAULT
from dfutils.records import Face, Image

CORES = 2
SMALL, SMALL_SECONDS = (320, 180), 2.0
"""Size and duration of the videos of ``many``."""
FEW, MANY = 10, 1000
"""Videos in the folders of ``many``."""
REFERENCE_ROUNDS = 2
"""Most rounds of the reference system, which takes many times as long."""
FIGURES: Figures = {
    "images": ("images per second, OpenVINO / Keras, wall-clock time", "≥ 4"),
    "images_cpu": ("the same, CPU time", ""),
    "cold_seconds": ("from the command to a verdict on 10 s of 1080p, seconds", "≤ 2.5"),
    "cold_reference": ("the same, reference system / dfutils", "≥ 4"),
    "memory_megabytes": ("peak memory of all processes of that command, MB", "≤ 450"),
    "help_seconds": ("`dfutils --help`, seconds", "≤ 0.3"),
    "warm": ("verdicts per second on 360p videos / videos per second of decoding alone", "≥ 0.6"),
    "many_memory": ("peak memory, folder of 1,000 videos / folder of 10", "≤ 1.05"),
}


def measure_images(_folder: Path, model: str, *, images: int, rounds: int) -> dict[str, Any]:
    """Measure features of random images on both engines."""
    detectors = {engine: load_detector(model, engine=engine) for engine in ("keras", "openvino")}
    size = detectors["openvino"].settings.extraction.size
    crops = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), np.uint8)
    walls: dict[str, list[float]] = {engine: [] for engine in detectors}
    cpus: dict[str, list[float]] = {engine: [] for engine in detectors}
    for turn in range(rounds + 1):
        for engine, detector in detectors.items():
            before, started = time.process_time(), time.perf_counter()
            detector.members[0].network.features(crops)
            if turn:  # the first turn warms up
                walls[engine].append(time.perf_counter() - started)
                cpus[engine].append(time.process_time() - before)
    wall, cpu = ({name: float(np.median(values)) for name, values in one.items()} for one in (walls, cpus))
    return {
        "images_per_second": {engine: round(images / seconds, 1) for engine, seconds in wall.items()},
        "images_cpu_seconds": {engine: round(seconds / images, 4) for engine, seconds in cpu.items()},
        "images": wall["keras"] / wall["openvino"],
        "images_cpu": cpu["keras"] / cpu["openvino"],
    }


def measure_cold(folder: Path, model: str, *, images: int, rounds: int) -> dict[str, Any]:  # noqa: ARG001
    """Measure from the command to the verdict, and the reference system: the best of equally many runs of each."""
    clip = make_clip(folder / "1080p.mp4", SIZES["1080p"])

    def costs(count: int, *arguments: str) -> list[Cost]:
        return [command_cost(*arguments) for _ in range(count + 1)][1:]  # the first run only warms the files up

    def quickest(runs: list[Cost]) -> Cost:
        return min(runs, key=lambda cost: cost.wall)

    ours = costs(rounds, "-m", "dfutils", "predict", str(clip), "--model", model, "--engine", "openvino")
    figures: dict[str, Any] = {
        "cold_seconds": quickest(ours).wall,
        "cold_cpu_seconds": quickest(ours).cpu,
        "memory_megabytes": max(cost.megabytes for cost in ours),
    }
    if importlib.util.find_spec("dlib") is None:
        print("dlib is not installed (benchmarks/requirements.txt): the reference system is left out")
        return figures
    runs = min(rounds, REFERENCE_ROUNDS)
    network = write_reference_model(folder)
    reference = quickest(costs(runs, "-m", "benchmarks.reference_system", str(network), str(clip)))
    compared = quickest(ours[:runs])
    return figures | {
        "cold_reference": reference.wall / compared.wall,
        "cold_reference_cpu": reference.cpu / compared.cpu,
        "reference": {
            "rounds": runs,
            "wall": round(reference.wall, 2),
            "cpu": round(reference.cpu, 2),
            "megabytes": round(reference.megabytes),
        },
    }


def write_reference_model(folder: Path) -> Path:
    """Write the reference system's network with random weights, and return its file."""
    from dfutils.training.backbones import build_backbone
    from dfutils.training.model import build_head, compose

    head = build_head("inception_lstm_gru", frames=10, channels=2048)
    path = folder / "model.keras"
    compose(build_backbone("random", size=299).model, head, frames=10, size=299).clip_model.save(path)
    return path


def measure_help(_folder: Path, _model: str, *, images: int, rounds: int) -> dict[str, Any]:  # noqa: ARG001
    """Measure the start of the command line itself."""
    return {"help_seconds": min(command_cost("-m", "dfutils", "--help").wall for _ in range(rounds + 2))}


def measure_warm(folder: Path, model: str, *, images: int, rounds: int) -> dict[str, Any]:  # noqa: ARG001
    """Compare verdicts on a stream of videos with decoding alone on as many threads."""
    clip, videos = make_clip(folder / "360p.mp4", SIZES["360p"]), CORES * 4 * rounds
    detector = load_detector(model, engine="openvino")
    deque(detector.predict_many([clip] * CORES, workers=CORES), maxlen=0)

    def decode() -> None:
        with ThreadPoolExecutor(CORES) as pool:
            deque(pool.map(decode_alone, [clip] * videos), maxlen=0)

    whole = wall_seconds(lambda: deque(detector.predict_many([clip] * videos, workers=CORES), maxlen=0))
    alone = wall_seconds(decode)
    return {
        "warm": alone / whole,
        "videos_per_second": {"whole": videos / whole, "decode": videos / alone},
        "warm_cpu_milliseconds": warm_profile(clip, detector, rounds=rounds),
    }


def warm_profile(clip: Path, detector: Detector, *, rounds: int) -> dict[str, float]:
    """Return the CPU milliseconds of the steps of one verdict, run one after the other; the least of all rounds."""
    settings = detector.settings.extraction
    faces = _TimedDetector(face_detector(settings.min_detection_score))
    parts: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        faces.seconds, faces.searches = 0.0, 0
        decoded = cpu_seconds(lambda: decode_alone(clip))
        started = time.process_time()
        extraction = extract_clips(clip, settings, faces)
        cut = time.process_time() - started
        crops = np.stack([clip_cut.images for clip_cut in extraction.clips])
        parts.append(
            {
                "decoding": decoded,
                f"{faces.searches} searches for faces": faces.seconds,
                "choosing and cropping": cut - decoded - faces.seconds,
                "network": cpu_seconds(partial(detector.score_clips, crops)),
            }
        )
    return {name: round(1000 * min(one[name] for one in parts), 1) for name in parts[0]}


class _TimedDetector:
    """A face detector that counts its searches and their CPU time."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self.seconds, self.searches = 0.0, 0

    def detect(self, image: Image) -> list[Face]:
        started = time.process_time()
        faces = self._detector.detect(image)
        self.seconds += time.process_time() - started
        self.searches += 1
        return faces


def measure_many(folder: Path, model: str, *, images: int, rounds: int) -> dict[str, Any]:  # noqa: ARG001
    """Measure the peak memory of ``dfutils predict FOLDER`` with all its processes."""
    clip = make_clip(folder / "small.mp4", SMALL, seconds=SMALL_SECONDS)
    peaks = {}
    for videos in (FEW, MANY):
        inputs = folder / str(videos)
        inputs.mkdir()
        for number in range(videos):
            (inputs / f"{number:04d}.mp4").hardlink_to(clip)
        command = ("-m", "dfutils", "predict", str(inputs), "--model", model, "--engine", "openvino", "--json-lines")
        peaks[videos] = command_cost(*command, "--workers", str(CORES)).megabytes
    return {"many_memory": peaks[MANY] / peaks[FEW], "many_megabytes": {str(n): round(mb) for n, mb in peaks.items()}}


def measure_profile(folder: Path, model: str, *, images: int, rounds: int) -> dict[str, Any]:  # noqa: ARG001
    """Measure the steps of a cold start, in a process of its own."""
    clip = make_clip(folder / "1080p.mp4", SIZES["1080p"])
    command = [sys.executable, "-m", "benchmarks.prediction", "--profile-of", str(clip), "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"profile_seconds": json.loads(done.stdout.splitlines()[-1])}


def profile(clip: Path, model: str) -> dict[str, float]:
    """Return the seconds of each step of a verdict; call it in a process that has not predicted yet."""
    from dfutils.extraction.isolation import extract_clips_safely
    from dfutils.prediction import runtime
    from dfutils.pretrained import resolve_detector
    from dfutils.runs.folder import RunFolder

    run, steps = resolve_detector(model), dict[str, float]()

    def step(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        steps[name] = round(time.perf_counter() - started, 3)
        return result

    settings = RunFolder(run).detector()
    step("import OpenVINO", lambda: importlib.import_module("openvino"))
    export = step("check the export", lambda: runtime.read_export(run, settings))
    precision = export.precision if export else "float32"
    graph = step("build the network", lambda: runtime.read_graph(run, settings, export))
    compiled = step("compile it", lambda: runtime.compile_backbone(graph, precision=precision))
    head = step("read the head", lambda: runtime.read_numpy_head(run, settings))
    network = runtime.OpenVinoNetwork(lambda: compiled, head)
    clips = step("decode and find faces", lambda: extract_clips_safely(clip, settings.extraction, threads=0)).clips
    features = step("features", lambda: network.features(clips[0].images))
    step("head", lambda: network.score(features[None]))
    return steps


PARTS = {
    "images": measure_images,
    "cold": measure_cold,
    "help": measure_help,
    "warm": measure_warm,
    "many": measure_many,
    "profile": measure_profile,
}


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures and where the time goes, as Markdown."""
    lines = [figures_table(figures, FIGURES)]
    if "profile_seconds" in figures:
        steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in figures["profile_seconds"].items())
        lines.append(
            f"Steps of a cold start, run one after the other, without the start of Python: {steps}. In a real run the "
            "network is loaded while the video is decoded."
        )
    if "warm_cpu_milliseconds" in figures:
        parts = ", ".join(f"{name} {value:.0f}" for name, value in figures["warm_cpu_milliseconds"].items())
        lines.append(f"CPU milliseconds for a verdict on one 360p video of 10 s: {parts}.")
    if "load_average" in figures:
        lines.append(
            f"Wall-clock times on {figures['cores_used']} cores; load average before the start "
            f"{figures['load_average']}."
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__, parts=PARTS)
    parser.add_argument("--model", default=DEFAULT, help="run folder or name (default: %(default)s)")
    parser.add_argument("--images", type=int, default=64, help="images per call of ``images`` (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions (default: %(default)s)")
    parser.add_argument("--profile-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.profile_of:
        print(json.dumps(profile(options.profile_of, options.model)))
        return
    figures = earlier_figures(options.out, "prediction", only=options.only)
    figures |= {"load_average": round(os.getloadavg()[0], 2), "cores_used": CORES}
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:CORES]
        os.sched_setaffinity(0, cores)
        figures["cores_used"] = len(cores)
    for name in options.only or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            figures |= PARTS[name](Path(folder), options.model, images=options.images, rounds=options.rounds)
        print(target_lines(figures, FIGURES))
    about = {"model": Path(options.model).name, "targets": targets_document(FIGURES)}
    write_results(options.out, "prediction", {**about, "figures": figures}, table(figures))


if __name__ == "__main__":
    main()
