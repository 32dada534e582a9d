"""A catalogue of videos to a face dataset: in parallel, resumable, nothing dropped in silence."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

import dfutils
from dfutils.errors import DatasetError, DfutilsError
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.crops import FRAME_SCALE, FRAME_SHIFT
from dfutils.extraction.dataset import append_journal, read_journal, write_tables
from dfutils.extraction.faces import YUNET_SHA256, face_detector
from dfutils.extraction.shards import WHOLE, Shard, differences
from dfutils.extraction.work import Job, identity, key_of, run
from dfutils.files import read_json, write_json, writing_error
from dfutils.records import Video
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)

ROUNDS = 3
"""How often an extraction on a cluster is taken up again when it lost workers."""


@dataclass(frozen=True, slots=True)
class ExtractionSummary:
    """What an extraction came to.

    Attributes:
        folder: The face dataset.
        videos: Files in the catalogue; always the sum of the next two.
        extracted: Files that gave at least one clip.
        skipped: Files that gave none, by reason.
        clips: Clips in the manifest.
    """

    folder: Path
    videos: int
    extracted: int
    skipped: dict[str, int]
    clips: int

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "folder": str(self.folder)}

    def lines(self) -> list[str]:
        """The same in words."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items())) or "none"
        return [
            f"{self.extracted} of {self.videos} videos gave {self.clips} clips; skipped: {reasons}.",
            f"Face dataset: {self.folder}",
        ]


def extract_dataset(
    catalogue: Catalogue,
    folder: Path,
    *,
    settings: ExtractionSettings,
    workers: int = 1,
    progress: bool = True,
    scheduler: str = "",
    trusted: bool = False,
    shard: Shard = WHOLE,
) -> ExtractionSummary:
    """Extract every video of ``catalogue`` into a face dataset, going on where an earlier run stopped.

    Args:
        catalogue: From `dfutils.extraction.catalogue.read_catalogue`.
        folder: The face dataset (design: manifest.csv, frames.csv, skipped.csv, extraction.json, real/, fake/).
        settings: How crops are cut; saved, with the face detector's checksum, in ``extraction.json``.
        workers: Files decoded at a time, each with one thread.
        progress: Show a bar on a terminal.
        scheduler: Address of a Dask scheduler such as ``tcp://host:8786`` whose workers do the work; they must see the
            videos and ``folder`` under the same paths.
        trusted: Decode one's own videos without a child process and without limits.
        shard: The part of the catalogue to extract.

    Raises:
        DatasetError: ``folder`` cannot be written, the disk is full, or it was made with other settings. What is
            finished stays; the same command goes on from there.
        WeightsError: The package's file of the face detector is missing or damaged.
    """
    for warning in catalogue.warnings:
        logger.warning("%s", warning)
    if trusted:
        logger.warning("The videos are trusted: they are decoded without limits, and a damaged one can end this run.")
    origin = {"shard": str(shard), "catalogue": shard.fingerprint(catalogue.videos), "trusted": trusted}
    face_detector(settings.min_detection_score)  # a damaged file ends this before there is a folder
    _prepare_folder(folder, settings, origin)
    videos = [replace(video, path=video.path.absolute()) for video in shard.part(catalogue.videos)]
    job = Job(folder.absolute(), settings, workers=workers, scheduler=scheduler, trusted=trusted)
    entries = _extract_all(videos, job, progress=progress)
    write_tables(folder, entries)
    shutil.rmtree(folder / ".partial", ignore_errors=True)  # of workers that were killed
    return _summary(folder, entries)


def _extract_all(videos: Sequence[Video], job: Job, *, progress: bool) -> list[dict[str, Any]]:
    """The entries of all videos, old and new, in the order of the catalogue."""
    done = {key_of(entry): entry for entry in read_journal(job.folder)}
    keys = [key_of(identity(video)) for video in videos]
    if finished := sum(key in done for key in keys):
        logger.info("%d of %d videos are finished already", finished, len(videos))
    for round_left in reversed(range(ROUNDS)):
        todo = [video for video, key in zip(videos, keys, strict=True) if key not in done]
        results = run(todo, job)
        bar = tqdm(results, total=len(todo), desc="extract", unit="video", disable=None if progress else True)
        try:
            for entry in bar:
                append_journal(job.folder, entry)
                done[key_of(entry)] = entry
            break
        except DfutilsError:
            raise
        except Exception as error:
            if not job.scheduler or not round_left:
                raise
            logger.warning("The cluster lost workers (%s); going on with what is left", error)
        finally:
            results.close()
    return [done[key] for key in keys]


def _prepare_folder(folder: Path, settings: ExtractionSettings, origin: dict[str, Any]) -> None:
    """Write ``extraction.json``, or check that the one there says the same."""
    framing = {"scale": FRAME_SCALE, "shift": FRAME_SHIFT}
    about = {
        "settings": settings.model_dump(mode="json"),
        "detector": {"name": "yunet", "sha256": YUNET_SHA256, "framing": framing},
        **origin,
        "dfutils": dfutils.__version__,
        "opencv": cv2.__version__,
    }
    path = folder / "extraction.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(folder, error) from error
    if not path.exists():
        write_json(path, about)
    elif difference := differences(read_json(path), about, also=("shard", "catalogue")):
        raise DatasetError(
            f"{folder}: was made with other settings or another face detector ({difference}). "
            "Choose another --out, or delete the folder."
        )


def _summary(folder: Path, entries: Sequence[dict[str, Any]]) -> ExtractionSummary:
    skipped = Counter(entry["skipped"]["reason"] for entry in entries if entry["skipped"])
    clips = sum(len(entry["clips"]) for entry in entries)
    extracted = len(entries) - sum(skipped.values())
    return ExtractionSummary(folder, len(entries), extracted, dict(skipped), clips)
