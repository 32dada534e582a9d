"""Where notebooks find what they read: in their own folder, or in what is attached to them on Kaggle."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from dfutils.demo.clips import make_demo_videos
from dfutils.demo.examples import add_odd_videos, demo_extraction
from dfutils.demo.rendering import DemoSettings
from dfutils.extraction.catalogue import Catalogue, read_catalogue
from dfutils.extraction.layouts import VIDEO_SUFFIXES
from dfutils.files import read_csv
from dfutils.runs.folder import RunFolder
from dfutils.settings import ExtractionSettings, Settings
from dfutils.weights import kaggle_input_folder

logger = logging.getLogger(__name__)

DEPTH = 6
"""Levels below Kaggle's input folder; the deepest are ``models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION``."""
HOLDS = {"faces": "manifest.csv", "run": RunFolder(Path()).detector_file.name}
"""A file that says what a folder is, by the name that the notebooks give the folder."""
DFDC_SAMPLE = Path("train_sample_videos", "metadata.json")
DFDC_TEST = Path("test_videos")


class NotebookFolders(Settings):
    """Where the notebooks find and leave things; each reads what an earlier one wrote."""

    source: Path = Path("output/source")
    """Videos and their labels."""
    faces: Path = Path("output/faces")
    """The face dataset: written by 01, read by 02, 03 and 04."""
    staging: Path = Path("output/staging")
    """What 02 lays out for Kaggle."""
    quick_look: Path = Path("output/quick-look")
    """The run folder of a first, short training: written by 03, read by nobody else."""
    run: Path = Path("output/run")
    """The run folder: written by 03, read by 04 and 05."""
    report: Path = Path("output/report")
    """The report folder: written by 04."""
    inputs: Path = Path("output/inputs")
    """Clips that 05 adds to look at."""
    submission: Path = Path("submission.csv")
    """What 05 writes for the DFDC, beside the notebook: where Kaggle looks for it."""


def attached(folder: str | Path) -> Path:
    """A folder that an earlier notebook wrote: where it stands, else in what is attached on Kaggle.

    Kaggle has two places for what is attached, with and without the owner's name; both are searched, and a data set or
    model is known by what it holds, whatever it is called. The place nearest to the top counts.

    Args:
        folder: Such as ``output/faces``; its last part says what it is.

    Returns:
        The folder, or ``folder`` itself where there is none: whatever reads it says best what is missing.
    """
    path = Path(folder)
    marker = HOLDS.get(path.name)
    if marker is None or path.exists():
        return path
    return find_attached(path, marker) or path


def find_attached(folder: Path, marker: str) -> Path | None:
    """The attached folder that holds a file called ``marker``, if there is one.

    Of several, the one whose path ends like ``folder``, else one of the same name, else the one nearest to the top.
    """
    places = list(_attached_folders(Path(marker)))
    of_the_path = [place for place in places if place.as_posix().endswith(f"/{folder.as_posix()}")]
    of_the_name = [place for place in places if place.name == folder.name]
    found = next(iter([*of_the_path, *of_the_name, *places]), None)
    logger.info("%s: %s of %d", folder, found, len(places))
    return found


def _attached_folders(marker: Path) -> Iterator[Path]:
    """Folders that hold ``marker``, level by level; nothing is looked for inside them."""
    level = [kaggle_input_folder()]
    for _ in range(DEPTH + 1):
        below = []
        for folder in level:
            if (folder / marker).exists():
                yield folder
            elif folder.is_dir():
                below += sorted(one for one in folder.iterdir() if one.is_dir())
        level = below


def open_videos(source: Path, *, people: int = 24) -> Catalogue:
    """Labelled videos to begin with: the DFDC sample where it is attached, else made-up clips, drawn into ``source``.

    Args:
        source: Folder for the made-up clips; those that are there are kept.
        people: How many there are, each with a REAL and a FAKE clip; two clips that give no face come with them.
    """
    sample = next(_attached_folders(DFDC_SAMPLE), None)
    if sample:
        return read_catalogue((sample / DFDC_SAMPLE).parent, "dfdc")
    labels = make_demo_videos(source, settings=DemoSettings(people=people))
    return read_catalogue(source, add_odd_videos(labels))


def unseen_videos(run: Path, catalogue: Catalogue) -> list[Path]:
    """Videos of the catalogue that are on the test side of a run, in the order of their names."""
    tested = {
        row["video"] for row in read_csv(RunFolder(run).splits_file, ("video", "split")) if row["split"] == "test"
    }
    return [video.path for video in catalogue.videos if video.name in tested]


def competition_videos() -> list[Path]:
    """The DFDC's test videos, where the competition is attached; else none."""
    folder = next(_attached_folders(DFDC_TEST), None)
    files = sorted((folder / DFDC_TEST).iterdir()) if folder else []
    return [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]


def suggested_extraction() -> ExtractionSettings:
    """The demo's settings where `open_videos` draws clips; else what the package cuts by default."""
    return ExtractionSettings() if next(_attached_folders(DFDC_SAMPLE), None) else demo_extraction()
