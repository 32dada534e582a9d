"""What verdicts on an archive cost: on one core and on two, for few files and for many, and a merge of a million rows.

    python -m benchmarks.archive [--only merge] [--most 1000]

The files are hard links to four made-up clips of two seconds, one in twenty-one of them damaged; the rows of the merge
are made up too. Each job is the real command in its own process; CPU times count all of its children.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import (
    Cost,
    Figures,
    command_cost,
    earlier_figures,
    figures_table,
    script_parser,
    target_lines,
    targets_document,
    write_results,
)
from dfutils.demo.clips import make_demo_videos
from dfutils.demo.rendering import DemoSettings
from dfutils.files import write_json
from dfutils.prediction.verdict_folder import VERDICT_FIELDS

FIGURES: Figures = {
    "shards": ("videos per hour, two shards, each on a core of its own / one job on one core", "≥ 1.8"),
    "workers": ("videos per hour of one job on all cores, `--workers 2` / `--workers 1`", ""),
    "cpu_growth": ("CPU time per file, many files / few, without the start of the command", "≤ 1.1"),
    "memory_growth": ("peak memory, many files / few", "≤ 1.1"),
    "peak_memory_megabytes": ("peak memory of a job with its child processes, MB", ""),
    "merge_seconds": ("merge of 1,000,000 rows in two shards, seconds", "≤ 60"),
    "merge_memory_megabytes": ("its peak memory, MB", "≤ 1000"),
}

FEW, PAIR = 40, 60
"""Files of the smallest job, with damaged ones among them as in the others, and of those that compare one core with
two."""

ROWS, ROWS_OF_A_PART = 1_000_000, 1000


def make_files(folder: Path, count: int) -> Path:
    """Make a folder with this many files, one in twenty of them cut short."""
    clips = sorted((folder.parent / "clips" / "videos").glob("*.mp4"))
    if not clips:
        labels = make_demo_videos(folder.parent / "clips", settings=DemoSettings(people=2, seconds=2.0), progress=False)
        clips = sorted((labels.parent / "videos").glob("*.mp4"))
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:06d}.mp4"
        if number % 21 == 20:  # an odd distance, so that each of two shards has as many
            path.write_bytes(clips[0].read_bytes()[:2000])
        else:
            os.link(clips[number // 2 % len(clips)], path)
    return folder


def predict(scratch: Path, count: int, *, workers: int = 1, shard: str = "1/1", core: int | None = None) -> Cost:
    """Return the cost of the verdicts on this many files; a job that is given a core uses no other."""
    files = scratch / f"files-{count}"
    if not files.is_dir():
        make_files(files, count)
    out = scratch / f"verdicts-{shard.replace('/', '-of-')}"
    shutil.rmtree(out, ignore_errors=True)
    if core is not None:
        os.sched_setaffinity(0, {core})  # of this thread, and so of the processes that it starts
    options = ("--out", str(out), "--workers", str(workers), "--shard", shard)
    return command_cost("-m", "dfutils", "predict", str(files), *options)


def measure_shards(scratch: Path, most: int) -> dict[str, float]:
    """Compare a job on one core with two shards of it on a core each, without the time that the command takes to start.

    The threads of a pool are limited to a core, and so the limit ends with them. Linux and two cores are needed.
    """
    del most
    first, second, *_ = sorted(os.sched_getaffinity(0))
    make_files(scratch / f"files-{PAIR}", PAIR)
    with ThreadPoolExecutor(max_workers=1) as threads:
        start = threads.submit(predict, scratch, 1, core=first).result().wall
        one = threads.submit(predict, scratch, PAIR, core=first).result().wall - start
    with ThreadPoolExecutor(max_workers=2) as threads:
        shards = [
            threads.submit(predict, scratch, PAIR, shard=f"{number}/2", core=core)
            for number, core in ((1, first), (2, second))
        ]
        two = max(shard.result().wall for shard in shards) - start
    return {"shards": one / two}


def measure_workers(scratch: Path, most: int) -> dict[str, float]:
    """Compare one job that decodes one file at a time with one that decodes two, on all cores."""
    del most
    start = predict(scratch, 1).wall
    one, two = (predict(scratch, PAIR, workers=workers).wall - start for workers in (1, 2))
    return {"workers": one / two}


def measure_growth(scratch: Path, most: int) -> dict[str, float]:
    """Compare a job of a few files with one of many."""
    start = predict(scratch, 1)
    few, many = predict(scratch, FEW), predict(scratch, most)
    return {
        "files": most,
        "cpu_seconds_per_file": (many.cpu - start.cpu) / (most - 1),
        "cpu_growth": (many.cpu - start.cpu) / (most - 1) / ((few.cpu - start.cpu) / (FEW - 1)),
        "memory_growth": many.megabytes / few.megabytes,
        "peak_memory_megabytes": many.megabytes,
    }


def measure_merge(scratch: Path, most: int) -> dict[str, float]:
    """Merge two shards of made-up rows, with twenty frames each."""
    del most
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in VERDICT_FIELDS.items()])
    frame = {"time_seconds": 0.5, "box": [1.5, 2.5, 3.5, 4.5], "fake_probability": 0.123456}
    for shard in (1, 2):
        folder = scratch / f"shard-{shard}"
        folder.mkdir()
        write_json(folder / "job.json", {"name": "made up", "shard": f"{shard}/2", "files": ROWS // 2})
        for part in range(ROWS // ROWS_OF_A_PART // 2):
            frames = [{**frame, "fake_probability": round((part + place) / 9999, 6)} for place in range(20)]
            row = dict.fromkeys(VERDICT_FIELDS, "") | {
                "status": "scored",
                "label": "REAL",
                "fake_probability": 0.1,
                "seconds": 0.4,
                "attempts": 1,
                "tracks": json.dumps([{"fake_probability": 0.1, "counts": True, "frames": frames}]),
            }
            rows = [{**row, "id": f"{shard}-{part}-{number}"} for number in range(ROWS_OF_A_PART)]
            parquet.write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"part-{part:05d}.parquet")
    shards = [str(scratch / f"shard-{shard}") for shard in (1, 2)]
    cost = command_cost("-m", "dfutils", "merge", *shards, "--out", str(scratch / "joined"))
    return {"merge_seconds": cost.wall, "merge_memory_megabytes": cost.megabytes}


PARTS: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "shards": measure_shards,
    "workers": measure_workers,
    "growth": measure_growth,
    "merge": measure_merge,
}


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__, parts=PARTS)
    parser.add_argument("--most", type=int, default=1000, help="files of the largest job (default: %(default)s)")
    options = parser.parse_args()
    figures: dict[str, Any] = earlier_figures(options.out, "archive", only=options.only)
    for name in options.only or PARTS:
        with tempfile.TemporaryDirectory() as scratch:
            figures |= PARTS[name](Path(scratch), options.most)
    document = {"figures": figures, "targets": targets_document(FIGURES)}
    write_results(options.out, "archive", document, figures_table(figures, FIGURES))
    print(target_lines(figures, FIGURES))


if __name__ == "__main__":
    main()
