"""The work of an extraction: one video at a time, in this process, in threads with a child each, or on a cluster."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import joblib

from dfutils.errors import DfutilsError, MediaError, UnreadableError
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.dataset import manifest_row, write_clip
from dfutils.extraction.faces import face_detector
from dfutils.extraction.isolation import extract_clips_safely
from dfutils.files import sha256_of
from dfutils.records import ClipRow, Extraction, FaceClip, Video, VideoInfo
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)

CONNECTION_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for every video of an extraction.

    Attributes:
        folder: The face dataset; on a cluster, every worker sees it under this path.
        settings: How crops are cut.
        workers: Files decoded at a time.
        scheduler: Address of a Dask scheduler whose workers do the work, or empty for this machine.
        trusted: Decode without limits, and in this very process if there is one worker.
    """

    folder: Path
    settings: ExtractionSettings
    workers: int = 1
    scheduler: str = ""
    trusted: bool = False


def run(videos: Sequence[Video], job: Job) -> Generator[dict[str, Any], None, None]:
    """Extract ``videos`` and give one journal entry each, in the order in which they are done."""
    if job.scheduler:
        with _dask_client(job.scheduler) as client:
            yield from _run_parallel(videos, job, backend="dask", n_jobs=-1, client=client)
    elif job.workers > 1:
        # Threads are enough: each waits for the child process that decodes for it.
        yield from _run_parallel(videos, job, backend="threading", n_jobs=job.workers)
    else:
        yield from (extract_one(video, job) for video in videos)


def _run_parallel(videos: Sequence[Video], job: Job, **backend: Any) -> Generator[dict[str, Any], None, None]:
    with joblib.parallel_config(**backend):
        # One video a task: with a worker of a cluster, no more than that is lost.
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
    yield from parallel(joblib.delayed(extract_one)(video, job) for video in videos)


def _dask_client(scheduler: str) -> Any:
    try:
        from distributed import Client

        return Client(scheduler, timeout=CONNECTION_SECONDS)
    except ImportError as error:
        raise DfutilsError(f"{scheduler}: dask is not installed. `pip install dfutils[cluster]`.") from error
    except (OSError, ValueError) as error:
        raise DfutilsError(f"{scheduler}: no Dask scheduler answers ({error}). Check the address.") from error


def extract_one(video: Video, job: Job) -> dict[str, Any]:
    """One journal entry; only trouble with the output folder is raised, all else is the video's own reason."""
    cv2.setNumThreads(1)  # one process a core: OpenCV's own threads would only fight
    entry: dict[str, Any] = {**identity(video), "clips": [], "frames": [], "skipped": None}
    try:
        extraction = _extract(video.path, job)
        checksum = _checksum(video.path)
    except MediaError as error:
        entry["skipped"] = _skipped_row(video, error)
        return entry
    for clip in extraction.clips:
        row = _row(video, clip, extraction.info, checksum)
        entry["frames"] += write_clip(job.folder, row, clip, image_format=job.settings.image_format)
        entry["clips"].append(manifest_row(row))
    return entry


def _extract(path: Path, job: Job) -> Extraction:
    if not job.trusted or job.workers > 1:
        return extract_clips_safely(path, job.settings, limited=not job.trusted)
    try:
        return extract_clips(path, job.settings, face_detector(job.settings.min_detection_score))
    except DfutilsError:
        raise
    except Exception as error:
        logger.exception("%s", path)
        raise UnreadableError(f"{path}: decoding failed ({error!r}). Re-encode or skip the file.") from error


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise UnreadableError(f"{path}: went away while it was read ({error.strerror}). Extract again.") from error


def _skipped_row(video: Video, error: MediaError) -> dict[str, str]:
    return {
        "video": video.name,
        "reason": error.reason,
        "detail": str(error).replace(str(video.path), video.name),  # what is published names no folder of this machine
        "is_fake": str(video.is_fake).lower(),
        "dataset": video.dataset,
        "group": video.group,
        "split": video.split or "",
    }


def _row(video: Video, clip: FaceClip, info: VideoInfo, checksum: str) -> ClipRow:
    return ClipRow(
        clip_id=clip_id(video.name, clip.track),
        video=video.name,
        is_fake=video.is_fake,
        dataset=video.dataset,
        group=video.group,
        split=video.split,
        track=clip.track,
        frames=len(clip.crops),
        width=info.width,
        height=info.height,
        fps=round(info.fps, 4),
        duration_seconds=round(info.duration_seconds, 4),
        size_bytes=info.size_bytes,
        sha256=checksum,
    )


def clip_id(video: str, track: int) -> str:
    """A readable folder name, unique by a checksum of the video's whole name.

    Example:
        >>> clip_id("part 1/abc.mp4", 0)
        'abc-6ac41a-0'
    """
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(video).stem)[:60] or "video"
    return f"{stem}-{hashlib.sha256(video.encode()).hexdigest()[:6]}-{track}"


def identity(video: Video) -> dict[str, Any]:
    """What must be unchanged for a finished video to count as finished."""
    try:
        size = video.path.stat().st_size if video.path.is_file() else -1
    except OSError:
        size = -1
    return {
        "video": video.name,
        "is_fake": video.is_fake,
        "group": video.group,
        "dataset": video.dataset,
        "split": video.split,
        "file_bytes": size,
    }


def key_of(entry: dict[str, Any]) -> tuple[object, ...]:
    """`identity` as a key."""
    return tuple(entry[name] for name in ("video", "is_fake", "group", "dataset", "split", "file_bytes"))
