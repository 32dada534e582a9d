"""Measure how often an answer turns when the same file is compressed, scaled or cut, by plain ``dfutils predict``.

    python -m research.stability WORK RUN NAME [--images 180] [--clips 52]

WORK holds ``sets/`` with the label files that ``research/README.md`` describes. Images are REAL and FAKE crops of
DFDC's validation people and photographs of validation people; clips are talking heads, modern fakes and
FaceForensics++ c23. Each file is altered in eleven ways (images) or eight (clips). Counted is the share of altered
files whose answer is the opposite of that on the file as it is: FAKE instead of REAL, or REAL instead of FAKE. It is
given for three ways to answer:

* ``one threshold``: the crops as they are, FAKE from the detector's two-class threshold on;
* ``three answers``: the crops as they are, REAL and FAKE by their own thresholds, else UNDECIDED;
* ``views``: the verdict itself.

Scores are written to ``WORK/stability/NAME.jsonl`` and not made twice; the figures are printed, and written beside it.
Intervals are 95 % percentiles of 2,000 bootstrap resamples of whole files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfutils.evaluation.damage import encode
from dfutils.extraction.video import iter_frames
from dfutils.files import read_csv, write_json
from dfutils.prediction.detector import Detector, load_detector
from dfutils.prediction.views import VIEWS
from dfutils.records import Image
from research.measure import PARTS, share

MOST_FRAMES = 300
CLEAN_CRF = 12
"""x264 quality of clips of which only the frames are altered: nearly lossless."""


def jpeg(quality: int) -> Callable[[Image], Image]:
    """Return a function that compresses an image."""

    def change(image: Image) -> Image:
        content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]

    return change


def scale(factor: float) -> Callable[[Image], Image]:
    """Return a function that changes the size of an image."""
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC

    def change(image: Image) -> Image:
        return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=interpolation), np.uint8)

    return change


def cut(*, start: bool, end: bool) -> Callable[[Image], Image]:
    """Return a function that cuts 5 % off the top and left, the bottom and right, or all sides."""

    def change(image: Image) -> Image:
        rows, columns = (round(side * 0.05) for side in image.shape[:2])
        height, width = image.shape[:2]
        return image[rows * start : height - rows * end, columns * start : width - columns * end]

    return change


CUTS = {"cut at the start": cut(start=True, end=False), "cut at the end": cut(start=False, end=True)}
CUT = {"cut all around": cut(start=True, end=True)}
OF_IMAGES = {
    **{f"JPEG {quality}": jpeg(quality) for quality in (95, 75, 60, 50)},
    **{f"× {factor}": scale(factor) for factor in (0.5, 0.7, 1.5, 2.0)},
    **CUTS,
    **CUT,
}
OF_CLIPS: dict[str, tuple[Callable[[Image], Image] | None, int]] = {
    **{f"H.264 crf {crf}": (None, crf) for crf in (18, 23, 28, 32)},
    **{f"× {factor}": (scale(factor), CLEAN_CRF) for factor in (0.5, 0.7, 1.5)},
    **{name: (change, CLEAN_CRF) for name, change in CUT.items()},
}


def chosen_files(work: Path, *, images: int, clips: int) -> Iterator[dict[str, str]]:
    """Yield the rows of the label files to measure, the same at every call."""
    parts = [("dfdc_validation", "REAL"), ("dfdc_validation", "FAKE"), ("photos_validation", "REAL")]
    parts += [(name, label) for name in ("modern", "ffpp_c23") for label in ("REAL", "FAKE")]
    for name, label in parts:
        part, count = PARTS[name], clips // 4 if name in ("modern", "ffpp_c23") else images // 3
        labels = read_csv(work / "sets" / part.labels, ("file", "label", "group"))
        rows = [row for row in labels if row["label"] == label and part.is_in(work, row)]
        yield from sorted(rows, key=lambda row: hashlib.sha256(row["file"].encode()).hexdigest())[:count]


def altered(source: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the file as it is, and each altered copy, which is gone at the next step."""
    yield "as it is", source
    if source.suffix == ".mp4":
        frames = [(frame.time_seconds, frame.image()) for frame in iter_frames(source) if frame.index < MOST_FRAMES]
        for name, (change, crf) in OF_CLIPS.items():
            encode(folder / "a.mp4", ((time, change(image) if change else image) for time, image in frames), crf=crf)
            yield name, folder / "a.mp4"
        return
    image = np.asarray(cv2.imread(str(source)), np.uint8)[..., ::-1]
    for name, alter in OF_IMAGES.items():
        cv2.imwrite(str(folder / "a.png"), np.ascontiguousarray(alter(image)[..., ::-1]))
        yield name, folder / "a.png"


def scores(work: Path, detector: Detector, out: Path, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return one document per file and alteration, which are appended to ``out`` as they come."""
    known = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    done = {document["file"] for document in known}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            if row["file"] in done:
                continue
            found = []
            for name, path in altered(work / "sets" / row["file"], Path(folder)):
                verdict = detector.predict(path)
                views = {} if verdict.person is None else dict(verdict.tracks[verdict.person].views)
                answer = {"label": str(verdict.label), "reason": str(verdict.reason), "views": views}
                found.append({"file": row["file"], "truth": row["label"], "alteration": name, **answer})
            with out.open("a") as file:
                file.write("".join(f"{json.dumps(document)}\n" for document in found))
            known += found
    return known


def figures(detector: Detector, documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the shares of opposite answers, and what is answered, for each way to answer."""

    def one_threshold(document: dict[str, Any]) -> str:
        return "FAKE" if document["views"]["as_is"] >= detector.settings.threshold else "REAL"

    ways: dict[str, Callable[[dict[str, Any]], str]] = {
        "one threshold": one_threshold,
        "three answers": lambda document: str(detector.settings.label(document["views"]["as_is"])),
        "views": lambda document: str(document["label"]),
    }
    scored = [document for document in documents if document["views"]]
    plain = {document["file"]: document for document in scored if document["alteration"] == "as it is"}
    changed = [one for one in scored if one["alteration"] != "as it is" and one["file"] in plain]
    found: dict[str, Any] = {"files": len(plain), "altered": len(changed)}
    for way, answer in ways.items():
        opposite = np.array([{answer(one), answer(plain[one["file"]])} == {"REAL", "FAKE"} for one in changed], float)
        differs = np.array([answer(one) != answer(plain[one["file"]]) for one in changed], float)
        files = np.array([one["file"] for one in changed])
        answers = [(answer(one), one["truth"]) for one in plain.values()]
        found[way] = {
            "opposite": share(opposite, files),
            "different": share(differs, files),
            "answered": sum(said != "UNDECIDED" for said, _ in answers) / len(answers),
            "wrong": sum(said not in ("UNDECIDED", truth) for said, truth in answers) / len(answers),
        }
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("run", help="run folder, or name of an included detector")
    parser.add_argument("name", help="name of the files for its scores")
    parser.add_argument("--images", type=int, default=180, help="number of images (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=52, help="number of clips (default: %(default)s)")
    options = parser.parse_args()
    plain = load_detector(options.run)
    settings = plain.settings.model_copy(update={"views": plain.settings.views or tuple(VIEWS)})
    detector = Detector(settings, plain.members, plain.folder, engine=plain.engine)
    rows = list(chosen_files(options.work, images=options.images, clips=options.clips))
    folder = options.work / "stability"
    found = figures(detector, scores(options.work, detector, folder / f"{options.name}.jsonl", rows))
    print(json.dumps(found, indent=2))
    write_json(folder / f"{options.name}.json", found)


if __name__ == "__main__":
    main()
