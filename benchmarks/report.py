"""Measure how long the report on a thousand clips takes when their features are known.

    python -m benchmarks.report

Figures go to ``results/report.json`` and ``.md``, targets to the JSON. The clips of twelve made-up people are entered
under many names and in as many groups, and training has computed their features. What is timed is `dfutils evaluate`
in a process of its own, including its start: tables, resampling, figures and pages. The benchmark says nothing about
accuracy.

Wall-clock times are reliable on a quiet machine only: the load average before the start is recorded, and so is the CPU
time, which other programs hardly change.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.common import (
    QUIET_LOAD,
    Cost,
    Figures,
    command_cost,
    describe_machine,
    figures_table,
    script_parser,
    target_lines,
    targets_document,
    write_results,
)
from dfutils.demo.clips import make_demo_videos
from dfutils.demo.rendering import DemoSettings
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.extraction.tables import FRAME_COLUMNS, MANIFEST_COLUMNS
from dfutils.files import read_csv, write_csv
from dfutils.settings import ExtractionSettings, TrainingSettings
from dfutils.training.run import train

CLIPS, FEW = 1000, 100

FIGURES: Figures = {
    "seconds": (f"report on {CLIPS:,} clips, wall-clock seconds", "≤ 60"),
    "cpu_seconds": ("the same, CPU seconds of all cores together", ""),
    "growth": (f"CPU time, report on {CLIPS:,} clips / on {FEW} clips", ""),
}


def make_faces(folder: Path, *, people: int, seconds: float) -> Path:
    """Write a face dataset of made-up people; `repeat_clips` makes it longer."""
    labels = make_demo_videos(folder / "videos", settings=DemoSettings(people=people, seconds=seconds), progress=False)
    settings = ExtractionSettings(size=96)
    extract_dataset(read_catalogue(labels.parent, labels), folder / "faces", settings=settings, progress=False)
    return folder / "faces"


def repeat_clips(faces: Path, folder: Path, *, clips: int) -> Path:
    """Write a face dataset of ``clips`` clips: those of ``faces`` under new names, videos and groups."""
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


def measure(work: Path, *, people: int, seconds: float, sizes: tuple[int, int]) -> dict[str, float]:
    """Return the cost of the longer report, and how it grows from the shorter one."""
    faces, run = make_faces(work, people=people, seconds=seconds), work / "run"
    settings = TrainingSettings(model="inception_mean", backbone_weights="random", epochs=1)

    def cost(clips: int) -> Cost:
        longer, report = repeat_clips(faces, work / f"faces-{clips}", clips=clips), work / f"report-{clips}"
        arguments = (str(run), str(longer), "--split", "all", "--out", str(report))
        return command_cost("-m", "dfutils", "evaluate", *arguments)

    with patch.dict(os.environ, DFUTILS_CACHE=str(work / "cache")):
        train(faces, run, settings=settings, progress=False)
        load = os.getloadavg()[0]
        few, many = map(cost, sizes)
    return {
        "seconds": round(many.wall, 1),
        "cpu_seconds": round(many.cpu, 1),
        "growth": round(many.cpu / few.cpu, 2),
        "load_average": round(load, 2),
    }


def table(figures: Mapping[str, float], machine: Mapping[str, Any]) -> str:
    """Return the figures and what they were measured on, as Markdown."""
    note = f"{machine['cores']} cores; load average before the start {figures['load_average']:.1f}."
    if figures["load_average"] > QUIET_LOAD:
        note += " Other programs were running, so the wall-clock time is an upper bound."
    return f"{figures_table(figures, FIGURES)}\n{note}\n"


def main() -> None:
    """Command line."""
    options = script_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as work:
        figures = measure(Path(work), people=12, seconds=4.0, sizes=(FEW, CLIPS))
    document = {"targets": targets_document(FIGURES), "figures": figures}
    write_results(options.out, "report", document, table(figures, describe_machine()))
    print(target_lines(figures, FIGURES))


if __name__ == "__main__":
    main()
