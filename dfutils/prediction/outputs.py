"""Verdicts and the faces behind them as files and plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dfutils.files import write_bytes, write_csv
from dfutils.records import Box, Extraction, Verdict

VERDICT_COLUMNS = ("input", "label", "fake_probability", "reason", "people", "detail")
"""Of ``predict --csv``; the probability is empty where there is none."""

LONGEST_NAME = 60
"""Characters of an input's name that its folder of faces keeps."""


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Write a row a verdict, atomically: the file is there once the last verdict is.

    Raises:
        DatasetError: It cannot be written.
    """
    write_csv(path, VERDICT_COLUMNS, (_row(verdict) for verdict in verdicts))


def write_faces(folder: Path, number: int, verdict: Verdict, extraction: Extraction | None) -> None:
    """Write the crops that a verdict rests on as PNG, a folder a person; nothing where nobody was found.

    Args:
        folder: Of all inputs.
        number: Of the input: two inputs may have the same name.
        verdict: Names the input.
        extraction: What was cut from it.

    Raises:
        DatasetError: They cannot be written.
    """
    if extraction is None:
        return
    from dfutils.extraction.dataset import encode_image  # OpenCV takes a tenth of a second, and most write no faces

    for clip in extraction.clips:
        own = input_folder(folder, number, verdict) / f"person-{clip.track}"
        for index, image in enumerate(clip.images):
            write_bytes(own / f"{index:02d}.png", encode_image(image, image_format="png"))


def input_folder(folder: Path, number: int, verdict: Verdict) -> Path:
    """Folder of one input among those of all, named by its number and what is harmless of its name."""
    name = re.sub(r"[^\w.-]+", "_", Path(verdict.input).name)[:LONGEST_NAME]
    return folder / f"{number:04d}-{name}"


def plain_verdict(verdict: Verdict) -> dict[str, Any]:
    """The values that ``predict --json`` prints of one input."""
    return {
        "input": verdict.input,
        "fake_probability": verdict.fake_probability,
        "label": str(verdict.label),
        "reason": str(verdict.reason),
        "detail": verdict.detail,
        "tracks": [
            {
                "fake_probability": track.fake_probability,
                "frames": [
                    {
                        "time_seconds": round(frame.time_seconds, 4),
                        "box": _corners(frame.box),
                        "fake_probability": frame.fake_probability,
                    }
                    for frame in track.frames
                ],
            }
            for track in verdict.tracks
        ],
    }


def _row(verdict: Verdict) -> dict[str, object]:
    has_score = verdict.fake_probability is not None
    return {
        "input": verdict.input,
        "label": str(verdict.label),
        "fake_probability": f"{verdict.fake_probability:.6g}" if has_score else "",
        "reason": str(verdict.reason),
        "people": len(verdict.tracks),
        "detail": verdict.detail,
    }


def _corners(box: Box) -> list[float]:
    return [round(value, 1) for value in (box.left, box.top, box.right, box.bottom)]
