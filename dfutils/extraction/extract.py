"""Extract a catalogue of videos into a face dataset: in parallel, resumable, and without silent drops."""

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
from dfutils.extraction.faces import YUNET_SHA256, face_detector
from dfutils.extraction.shards import WHOLE, Shard, differences
from dfutils.extraction.tables import append_journal, read_journal, write_tables
from dfutils.extraction.work import Job, clip_id, identity, is_current, key_of, run
from dfutils.files import only_job, read_json, refuse_other_content, write_json
from dfutils.records import Video
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)

ROUNDS = 3
"""Attempts to finish an extraction on a cluster that loses workers."""


@dataclass(frozen=True, slots=True)
class ExtractionSummary:
    """Result of an extraction.

    Attributes:
        folder: The face dataset.
        videos: Number of files in the catalogue: ``extracted`` plus those skipped.
        extracted: Number of files that yielded at least one clip.
        skipped: Number of files that yielded none, by reason.
        clips: Number of clips in the manifest.
    """

    folder: Path
    videos: int
    extracted: int
    skipped: dict[str, int]
    clips: int

    def document(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {**asdict(self), "folder": str(self.folder)}

    def lines(self) -> list[str]:
        """Return the lines printed without ``--json``."""
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
    verify: bool = False,
) -> ExtractionSummary:
    """Extract every video of ``catalogue`` into a face dataset; continue an interrupted extraction.

    Args:
        catalogue: From `dfutils.extraction.catalogue.read_catalogue`.
        folder: The face dataset: manifest.csv, frames.csv, skipped.csv, extraction.json, real/ and fake/.
        settings: How crops are cut; saved in ``extraction.json`` with the checksum of the face detector.
        workers: Number of files decoded at a time, each with one thread.
        progress: Show a progress bar on a terminal.
        scheduler: Address of a Dask scheduler such as ``tcp://host:8786``; its workers must see the videos and
            ``folder`` under the same paths.
        trusted: Decode your own videos without a child process and without limits.
        shard: The part of the catalogue to extract.
        verify: Compare finished videos by their checksum, not only by size and time of modification.

    Raises:
        DatasetError: ``folder`` cannot be written, the disk is full, another job is writing there, or it was made with
            other settings or holds something else. Finished videos are kept, and the same call continues from there.
        WeightsError: The weight file of the face detector in the package is missing or damaged.
    """
    if not (folder / "extraction.json").exists():
        refuse_other_content(folder, "a face dataset")
    for warning in catalogue.warnings:
        logger.warning("%s", warning)
    if trusted:
        logger.warning("Trusted videos are decoded without limits: a damaged one can crash this run.")
    face_detector(settings.min_detection_score)  # fail before a folder is made
    about = {
        "settings": settings.model_dump(mode="json"),
        "detector": {
            "name": "yunet",
            "sha256": YUNET_SHA256,
            "framing": {"scale": FRAME_SCALE, "shift": FRAME_SHIFT},
        },
        "shard": str(shard),
        "catalogue": shard.fingerprint(catalogue.videos),
        "trusted": trusted,
        "dfutils": dfutils.__version__,
        "opencv": cv2.__version__,
    }
    videos = [
        replace(video, path=video.path.absolute(), frames=tuple(frame.absolute() for frame in video.frames))
        for video in shard.part(catalogue.videos)
    ]
    owners: dict[str, str] = {}
    for video in videos:
        first = owners.setdefault(clip_id(video.name, 0), video.name)
        if first != video.name:
            raise DatasetError(
                f"{video.name}: its clips would have the folder of {first}. Rename one of the two files."
            )
    with only_job(folder):
        if not (folder / "extraction.json").exists():
            write_json(folder / "extraction.json", about)
        elif difference := differences(read_json(folder / "extraction.json"), about, also=("shard", "catalogue")):
            raise DatasetError(
                f"{folder}: was made with other settings or another face detector ({difference}). "
                "Choose another --out, or delete the folder."
            )
        job = Job(folder.absolute(), settings, workers=workers, scheduler=scheduler, trusted=trusted)
        entries = _extract_all(videos, job, progress=progress, verify=verify)
        write_tables(folder, entries)
        shutil.rmtree(folder / ".partial", ignore_errors=True)  # left by killed workers
    skipped = Counter(entry["skipped"]["reason"] for entry in entries if entry["skipped"])
    clips = sum(len(entry["clips"]) for entry in entries)
    return ExtractionSummary(folder, len(entries), len(entries) - skipped.total(), dict(skipped), clips)


def _extract_all(videos: Sequence[Video], job: Job, *, progress: bool, verify: bool) -> list[dict[str, Any]]:
    """Return the entries of all videos, old and new, in the order of the catalogue."""
    keys = [key_of(identity(video)) for video in videos]
    known = {key_of(entry): entry for entry in read_journal(job.folder)}
    done = {
        key: known[key]
        for key, video in zip(keys, videos, strict=True)
        if key in known and is_current(known[key], video, verify=verify)
    }
    for key, video in zip(keys, videos, strict=True):
        modified = identity(video)["modified_ns"]
        if key in done and done[key].get("modified_ns", modified) != modified:  # a copy, which is not compared again
            done[key] = {**done[key], "modified_ns": modified}
            append_journal(job.folder, done[key])
    if finished := len(done):
        logger.info("%d of %d videos are already finished", finished, len(videos))
    if len(done) < len(videos):  # a dataset with some videos done again must not look finished
        (job.folder / "manifest.csv").unlink(missing_ok=True)
    key_of_name = {video.name: key for key, video in zip(keys, videos, strict=True)}  # a file may change meanwhile
    for round_left in reversed(range(ROUNDS)):
        todo = [video for video, key in zip(videos, keys, strict=True) if key not in done]
        results = run(todo, job)
        bar = tqdm(results, total=len(todo), desc="extract", unit="video", disable=None if progress else True)
        try:
            for entry in bar:
                append_journal(job.folder, entry)
                done[key_of_name[entry["video"]]] = entry
            break
        except DfutilsError:
            raise
        except Exception as error:
            if not job.scheduler or not round_left:
                raise
            logger.warning("The cluster lost workers (%s); continuing with the unfinished videos", error)
        finally:
            results.close()
    return [done[key] for key in keys]
