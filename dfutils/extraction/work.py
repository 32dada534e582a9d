"""Run extraction jobs, one video per task: in this process, in threads with a child process each, or on Dask."""

from __future__ import annotations

import hashlib
import logging
import re
import stat
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import joblib

from dfutils.errors import DfutilsError, MediaError, UnreadableError, how_to_install
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.dataset import write_clip
from dfutils.extraction.faces import face_detector
from dfutils.extraction.isolation import extract_clips_safely
from dfutils.extraction.tables import manifest_row
from dfutils.files import sha256_of
from dfutils.records import ClipRow, Extraction, Video
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)

CONNECTION_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Job:
    """Parameters shared by all videos of one extraction.

    Attributes:
        folder: The face dataset; all workers of a cluster must see it under this path.
        settings: How crops are cut.
        workers: Files decoded at a time.
        scheduler: Address of a Dask scheduler, or empty for this machine.
        trusted: Decode without limits, and in this process if there is one worker.
    """

    folder: Path
    settings: ExtractionSettings
    workers: int = 1
    scheduler: str = ""
    trusted: bool = False


def run(videos: Sequence[Video], job: Job) -> Generator[dict[str, Any], None, None]:
    """Extract ``videos`` and yield one journal entry for each, in the order in which they finish."""
    if job.scheduler:
        with connected_cluster(job.scheduler) as client:
            yield from _run_parallel(videos, job, backend="dask", n_jobs=-1, client=client)
    elif job.workers > 1:
        # Threads suffice: each waits for the child process that decodes for it.
        yield from _run_parallel(videos, job, backend="threading", n_jobs=job.workers)
    else:
        yield from (extract_one(video, job) for video in videos)


@contextmanager
def connected_cluster(scheduler: str) -> Iterator[Any]:
    """Yield a ``distributed.Client`` of a Dask scheduler.

    Raises:
        DfutilsError: Dask is not installed, no scheduler answers, or it is lost before the end.
    """
    try:
        from distributed import Client
        from distributed.comm import CommClosedError

        connection = Client(scheduler, timeout=CONNECTION_SECONDS)
    except ImportError as error:
        raise DfutilsError(f"{scheduler}: Dask is not installed. {how_to_install('cluster')}.") from error
    except (OSError, ValueError) as error:
        raise DfutilsError(f"{scheduler}: no Dask scheduler answers ({error}). Check the address.") from error
    with connection as client:
        try:
            yield client
        except (CancelledError, CommClosedError) as error:
            raise DfutilsError(
                f"{scheduler}: the Dask scheduler was lost ({type(error).__name__}). What is finished is kept; start "
                "it again, and repeat the command."
            ) from error


def _run_parallel(videos: Sequence[Video], job: Job, **backend: Any) -> Generator[dict[str, Any], None, None]:
    with joblib.parallel_config(**backend):
        # One video per task, so that a lost worker of a cluster costs no more than that.
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
    yield from parallel(joblib.delayed(extract_one)(video, job) for video in videos)


def extract_one(video: Video, job: Job) -> dict[str, Any]:
    """Return the journal entry of one video; an error of the video itself becomes the reason for skipping it."""
    cv2.setNumThreads(1)  # there is one process per core: OpenCV's own threads would only compete
    entry: dict[str, Any] = {**identity(video), "clips": [], "frames": [], "skipped": None}
    try:
        extraction, checksum = _extract(video, job)
    except MediaError as error:
        entry["skipped"] = {
            "video": video.name,
            "reason": error.reason,
            "detail": str(error).replace(str(video.path), video.name),  # published: it must not show a local path
            "is_fake": str(video.is_fake).lower(),
            "dataset": video.dataset,
            "group": video.group,
            "split": video.split or "",
        }
        return entry
    info = extraction.info
    for clip in extraction.clips:
        row = ClipRow(
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
            note=info.cut_off,
        )
        entry["frames"] += write_clip(job.folder, row, clip, image_format=job.settings.image_format)
        entry["clips"].append(manifest_row(row))
    return entry


def _extract(video: Video, job: Job) -> tuple[Extraction, str]:
    """Return the extraction and the SHA-256 of one video; raise a `MediaError` if there is no clip."""
    path, frames = video.path, video.frames
    if not job.trusted or job.workers > 1:
        extraction = extract_clips_safely(path, job.settings, frames=frames, limited=not job.trusted)
    else:
        detector = face_detector(job.settings.min_detection_score)
        try:
            extraction = extract_clips(path, job.settings, detector, frames=frames)
        except DfutilsError:
            raise
        except Exception as error:
            logger.exception("%s", path)
            raise UnreadableError(f"{path}: decoding failed ({error!r}). Re-encode or skip the file.") from error
    try:
        return extraction, checksum_of(video)
    except OSError as error:
        raise UnreadableError(f"{path}: disappeared while it was read ({error.strerror}). Extract again.") from error


def clip_id(video: str, track: int) -> str:
    """Return a readable folder name, made unique by a checksum of the video's full name.

    Example:
        >>> clip_id("part 1/abc.mp4", 0)
        'abc-6ac41ae8b3a79edd-0'
    """
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(video).stem)[:60] or "video"
    return f"{stem}-{hashlib.sha256(video.encode()).hexdigest()[:16]}-{track}"


def checksum_of(video: Video) -> str:
    """Return the SHA-256 of the file; of the frames' checksums in order if the video is stored as images."""
    if not video.frames:
        return sha256_of(video.path)
    return hashlib.sha256("".join(map(sha256_of, video.frames)).encode()).hexdigest()


def identity(video: Video) -> dict[str, Any]:
    """Return what must be unchanged for a finished video to count as finished; see `is_current` for its content."""
    size = modified = -1
    with suppress(OSError):
        about = [file.stat() for file in video.files]
        if all(stat.S_ISREG(one.st_mode) for one in about):
            size, modified = sum(one.st_size for one in about), max(one.st_mtime_ns for one in about)
    return {
        "video": video.name,
        "is_fake": video.is_fake,
        "group": video.group,
        "dataset": video.dataset,
        "split": video.split,
        "file_bytes": size,
        "modified_ns": modified,
    }


def key_of(entry: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the `identity` in a journal entry, except for the time of modification, as a key."""
    return tuple(entry[name] for name in ("video", "is_fake", "group", "dataset", "split", "file_bytes"))


def is_current(entry: Mapping[str, Any], video: Video, *, verify: bool = False) -> bool:
    """Return whether a file is still what it was when the journal entry of the same `key_of` was made.

    A file with a new time of modification is compared by its checksum: it may be a copy. Entries of earlier versions
    have no time.

    Args:
        entry: From the journal.
        video: The same file now.
        verify: Compare the checksum in any case.
    """
    is_untouched = entry.get("modified_ns") in (None, identity(video)["modified_ns"])
    checksums = {clip["sha256"] for clip in entry["clips"]}
    if not checksums or (is_untouched and not verify):
        return is_untouched
    try:
        return checksums == {checksum_of(video)}
    except OSError:
        return False
