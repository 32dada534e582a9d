"""How long the report of a thousand clips takes when their features are known.

    python -m benchmarks.report --work WORK

Twelve made-up people, each clip entered under many names and in as many groups: what is measured is the tables,
resamples, pictures and pages, as `dfutils evaluate` makes them in a process of its own. Nothing is said of accuracy.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bars import Bars, bars_table
from benchmarks.machine import describe_machine
from dfutils.demo.clips import DemoSettings, make_demo_videos
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import FRAME_COLUMNS, MANIFEST_COLUMNS, read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.files import read_csv, write_csv, write_json, write_text
from dfutils.settings import ExtractionSettings, TrainingSettings
from dfutils.training.run import train

CLIPS, FEW = 1000, 100

BARS: Bars = {
    "seconds": (f"report of {CLIPS:,} clips, seconds", "≤", 60),
    "growth": (f"{CLIPS:,} clips / {FEW} clips", "", 0),
}


def make_faces(folder: Path, *, people: int, seconds: float) -> Path:
    """A face dataset of made-up people; `repeat_clips` makes it longer."""
    labels = make_demo_videos(folder / "videos", settings=DemoSettings(people=people, seconds=seconds), progress=False)
    settings = ExtractionSettings(size=96, detector="haar")
    extract_dataset(read_catalogue(labels.parent, labels), folder / "faces", settings=settings, progress=False)
    return folder / "faces"


def repeat_clips(faces: Path, folder: Path, *, clips: int) -> Path:
    """A face dataset in which the clips of ``faces`` stand under new names, videos and groups, ``clips`` in all."""
    folder.mkdir(parents=True, exist_ok=True)
    known = read_face_dataset(faces)
    for part in ("real", "fake"):
        if (faces / part).is_dir() and not (folder / part).exists():
            (folder / part).symlink_to((faces / part).resolve())
    (folder / "extraction.json").write_bytes((faces / "extraction.json").read_bytes())
    (folder / "skipped.csv").write_bytes((faces / "skipped.csv").read_bytes())
    manifest = read_csv(faces / "manifest.csv", MANIFEST_COLUMNS)
    copies = [(row, f"-{copy}") for copy in range(-(-clips // len(manifest))) for row in manifest][:clips]
    renamed = ({**row, **{name: row[name] + copy for name in ("clip_id", "video", "group")}} for row, copy in copies)
    write_csv(folder / "manifest.csv", MANIFEST_COLUMNS, renamed)
    frames: dict[str, list[dict[str, str]]] = {}
    for frame in known.frame_rows:
        frames.setdefault(frame["clip_id"], []).append(frame)
    rows = ({**frame, "clip_id": row["clip_id"] + copy} for row, copy in copies for frame in frames[row["clip_id"]])
    write_csv(folder / "frames.csv", FRAME_COLUMNS, rows)
    return folder


def report_seconds(run: Path, faces: Path, report: Path) -> float:
    """Wall seconds of `dfutils evaluate`, start included, once the features of all clips are cached."""
    command = [sys.executable, "-m", "dfutils", "evaluate", str(run), str(faces), "--split", "all", "--out"]
    subprocess.run([*command, f"{report}-first"], check=True, stdout=subprocess.DEVNULL)
    before = time.perf_counter()
    subprocess.run([*command, str(report)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before


def measure(work: Path, *, people: int, seconds: float, sizes: tuple[int, int]) -> dict[str, float]:
    """Seconds of the longer report, and how it grows from the shorter one."""
    faces, run = make_faces(work, people=people, seconds=seconds), work / "run"
    settings = TrainingSettings(model="inception_mean", backbone_weights="random", epochs=1)
    train(faces, run, settings=settings, progress=False)
    few, many = (
        report_seconds(run, repeat_clips(faces, work / f"faces-{size}", clips=size), work / f"report-{size}")
        for size in sizes
    )
    return {"seconds": round(many, 1), "growth": round(many / few, 2)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    options = parser.parse_args()
    figures = measure(options.work, people=12, seconds=4.0, sizes=(FEW, CLIPS))
    write_json(options.out / "report.json", {"machine": describe_machine(), "figures": figures})
    write_text(options.out / "report.md", bars_table(figures, BARS))
    print(bars_table(figures, BARS))


if __name__ == "__main__":
    main()
