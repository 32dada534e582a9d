"""Write REAL and FAKE demo clips as video files, with their labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import av
import numpy as np
from tqdm import tqdm

from dfutils.demo.people import random_person
from dfutils.demo.rendering import DEFAULT_SETTINGS, DemoSettings, render_clip
from dfutils.demo.scenes import Frames
from dfutils.errors import DatasetError
from dfutils.files import read_csv, replacing, write_csv

logger = logging.getLogger(__name__)

LABEL_COLUMNS = ("file", "label", "group", "dataset")
DETERMINISTIC_X264 = "mbtree=0"
"""With x264's macroblock tree the bytes differ from run to run, even on one thread (seen in PyAV 18)."""

# Purposes of random streams: part of the seed, so that no clip's stream depends on another's.
_LOOKS, _DONOR_LOOKS, _REAL_CLIP, _FAKE_CLIP = range(4)


def make_demo_videos(out: Path, *, settings: DemoSettings = DEFAULT_SETTINGS, progress: bool = True) -> Path:
    """Make one REAL and one FAKE clip of each made-up person, and their labels.

    Existing clips are kept. The donors of the forged faces appear nowhere else, so every person is their own group.

    Args:
        out: Folder for ``videos/person_00_real.mp4`` … and ``labels.csv``.
        settings: Number of people, and size and length of their clips.
        progress: Show a progress bar on a terminal.

    Returns:
        Path of ``labels.csv`` (file, label, group, dataset); the files are relative to it.

    Raises:
        DatasetError: The folder holds demo clips made with other settings, or cannot be written.
    """
    made_with = out / "demo.json"
    if made_with.exists():  # the number of people may differ
        before, now = (made.model_dump(exclude={"people"}) for made in (DemoSettings.read(made_with), settings))
        changed = {name: (before[name], now[name]) for name in now if before[name] != now[name]}
        if changed:
            raise DatasetError(
                f"{out}: holds demo clips made with other settings (before, now: {changed}). "
                "Choose another folder, or delete this one."
            )
    else:
        settings.write(made_with)
    clips = [(index, is_fake) for index in range(settings.people) for is_fake in (False, True)]
    for index, is_fake in tqdm(clips, desc="demo clips", unit="clip", disable=None if progress else True):
        make_demo_video(out / _clip_file(index, is_fake=is_fake), index, is_fake=is_fake, settings=settings)
    labels = out / "labels.csv"
    rows = [
        {
            "file": _clip_file(index, is_fake=is_fake),
            "label": "FAKE" if is_fake else "REAL",
            "group": f"person_{index:02d}",
            "dataset": "demo",
        }
        for index, is_fake in clips
    ]
    if not labels.exists() or read_csv(labels, LABEL_COLUMNS) != rows:
        write_csv(labels, LABEL_COLUMNS, rows)
    logger.info("%s: %d clips of %d made-up people", labels, len(clips), settings.people)
    return labels


def make_demo_video(path: Path, index: int, *, is_fake: bool, settings: DemoSettings = DEFAULT_SETTINGS) -> None:
    """Make one clip of one person of `make_demo_videos`, unless the file exists."""
    if path.exists():
        return

    def stream(purpose: int) -> np.random.Generator:
        return np.random.default_rng([settings.seed, index, purpose])

    person = random_person(stream(_LOOKS))
    donor = random_person(stream(_DONOR_LOOKS)) if is_fake else None
    clip_stream = stream(_FAKE_CLIP if is_fake else _REAL_CLIP)
    write_video(path, render_clip(person, donor=donor, rng=clip_stream, settings=settings), fps=settings.fps)


def _clip_file(index: int, *, is_fake: bool) -> str:
    return f"videos/person_{index:02d}_{'fake' if is_fake else 'real'}.mp4"


def write_video(path: Path, frames: Frames, *, fps: int, codec: str = "libx264", crf: int = 23) -> None:
    """Write frames as a 4:2:0 video, atomically.

    Args:
        path: File to write; its suffix names the container.
        frames: (T, H, W, 3) uint8 RGB, height and width even.
        fps: Frames per second.
        codec: FFmpeg's name of the encoder.
        crf: Quality on x264's scale: 18 is nearly lossless, 23 usual, 40 bad.
    """
    height, width = frames.shape[1:3]
    options = {"crf": str(crf), "preset": "faster", "x264-params": DETERMINISTIC_X264}
    with replacing(path) as temporary, av.open(temporary, "w") as container:
        stream = cast(av.VideoStream, container.add_stream(codec, rate=fps, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # With more threads the bytes would depend on the machine's number of cores.
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
