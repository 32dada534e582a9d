"""Measure what extraction costs, as ratios of CPU time within one run.

    python -m benchmarks.extraction
    DFUTILS_REAL_DATA=/data python -m benchmarks.extraction --only real      # a folder with videos.csv

Figures go to ``results/extraction.json`` and ``.md``, targets to the JSON. The clips are made by the program: a talking
head of the demo with camera grain, 300 frames, H.264.

The typical notebook it is compared with is VMD7/deepfake-detection: all frames in memory, full-size differences, and a
HOG detector on every second frame, in grey; others, face_recognition among them, use colour. At 1080p, decoding is
three quarters of the cost of extraction, and no method that decodes every frame can cost less: ``notebook_hog_decode``
is the highest ratio that is possible. ``dlib`` comes from ``benchmarks/requirements.txt``; without it the comparison
with the HOG detector is left out.

PyAV reads the videos, although Kaggle's image lacks it and has OpenCV: it gives the stream's own times, the luma plane
without colour conversion (decoding + luma 1.09 × decoding alone; OpenCV's ``read`` is 1.26 to 1.36 before its image
is grey), rotation and pixel aspect, an allow-list of formats and protocols, a pixel limit inside the decoder, and exact
frame times by demuxing alone at 3 % of the cost of decoding. It is one wheel without dependencies, which a Kaggle
notebook can attach. H.264's own threads do not help: with one file per core they only share the same work.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from itertools import islice, repeat
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np

from benchmarks.common import (
    Figures,
    earlier_figures,
    figures_table,
    script_parser,
    target_lines,
    targets_document,
    wall_seconds,
    write_results,
)
from dfutils.demo.clips import write_video
from dfutils.demo.people import random_person
from dfutils.demo.rendering import DemoSettings, render_clip
from dfutils.extraction.catalogue import Catalogue, read_catalogue
from dfutils.extraction.extract import extract_dataset
from dfutils.extraction.faces import FaceDetector, face_detector
from dfutils.extraction.isolation import close_children
from dfutils.extraction.motion import scan_frames
from dfutils.extraction.video import iter_frames, probe_video
from dfutils.records import Face, Image, Video
from dfutils.settings import ExtractionSettings

SETTINGS = ExtractionSettings()
FRAMES, FPS, COPIES = 300, 30, 2
MANY_COPIES = 6
"""Copies that take `extract` about as long as the typical notebook takes for one clip, so that both see equal noise."""
SIZES = {"1080p": (1920, 1080), "360p": (640, 360)}
FIGURES: Figures = {
    "choose_1080p": ("choose ten frames, 1080p, CPU time / decoding alone", "≤ 1.35"),
    "choose_360p": ("choose ten frames, 360p, CPU time / decoding alone", "≤ 1.5"),
    "extract_1080p": ("`dfutils extract`, 1080p, CPU time / decoding alone", "≤ 1.8"),
    "extract_isolated_1080p": ("the same with decoding in a child process (the default)", "≤ 1.8"),
    "notebook_hog": ("typical notebook with a HOG detector on grey frames, CPU time / extract", "≥ 15"),
    "notebook_hog_decode": ("the same, CPU time / decoding alone", ""),
    "notebook_hog_color": ("typical notebook with a HOG detector on colour frames, CPU time / extract", ""),
    "notebook_ours": ("typical notebook with YuNet, CPU time / extract", "≥ 4"),
    "peak_memory_megabytes": ("peak memory per worker, 10 minutes of 1080p, MB", "≤ 320"),
    "memory_growth": ("peak memory, 10 minutes / 10 seconds", "≤ 1.1"),
    "two_workers": ("videos per hour, two workers / one (wall-clock time)", "≥ 1.7"),
    "thousand_videos": ("CPU time per video, 1,000 videos / 10 videos", "≤ 1.1"),
    "real_choose": ("choose ten frames, real clips, CPU time / decoding alone", "≤ 1.5"),
    "real_extract": ("`dfutils extract`, real clips, CPU time / decoding alone", ""),
}


class NoDetector:
    """A detector that costs nothing, so that choosing frames is measured alone."""

    def detect(self, image: Image) -> list[Face]:  # noqa: ARG002
        """See `dfutils.extraction.faces.FaceDetector`."""
        return []


def make_clip(path: Path, size: tuple[int, int], *, seconds: float = FRAMES / FPS) -> Path:
    """Write a talking head with camera grain, by default 300 frames at 30 frames per second."""
    rng = np.random.default_rng(0)
    settings = DemoSettings(seconds=seconds, fps=FPS, width=640, height=360)
    small = render_clip(random_person(rng), donor=None, rng=rng, settings=settings)
    grain = rng.normal(0, 3, (size[1] + 64, size[0] + 64, 1)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for image in small:
            x, y = rng.integers(0, 64, 2)
            noisy = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) + grain[y : y + size[1], x : x + size[0]]
            frame = av.VideoFrame.from_ndarray(np.clip(noisy, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def repeat_clip(source: Path, path: Path, times: int) -> Path:
    """Write the same stream many times over, without encoding it again."""
    with av.open(str(path), "w") as output:
        stream: Any = None
        for number in range(times):
            with av.open(str(source)) as container:
                template = container.streams.video[0]
                stream = stream or output.add_stream_from_template(template)
                shift = round(number * FRAMES / FPS / cast(Fraction, template.time_base))
                for packet in container.demux(template):
                    if packet.dts is not None:
                        packet.pts, packet.dts = cast(int, packet.pts) + shift, packet.dts + shift
                        packet.stream = stream
                        output.mux(packet)
    return path


def cpu_seconds_with_children(work: Callable[[], object]) -> float:
    """Return the CPU time of a call in this process and in its decoder processes, which are ended."""

    def spent() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    before = spent()
    work()
    close_children()
    return spent() - before


def in_turns(works: dict[str, Callable[[], object]], *, rounds: int = 9) -> dict[str, float]:
    """Return the median CPU time of each, measured in turns so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            seconds[name].append(cpu_seconds_with_children(work))
    return {name: round(float(np.median(values)), 4) for name, values in seconds.items()}


def decode_alone(path: Path) -> None:
    """Decode with PyAV on one thread and drop the frames: the unit of the ratios."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count, stream.thread_type = 1, "NONE"
        for _ in container.decode(stream):
            pass


def choose(path: Path, detector: FaceDetector) -> None:
    """Probe, decode and choose frames, as `extract` does."""
    scan_frames(iter_frames(path), probe_video(path, SETTINGS), SETTINGS, detector)


def extract(paths: list[Path], *, workers: int = 1, trusted: bool = True) -> None:
    """Extract videos into a folder that is thrown away."""
    catalogue = Catalogue(tuple(Video(path, path.name, False, path.name) for path in paths), ())
    with tempfile.TemporaryDirectory() as folder:
        extract_dataset(catalogue, Path(folder), settings=SETTINGS, workers=workers, trusted=trusted, progress=False)


def notebook_way(path: Path, detect: Callable[[Image], object]) -> None:
    """Extract as typical notebooks do: all frames in memory, full-size differences, a detector on every second frame.

    ``detect`` receives OpenCV's frame, ``(height, width, 3)`` BGR.
    """
    capture = cv2.VideoCapture(str(path))
    frames, differences, before = [], [], None
    while True:
        is_there, frame = capture.read()
        if not is_there:
            break
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        differences.append(0.0 if before is None else float(cv2.absdiff(gray, before).mean()))
        frames.append(frame)
        before = gray
    for frame in frames[::2]:
        detect(frame)
    for index in np.argsort(differences)[-10:]:
        cv2.imencode(".png", cv2.resize(frames[index], (299, 299)))


def measure_speed(clips: dict[str, Path]) -> dict[str, Any]:
    """Compare choosing frames and whole extractions with decoding alone."""
    figures: dict[str, Any] = {}
    for name, path in clips.items():
        works: dict[str, Callable[[], object]] = {
            "decode": lambda path=path: decode_alone(path),  # type: ignore[misc]
            "choose": lambda path=path: choose(path, NoDetector()),  # type: ignore[misc]
            "extract": lambda path=path: extract(_copies(path, COPIES)),  # type: ignore[misc]
            "isolated": lambda path=path: extract(_copies(path, COPIES), trusted=False),  # type: ignore[misc]
        }
        seconds = in_turns(works)
        for whole in ("extract", "isolated"):
            seconds[whole] = round(seconds[whole] / COPIES, 4)
        figures[f"seconds_{name}"] = seconds
        figures[f"choose_{name}"] = seconds["choose"] / seconds["decode"]
        figures[f"extract_{name}"] = seconds["extract"] / seconds["decode"]
        figures[f"extract_isolated_{name}"] = seconds["isolated"] / seconds["decode"]
    return figures


def measure_notebook(clips: dict[str, Path]) -> dict[str, Any]:
    """Compare the typical notebook with `extract`, at 1080p."""
    path = clips["1080p"]
    ours = face_detector(SETTINGS.min_detection_score)

    def converted(frame: Image, code: int) -> Image:
        return np.asarray(cv2.cvtColor(frame, code), np.uint8)

    works: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_alone(path),
        "extract": lambda: extract(_copies(path, MANY_COPIES)),
        "notebook_ours": lambda: notebook_way(path, lambda frame: ours.detect(converted(frame, cv2.COLOR_BGR2RGB))),
    }
    try:
        import dlib  # type: ignore[import-not-found, unused-ignore]

        hog = dlib.get_frontal_face_detector()
        for name, code in (("notebook_hog", cv2.COLOR_BGR2GRAY), ("notebook_hog_color", cv2.COLOR_BGR2RGB)):
            works[name] = lambda code=code: notebook_way(path, lambda frame: hog(converted(frame, code), 0))  # type: ignore[misc]
    except ImportError:
        print("dlib is not installed (benchmarks/requirements.txt): the HOG detector is left out")
    seconds = in_turns(works, rounds=3)
    seconds["extract"] /= MANY_COPIES
    ratios = {name: value / seconds["extract"] for name, value in seconds.items() if name.startswith("notebook")}
    if "notebook_hog" in seconds:
        ratios["notebook_hog_decode"] = seconds["notebook_hog"] / seconds["decode"]
    return {"seconds_notebook": {name: round(value, 3) for name, value in seconds.items()}, **ratios}


def measure_memory(clips: dict[str, Path]) -> dict[str, Any]:
    """Measure the peak memory of the decoder for 10 s and for 10 minutes, each in a fresh process."""
    long = repeat_clip(clips["1080p"], clips["1080p"].with_name("long.mp4"), 60)
    command = [sys.executable, "-m", "benchmarks.extraction", "--memory-of"]
    peaks = {}
    for name, path in (("10 s", clips["1080p"]), ("10 min", long)):
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
        peaks[name] = json.loads(done.stdout.splitlines()[-1])
    return {
        "peaks_megabytes": peaks,
        "peak_memory_megabytes": max(peaks.values()),
        "memory_growth": peaks["10 min"] / peaks["10 s"],
    }


def measure_scale(clips: dict[str, Path]) -> dict[str, Any]:
    """Compare two workers with one, and the cost per video of 10 to 1,000 videos."""
    copies = _copies(clips["360p"], 24)
    walls = {}
    for workers in (1, 2):
        walls[workers] = wall_seconds(lambda workers=workers: extract(copies, workers=workers, trusted=False))  # type: ignore[misc]
        close_children()
    tiny = clips["360p"].with_name("tiny.mp4")
    frames = [frame.image(longest_side=320) for frame in islice(iter_frames(clips["360p"]), 20)]
    write_video(tiny, np.stack(frames), fps=20)
    cost = {}
    for count in (10, 100, 1000):
        many = _copies(tiny, count)
        cost[count] = cpu_seconds_with_children(lambda many=many: extract(many)) / count  # type: ignore[misc]
    return {
        "load_average": os.getloadavg()[0],
        "wall_seconds": {str(workers): round(seconds, 2) for workers, seconds in walls.items()},
        "two_workers": walls[1] / walls[2],
        "cpu_seconds_per_video": {str(count): round(seconds, 4) for count, seconds in cost.items()},
        "thousand_videos": cost[1000] / cost[10],
    }


def measure_real(_clips: dict[str, Path]) -> dict[str, Any]:
    """Measure the same ratios on a sample of real clips; nothing without ``$DFUTILS_REAL_DATA``."""
    if not (folder := os.environ.get("DFUTILS_REAL_DATA")):
        print("DFUTILS_REAL_DATA is not set: real clips are left out")
        return {}
    videos = read_catalogue(Path(folder), Path(folder) / "videos.csv").videos[::10]
    paths = [video.path for video in videos]
    works: dict[str, Callable[[], object]] = {
        "decode": lambda: deque(map(decode_alone, paths), maxlen=0),
        "choose": lambda: deque(map(choose, paths, repeat(NoDetector())), maxlen=0),
        "extract": lambda: extract([_copy(path, f"real-{number}.mp4") for number, path in enumerate(paths)]),
    }
    seconds = in_turns(works, rounds=3)
    return {
        "real_clips": len(videos),
        "seconds_real": seconds,
        "real_choose": seconds["choose"] / seconds["decode"],
        "real_extract": seconds["extract"] / seconds["decode"],
    }


PARTS = {
    "speed": measure_speed,
    "notebook": measure_notebook,
    "memory": measure_memory,
    "scale": measure_scale,
    "real": measure_real,
}


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__, parts=PARTS)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.memory_of:
        extract([options.memory_of], trusted=False)
        close_children()
        # The decoder's peak; this process inherits its own from its parent. Linux counts kilobytes.
        print(json.dumps(round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6, 1)))
        return
    figures = earlier_figures(options.out, "extraction", only=options.only)
    with tempfile.TemporaryDirectory() as folder:
        clips = {name: make_clip(Path(folder) / f"{name}.mp4", size) for name, size in SIZES.items()}
        for name in options.only or PARTS:
            figures |= PARTS[name](clips)
            print(target_lines(figures, FIGURES))
    document = {"targets": targets_document(FIGURES), "figures": figures}
    write_results(options.out, "extraction", document, figures_table(figures, FIGURES))


def _copy(path: Path, name: str) -> Path:
    """Link to the file under another name, in a folder of this process."""
    link = Path(tempfile.gettempdir()) / f"dfutils-benchmark-{os.getpid()}" / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return link


def _copies(path: Path, count: int) -> list[Path]:
    return [_copy(path, f"{path.stem}-{number}.mp4") for number in range(count)]


if __name__ == "__main__":
    main()
