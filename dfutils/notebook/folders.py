"""Find the notebooks' input folders: beside the notebooks, or attached to them on Kaggle."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from dfutils.demo.clips import make_demo_videos
from dfutils.demo.examples import add_odd_videos, demo_extraction
from dfutils.demo.rendering import DemoSettings
from dfutils.extraction.catalogue import Catalogue, read_catalogue
from dfutils.extraction.media_files import is_media
from dfutils.files import read_csv
from dfutils.runs.folder import RunFolder
from dfutils.settings import ExtractionSettings, Settings
from dfutils.weights import kaggle_input_folder

logger = logging.getLogger(__name__)

DEPTH = 6
"""Levels to search below Kaggle's input folder; the deepest is ``models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION``."""
MARKERS = {"faces": "manifest.csv", "run": RunFolder(Path()).detector_file.name}
"""A file that identifies a folder, by the notebooks' name for the folder."""
DFDC_SAMPLE = Path("train_sample_videos", "metadata.json")
DFDC_TEST = Path("test_videos")


class NotebookFolders(Settings):
    """Input and output folders of the notebooks; each notebook reads what an earlier one wrote."""

    source: Path = Path("output/source")
    """Videos and their labels."""
    faces: Path = Path("output/faces")
    """The face dataset: written by 01, read by 02, 03 and 04."""
    staging: Path = Path("output/staging")
    """The dataset staged for Kaggle by 02."""
    quick_look: Path = Path("output/quick-look")
    """The run folder of a first, short training: written and read by 03."""
    run: Path = Path("output/run")
    """The run folder: written by 03, read by 04 and 05."""
    report: Path = Path("output/report")
    """The report folder: written by 04."""
    inputs: Path = Path("output/inputs")
    """Clips that 05 makes as examples."""
    submission: Path = Path("submission.csv")
    """The submission to the DFDC: written by 05 beside the notebook, where Kaggle looks for it."""


def attached(folder: str | Path) -> Path:
    """Find a folder that an earlier notebook wrote: at its own path, else among Kaggle's attached inputs.

    Kaggle mounts inputs at two places, with and without the owner's name. Both are searched, and a data set or model is
    identified by its content, whatever its name.

    Args:
        folder: A path such as ``output/faces``; its last part names the content.

    Returns:
        The folder, or ``folder`` itself if there is none, so that its reader can say what is missing.
    """
    path = Path(folder)
    marker = MARKERS.get(path.name)
    if marker is None or path.exists():
        return path
    return find_attached(path, marker) or path


def find_attached(folder: Path, marker: str) -> Path | None:
    """Return the attached folder that holds a file called ``marker``, if there is one.

    Among several, one whose path ends in ``folder`` is preferred, then one of the same name, then the one highest up.
    """
    places = list(_attached_folders(Path(marker)))
    of_the_path = [place for place in places if place.as_posix().endswith(f"/{folder.as_posix()}")]
    of_the_name = [place for place in places if place.name == folder.name]
    found = next(iter([*of_the_path, *of_the_name, *places]), None)
    logger.info("%s: %s of %d", folder, found, len(places))
    return found


def _attached_folders(marker: Path) -> Iterator[Path]:
    """Yield the folders that hold ``marker``, level by level, without searching inside them."""
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
    """Return labelled videos to begin with: the DFDC sample if attached, else made-up clips, drawn into ``source``.

    Args:
        source: Folder for the made-up clips; existing clips are kept.
        people: Number of made-up people, each with a REAL and a FAKE clip. Two clips without a usable face are added.
    """
    sample = next(_attached_folders(DFDC_SAMPLE), None)
    if sample:
        return read_catalogue((sample / DFDC_SAMPLE).parent, "dfdc")
    labels = make_demo_videos(source, settings=DemoSettings(people=people))
    return read_catalogue(source, add_odd_videos(labels))


def unseen_videos(run: Path, catalogue: Catalogue) -> list[Path]:
    """Return the videos of the catalogue that are in the test split of a run."""
    tested = {
        row["video"] for row in read_csv(RunFolder(run).splits_file, ("video", "split")) if row["split"] == "test"
    }
    return [video.path for video in catalogue.videos if video.name in tested]


def competition_videos() -> list[Path]:
    """Return the DFDC's test videos if the competition is attached, else nothing."""
    folder = next(_attached_folders(DFDC_TEST), None)
    files = sorted((folder / DFDC_TEST).iterdir()) if folder else []
    return [path for path in files if is_media(path)]


def suggested_extraction() -> ExtractionSettings:
    """Return the demo's settings if `open_videos` draws clips, else the package's defaults."""
    return ExtractionSettings() if next(_attached_folders(DFDC_SAMPLE), None) else demo_extraction()
