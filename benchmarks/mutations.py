"""Extract from 2,000 randomly damaged files: none may crash the decoder, hang it, or get lost.

    python -m benchmarks.mutations

Each file is a good MP4, MKV, AVI, WebM, PNG or JPEG of the demo with bits flipped, blocks zeroed, swapped, repeated or
cut out, or its end missing; in every other one only in the first kilobyte, where the headers are.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.common import script_parser, wall_seconds, write_results
from dfutils.demo.clips import write_video
from dfutils.demo.people import random_person
from dfutils.demo.rendering import DemoSettings, render_clip
from dfutils.extraction import isolation
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.extract import extract_dataset
from dfutils.files import read_csv
from dfutils.settings import ExtractionSettings, MediaLimits

LIMITS = MediaLimits(memory_megabytes=1024, cpu_seconds=10, wall_seconds=20)
SETTINGS = ExtractionSettings(frames=4, size=64, limits=LIMITS)

OUTCOMES = {
    "ok": "faces extracted",
    "no_face": "no face found",
    "too_few_faces": "too few frames with a face",
    "too_large": "image too large",
    "unreadable": "unreadable",
}

Mutation = Callable[[bytearray, np.random.Generator, int], bytearray]


def make_good_files(folder: Path) -> list[Path]:
    """Write one second of a talking head in every container, and one of its frames as an image."""
    rng = np.random.default_rng(0)
    frames = render_clip(random_person(rng), donor=None, rng=rng, settings=DemoSettings(seconds=1.0))
    codecs = {"good.mp4": "libx264", "good.mkv": "libx264", "good.avi": "mpeg4", "good.webm": "libvpx"}
    for name, codec in codecs.items():
        write_video(folder / name, frames, fps=20, codec=codec)
    for name in ("good.png", "good.jpg"):
        cv2.imwrite(str(folder / name), frames[0][..., ::-1])
    return sorted(folder.iterdir())


def flip_bits(content: bytearray, rng: np.random.Generator, end: int) -> bytearray:
    """Flip 1 to 100 bits."""
    for place in rng.integers(0, end, rng.integers(1, 101)):
        content[place] ^= 1 << int(rng.integers(8))
    return content


def zero_block(content: bytearray, rng: np.random.Generator, end: int) -> bytearray:
    """Set up to a kilobyte to zero."""
    start, length = int(rng.integers(0, end)), int(rng.integers(1, 1025))
    content[start : start + length] = bytes(len(content[start : start + length]))
    return content


def set_to_ones(content: bytearray, rng: np.random.Generator, end: int) -> bytearray:
    """Set four bytes to 255, which makes sizes and counts huge or negative."""
    for start in rng.integers(0, end, rng.integers(1, 9)):
        content[start : start + 4] = b"\xff" * len(content[start : start + 4])
    return content


def repeat_block(content: bytearray, rng: np.random.Generator, end: int) -> bytearray:
    """Insert a copy of a block before it."""
    start, length = int(rng.integers(0, end)), int(rng.integers(1, 5000))
    content[start:start] = content[start : start + length]
    return content


def cut_out(content: bytearray, rng: np.random.Generator, end: int) -> bytearray:
    """Delete a block."""
    start = int(rng.integers(0, end))
    del content[start : start + int(rng.integers(1, 5000))]
    return content


def cut_short(content: bytearray, rng: np.random.Generator, _end: int) -> bytearray:
    """Delete the end."""
    return content[: int(rng.integers(0, len(content)))]


MUTATIONS: tuple[Mutation, ...] = (flip_bits, zero_block, set_to_ones, repeat_block, cut_out, cut_short)


def make_mutations(good: list[Path], folder: Path, count: int) -> None:
    """Write ``count`` mutations, each with its own seed."""
    for number in range(count):
        rng = np.random.default_rng(number)
        source = good[number % len(good)]
        content = bytearray(source.read_bytes())
        end = min(1024, len(content)) if number % 2 else len(content)
        mutated = MUTATIONS[int(rng.integers(len(MUTATIONS)))](content, rng, end)
        (folder / f"{number:05d}{source.suffix}").write_bytes(mutated)


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--count", type=int, default=2000, help="number of damaged files (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "good").mkdir()
        (folder / "source" / "real").mkdir(parents=True)
        make_mutations(make_good_files(folder / "good"), folder / "source" / "real", options.count)
        figures = measure(folder / "source", folder / "faces")
    print(table(figures))
    write_results(options.out, "mutations", {"figures": figures}, table(figures))


def measure(source: Path, faces: Path) -> dict[str, Any]:
    """Extract from all files and count the outcomes."""
    started_children = 0
    start = isolation._Child.__init__

    def counted(child: isolation._Child) -> None:
        nonlocal started_children
        started_children += 1
        start(child)

    isolation._Child.__init__ = counted  # type: ignore[assignment, method-assign]
    catalogue = read_catalogue(source)
    wall = wall_seconds(lambda: extract_dataset(catalogue, faces, settings=SETTINGS, workers=2, progress=False))
    outcomes = {row["video"]: "ok" for row in read_csv(faces / "manifest.csv", ())}
    skipped = read_csv(faces / "skipped.csv", ())
    assert not outcomes.keys() & {row["video"] for row in skipped}, "a video is in both tables"
    outcomes |= {row["video"]: row["reason"] for row in skipped}
    return {
        "files": len(catalogue.videos),
        "accounted_for": len(outcomes),
        "outcomes": dict(sorted(Counter(outcomes.values()).items())),
        "decoder_crashes": sum("crashed" in row["detail"] for row in skipped),
        "over_a_time_limit": sum("took more than" in row["detail"] for row in skipped),
        "over_the_memory_limit": sum("of memory" in row["detail"] for row in skipped),
        "children_started": started_children,
        "milliseconds_per_file": round(1000 * wall / len(catalogue.videos), 1),
    }


def table(figures: Mapping[str, Any]) -> str:
    """Return the number of files with each outcome, as Markdown."""
    rows = [f"| {OUTCOMES[outcome]} | {count:,} |" for outcome, count in figures["outcomes"].items()]
    notes = (
        f"{figures['files']:,} files, {figures['accounted_for']:,} of them accounted for: {figures['decoder_crashes']} "
        f"crashes of the decoder, {figures['over_a_time_limit']} files over a time limit, "
        f"{figures['over_the_memory_limit']} over the memory limit."
    )
    return "\n".join(["| outcome | files |", "|---|---|", *rows, "", notes]) + "\n"


if __name__ == "__main__":
    main()
