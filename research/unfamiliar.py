"""Measure which inputs a detector calls unfamiliar, by plain ``dfutils predict``.

    python -m research.unfamiliar WORK RUN [--most 100] [--made-up FOLDER]

REAL faces of people that no training has seen should seldom be: DFDC's test people, photographs of test people, CelebA
(a domain that was left out of training) and real talking heads. Photographs of test people after heavy filters, the
people that ``dfutils demo`` draws, and the faces in FOLDER, which a generator made up, should be. Intervals are 95 %
percentiles of 2,000 bootstrap resamples of whole groups. The figures are printed, and written to
``WORK/measured/unfamiliar.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfutils.demo.clips import make_demo_videos
from dfutils.demo.rendering import DemoSettings
from dfutils.extraction.media_files import is_media, iter_files
from dfutils.files import read_csv, write_json
from dfutils.prediction.detector import Detector, load_detector
from dfutils.records import Image, Reason, Verdict
from research.measure import PARTS, share

REAL_PARTS = ("dfdc_test", "photos_test", "celeba", "modern")


def cartoon(image: Image) -> Image:
    """Return flat colours with black outlines."""
    smooth = image
    for _ in range(4):
        smooth = np.asarray(cv2.bilateralFilter(smooth, 9, 60, 9), np.uint8)
    grey = cv2.medianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 7)
    lines = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 2)
    return np.asarray(cv2.bitwise_and(smooth // 32 * 32 + 16, smooth // 32 * 32 + 16, mask=lines), np.uint8)


def large_pixels(image: Image) -> Image:
    """Return a mosaic of 24 tiles across."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (24, round(24 * height / width)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def noisy(image: Image) -> Image:
    """Return the image with noise of a standard deviation of 40 levels."""
    noise = np.random.default_rng(image.size).normal(0, 40, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


FILTERS: dict[str, Callable[[Image], Any]] = {
    "cartoon": cartoon,
    "painting": lambda image: cv2.stylization(image, sigma_s=60, sigma_r=0.45),
    "pencil": lambda image: np.repeat(cv2.pencilSketch(image, sigma_s=60, sigma_r=0.07)[0][..., None], 3, axis=2),
    "few tones": lambda image: image // 64 * 85,
    "large pixels": large_pixels,
    "heavy blur": lambda image: cv2.GaussianBlur(image, (0, 0), 0.025 * image.shape[1]),
    "noise": noisy,
    "negative": lambda image: 255 - image,
    "false colours": lambda image: cv2.applyColorMap(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLORMAP_JET),
    "grey": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
}
"""Changes of an RGB image; the last one is harmless, and should not be unfamiliar."""


def real_files(work: Path, name: str, most: int) -> list[tuple[Path, str]]:
    """Return files of REAL people of a part, each with its group."""
    part = PARTS[name]
    rows = [row for row in read_csv(work / "sets" / part.labels, ("file", "label", "group")) if part.is_in(work, row)]
    rows = [row for row in rows if row["label"] == "REAL"]
    rows.sort(key=lambda row: hashlib.sha256(row["file"].encode()).hexdigest())
    return [(work / "sets" / row["file"], row["group"]) for row in rows[:most]]


def figures(verdicts: Sequence[Verdict], groups: Sequence[str]) -> dict[str, Any]:
    """Return how many files have no score, how many got each answer, and which share of the scored is unfamiliar."""
    scored = [(verdict, group) for verdict, group in zip(verdicts, groups, strict=True) if verdict.person is not None]
    found: dict[str, Any] = {
        "files": len(verdicts),
        "without_a_score": len(verdicts) - len(scored),
        "answers": Counter(str(verdict.label) for verdict in verdicts),
    }
    if scored:
        unfamiliar = np.array([verdict.reason == Reason.UNFAMILIAR for verdict, _ in scored], float)
        found["unfamiliar"] = share(unfamiliar, np.array([group for _, group in scored]))
    return found


def measure(work: Path, detector: Detector, *, most: int, made_up: Path | None = None) -> dict[str, Any]:
    """Return the figures of every part and filter, and of the images in ``made_up``."""
    found: dict[str, Any] = {}
    for name in REAL_PARTS:
        files = real_files(work, name, most)
        verdicts = list(detector.predict_many([path for path, _ in files], workers=2))
        found[f"REAL, {name}"] = figures(verdicts, [group for _, group in files])
    photos = real_files(work, "photos_test", most)
    with tempfile.TemporaryDirectory() as folder:
        for name, change in FILTERS.items():
            paths = [Path(folder) / f"{number}.png" for number in range(len(photos))]
            for path, (source, _) in zip(paths, photos, strict=True):
                image = np.ascontiguousarray(np.asarray(cv2.imread(str(source)), np.uint8)[..., ::-1])
                cv2.imwrite(str(path), np.ascontiguousarray(np.asarray(change(image), np.uint8)[..., ::-1]))
            found[f"filter, {name}"] = figures(list(detector.predict_many(paths)), [group for _, group in photos])
        labels = make_demo_videos(Path(folder), settings=DemoSettings(seconds=2.0), progress=False)
        rows = read_csv(labels, ("file", "group"))
        demo = list(detector.predict_many([labels.parent / row["file"] for row in rows]))
        found["drawn, the demo's people"] = figures(demo, [row["group"] for row in rows])
    if made_up:
        paths = sorted(filter(is_media, iter_files(made_up)))
        found["made up, whole faces"] = figures(list(detector.predict_many(paths)), [path.name for path in paths])
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("run", help="run folder, or name of an included detector")
    parser.add_argument("--most", type=int, default=100, help="most files of each part (default: %(default)s)")
    parser.add_argument("--made-up", type=Path, metavar="FOLDER", help="images of faces that a generator made up")
    options = parser.parse_args()
    found = measure(options.work, load_detector(options.run), most=options.most, made_up=options.made_up)
    print(json.dumps(found, indent=2))
    write_json(options.work / "measured" / "unfamiliar.json", found)


if __name__ == "__main__":
    main()
