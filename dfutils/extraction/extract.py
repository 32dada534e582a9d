"""A catalogue of videos to a face dataset: in parallel, resumable, nothing dropped in silence."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import joblib
from tqdm import tqdm

import dfutils
from dfutils.errors import DatasetError, MediaError
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.dataset import append_journal, manifest_row, read_journal, write_clip, write_tables
from dfutils.extraction.faces import FaceDetector, build_detector
from dfutils.files import read_json, sha256_of, write_json, writing_error
from dfutils.records import ClipRow, FaceClip, Video, VideoInfo
from dfutils.settings import ExtractionSettings

logger = logging.getLogger(__name__)

_detectors: dict[ExtractionSettings, FaceDetector] = {}


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
) -> ExtractionSummary:
    """Extract every video of ``catalogue`` into a face dataset, going on where an earlier run stopped.

    Args:
        catalogue: From `dfutils.extraction.catalogue.read_catalogue`.
        folder: The face dataset (design: manifest.csv, frames.csv, skipped.csv, extraction.json, real/, fake/).
        settings: How crops are cut; saved, with the detector that was found, in ``extraction.json``.
        workers: Processes; each decodes with one thread.
        progress: Show a bar on a terminal.

    Raises:
        DatasetError: ``folder`` cannot be written, the disk is full, or it was made with other settings. What is
            finished stays; the same command goes on from there.
    """
    for warning in catalogue.warnings:
        logger.warning("%s", warning)
    settings = _prepare_folder(folder, settings)
    done = {_key(entry): entry for entry in read_journal(folder)}
    todo = [video for video in catalogue.videos if _key(_identity(video)) not in done]
    if len(todo) < len(catalogue.videos):
        logger.info("%d of %d videos are finished already", len(catalogue.videos) - len(todo), len(catalogue.videos))
    results = _run(todo, folder, settings, workers)
    bar = tqdm(results, total=len(todo), desc="extract", unit="video", disable=None if progress else True)
    for entry in bar:
        append_journal(folder, entry)
        done[_key(entry)] = entry
    entries = [done[_key(_identity(video))] for video in catalogue.videos]
    write_tables(folder, entries)
    (folder / ".partial").rmdir() if (folder / ".partial").is_dir() else None
    return _summary(folder, entries)


def _prepare_folder(folder: Path, settings: ExtractionSettings) -> ExtractionSettings:
    """Write ``extraction.json``, or check that the one there says the same; returns the settings with the detector."""
    detector = build_detector(settings) if settings.crop == "face" else None
    if detector is not None:
        settings = settings.model_copy(update={"detector": detector.name})
    about = {
        "settings": settings.model_dump(mode="json"),
        "detector": {"name": detector.name, "sha256": detector.checksum} if detector else None,
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
        return settings
    before = read_json(path)
    if before.get("settings") != about["settings"] or before.get("detector") != about["detector"]:
        raise DatasetError(
            f"{folder}: was made with other settings or another face detector ({_difference(before, about)}). "
            "Choose another --out, or delete the folder."
        )
    return settings


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    old, new = before.get("settings") or {}, after["settings"]
    changed = [f"{key} was {old.get(key)!r}, now {new[key]!r}" for key in new if old.get(key) != new[key]]
    return "; ".join(changed) or f"detector was {before.get('detector')}, now {after['detector']}"


def _run(videos: Sequence[Video], folder: Path, settings: ExtractionSettings, workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1:
        yield from (_extract_one(video, folder, settings) for video in videos)
        return
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
    yield from parallel(joblib.delayed(_extract_one)(video, folder, settings) for video in videos)


def _extract_one(video: Video, folder: Path, settings: ExtractionSettings) -> dict[str, Any]:
    """One journal entry; only trouble with the output folder is raised, all else is the video's own reason."""
    cv2.setNumThreads(1)  # one process a core: OpenCV's own threads would only fight
    entry: dict[str, Any] = {**_identity(video), "clips": [], "frames": [], "skipped": None}
    try:
        extraction = extract_clips(video.path, settings, _detector(settings))
    except MediaError as error:
        entry["skipped"] = _skipped_row(video, error)
        return entry
    checksum = sha256_of(video.path)
    for clip in extraction.clips:
        row = _row(video, clip, extraction.info, checksum)
        entry["frames"] += write_clip(folder, row, clip, image_format=settings.image_format)
        entry["clips"].append(manifest_row(row))
    return entry


def _skipped_row(video: Video, error: MediaError) -> dict[str, str]:
    return {
        "video": video.name,
        "reason": error.reason,
        "detail": str(error),
        "is_fake": str(video.is_fake).lower(),
        "dataset": video.dataset,
        "group": video.group,
        "split": video.split or "",
    }


def _detector(settings: ExtractionSettings) -> FaceDetector | None:
    """The detector of this process, loaded once."""
    if settings.crop == "none":
        return None
    if settings not in _detectors:
        _detectors[settings] = build_detector(settings)
    return _detectors[settings]


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
        'abc-cbf7d5-0'
    """
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(video).stem)[:60] or "video"
    return f"{stem}-{hashlib.sha256(video.encode()).hexdigest()[:6]}-{track}"


def _identity(video: Video) -> dict[str, Any]:
    """What must be unchanged for a finished video to count as finished."""
    size = video.path.stat().st_size if video.path.is_file() else -1
    return {
        "video": video.name,
        "is_fake": video.is_fake,
        "group": video.group,
        "dataset": video.dataset,
        "split": video.split,
        "file_bytes": size,
    }


def _key(entry: dict[str, Any]) -> tuple[object, ...]:
    return tuple(entry[name] for name in ("video", "is_fake", "group", "dataset", "split", "file_bytes"))


def _summary(folder: Path, entries: Sequence[dict[str, Any]]) -> ExtractionSummary:
    skipped = Counter(entry["skipped"]["reason"] for entry in entries if entry["skipped"])
    clips = sum(len(entry["clips"]) for entry in entries)
    extracted = len(entries) - sum(skipped.values())
    return ExtractionSummary(folder, len(entries), extracted, dict(skipped), clips)
