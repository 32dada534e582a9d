"""Reader of the data-set lists of DeepfakeBench (Yan et al. 2023): labels, official splits, and frames of each video.

Its preprocessing stores each video as a folder of face crops and writes one JSON file per data set. The nesting is data
set, label, split, for FaceForensics++ also compression, then the video's name with ``{"label", "frames"}``. The paths
are those of the machine that wrote the file, often with Windows' separators.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dfutils.errors import CatalogueError
from dfutils.extraction.layouts import (
    SPLITS,
    Reading,
    celebdf_ids,
    faceforensics_ids,
    join_groups,
    read_document,
)
from dfutils.extraction.media_files import IMAGE_SUFFIXES, is_media, iter_files, left_out
from dfutils.records import SplitName, Video

DEEPFAKEBENCH_LABELS: Mapping[str, tuple[str, str, bool]] = {
    "FF-real": ("faceforensics", "youtube", False),
    "FF-DF": ("faceforensics", "deepfakes", True),
    "FF-F2F": ("faceforensics", "face2face", True),
    "FF-FS": ("faceforensics", "faceswap", True),
    "FF-NT": ("faceforensics", "neuraltextures", True),
    "FF-FH": ("faceforensics", "faceshifter", True),
    "FF-SH": ("faceforensics", "faceshifter", True),
    "DFD_real": ("faceforensics", "actors", False),
    "DFD_fake": ("faceforensics", "deepfakedetection", True),
    "CelebDFv1_real": ("celebdf", "v1", False),
    "CelebDFv1_fake": ("celebdf", "v1", True),
    "CelebDFv2_real": ("celebdf", "v2", False),
    "CelebDFv2_fake": ("celebdf", "v2", True),
    "DFDCP_Real": ("dfdcp", "real", False),
    "DFDCP_FakeA": ("dfdcp", "methoda", True),
    "DFDCP_FakeB": ("dfdcp", "methodb", True),
    "DFDC_Real": ("dfdc", "", False),
    "DFDC_Fake": ("dfdc", "", True),
    "DF_real": ("deeperforensics", "", False),
    "DF_fake": ("deeperforensics", "", True),
    "UADFV_Real": ("uadfv", "", False),
    "UADFV_Fake": ("uadfv", "", True),
    "roop_Real": ("roop", "", False),
    "roop_Fake": ("roop", "", True),
}
"""Data set, part of it and ``is_fake`` for each label of the project's own table of labels."""

_COMPRESSIONS = ("c23", "c40", "raw")
_BY_PRECEDENCE: tuple[SplitName, ...] = ("test", "validation", "train")


@dataclass(slots=True)
class _Entry:
    """One video of the list, which may be listed in several splits."""

    name: str
    label: str
    compression: str
    listed: tuple[PurePosixPath, ...]
    splits: set[SplitName] = field(default_factory=set)

    @property
    def is_of_frames(self) -> bool:
        return self.listed[0].suffix.lower() in IMAGE_SUFFIXES

    @property
    def where(self) -> str:
        return "/".join(filter(None, (self.label, self.compression, self.name)))


def read_deepfakebench(source: Path, listing: Path, *, only: SplitName | None = None) -> Reading:
    """Read a data-set list of DeepfakeBench, and find its files below ``source``.

    A listed path is found by its end: leading folders of the whole list that ``source`` does not have are dropped.
    Frames are taken in the order of their numbers. Where the frames of a video are absent but the video itself is in
    the official place (``videos/033.mp4`` beside ``frames/033/``, or ``id0_0000.mp4`` beside ``frames``), it is taken.

    A fake ``033_097`` of FaceForensics++ joins the groups of both ids, and Celeb-DF is grouped by its identities; other
    names do not tell the source, so that each video is a group. A video that is in several splits, as in the project's
    lists of Celeb-DF and DeepFakeDetection, belongs to the test split before the validation and the training split.

    Args:
        source: Folder with the frames or videos.
        listing: The JSON file.
        only: Take the videos of this split only.

    Raises:
        CatalogueError: The file is not such a list, has an unknown label, or none of its files is below ``source``.
    """
    entries, warnings = _read_entries(listing)
    if several := [entry for entry in entries if len(entry.splits) > 1]:
        warnings.append(
            f"{listing.name}: {len(several):,} of {len(entries):,} videos are in several splits, and count in test "
            f"before validation before train (first: {several[0].where})"
        )
    split_of = {entry.where: next(split for split in _BY_PRECEDENCE if split in entry.splits) for entry in entries}
    if only is not None:
        entries = [entry for entry in entries if split_of[entry.where] == only]
        if not entries:
            raise CatalogueError(f"{listing}: has no video in the split {only!r}. Read all splits.")
    groups = join_groups(_sources(entry, listing) for entry in entries)
    # The list was written on another machine: its first folders are dropped as far as no file would be found otherwise.
    deepest = max(len(entry.listed[0].parts) for entry in entries)
    dropped = next(
        (count for count in range(deepest) if any(_find(source, entry, count)[0] for entry in entries)), deepest
    )
    videos: dict[Path, Video] = {}
    missing, instead, absent_frames = [], [], []
    for entry in entries:
        dataset, part, is_fake = DEEPFAKEBENCH_LABELS[entry.label]
        path, frames = _find(source, entry, dropped)
        if path is None:
            missing.append(entry)
            continue
        if entry.is_of_frames and not frames:
            instead.append(entry)
        elif frames and len(frames) < len(entry.listed):
            absent_frames.append(entry)
        if path in videos:
            raise CatalogueError(
                f"{listing}: {entry.where!r} has the files of another video ({path}). Correct or remove one of the two."
            )
        videos[path] = Video(
            path=path,
            name=path.relative_to(source).as_posix(),
            is_fake=is_fake,
            group=f"{dataset}_{groups[_sources(entry, listing)[0]]}",
            dataset="_".join(filter(None, (dataset, entry.compression, part))),
            split=split_of[entry.where],
            frames=frames,
        )
    if not videos:
        raise CatalogueError(
            f"{listing}: none of its {len(entries):,} videos is below {source} (first: {missing[0].listed[0]}). "
            "Give the folder that holds the data sets as source."
        )
    for found, what in (
        (missing, "missing"),
        (absent_frames, "without some of their frames"),
        (instead, "read from the video itself, because the frames are absent"),
    ):
        if found:
            warnings.append(f"{what}: {len(found):,} of {len(entries):,} listed videos (first: {found[0].where})")
    known = {file for video in videos.values() for file in video.files}
    media = [path for path in iter_files(source) if is_media(path) and path not in known]
    return list(videos.values()), warnings + (left_out(media, source, why="not used by the list") if media else [])


def _read_entries(listing: Path) -> tuple[list[_Entry], list[str]]:
    """Return every video once, with all its splits, and warnings."""
    document = read_document(listing)
    entries: dict[tuple[str, str, str], _Entry] = {}
    odd = []
    for where, found in _walk(document, ()):
        if where[3:] in (("label",), ("frames",)):  # the project's own list of DFDC has a video without a name
            odd.append("/".join(where[:3]))
            continue
        if not isinstance(found, dict):
            raise _not_a_list(listing, where)
        entry = _entry_of(listing, where, found)
        known = entries.setdefault((entry.label, entry.compression, entry.name), entry)
        if known.listed[0].parent != entry.listed[0].parent:
            raise CatalogueError(
                f"{listing}: {entry.where!r} is listed twice, with other frames. Remove one of the two."
            )
        # The lists are in the order of the file system, and may name a video's frames once per split.
        known.listed = tuple(sorted({*known.listed, *entry.listed}, key=_frame_order))
        known.splits |= entry.splits
    if not entries:
        raise _not_a_list(listing, ())
    return list(entries.values()), [f"{listing.name}: left out a video without a name ({odd[0]})"] if odd else []


def _walk(document: Any, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the innermost parts with their keys: the videos, and whatever else there is."""
    is_video = isinstance(document, dict) and {"label", "frames"} & set(document) and len(where) > 3
    if isinstance(document, dict) and not is_video and len(where) < 5:
        for name, part in document.items():
            yield from _walk(part, (*where, name))
    else:
        yield where, document


def _entry_of(listing: Path, where: tuple[str, ...], found: Mapping[str, Any]) -> _Entry:
    split = SPLITS.get(where[2].lower()) if len(where) in (4, 5) else None
    compression = where[3] if len(where) == 5 else ""
    label, frames = found.get("label"), found.get("frames")
    if split is None or (compression and compression not in _COMPRESSIONS):
        raise _not_a_list(listing, where)
    if label not in DEEPFAKEBENCH_LABELS:
        raise CatalogueError(
            f"{listing}: {'/'.join(where)!r} has the label {label!r}, which is unknown. "
            f"Write one of {', '.join(DEEPFAKEBENCH_LABELS)}."
        )
    if not isinstance(frames, list) or not all(isinstance(frame, str) and frame for frame in frames):
        raise CatalogueError(f"{listing}: {'/'.join(where)!r} has no list of frames. Write the list again.")
    if not frames:
        raise CatalogueError(f"{listing}: {'/'.join(where)!r} has an empty list of frames. Remove the entry.")
    listed = tuple(PurePosixPath(frame.replace("\\", "/")) for frame in frames)
    if any(".." in path.parts for path in listed) or len({path.parent for path in listed}) > 1:
        raise CatalogueError(
            f"{listing}: {'/'.join(where)!r} has frames in several folders, or above their folder. Correct its paths."
        )
    if len(listed) > 1 and any(path.suffix.lower() not in IMAGE_SUFFIXES for path in listed):
        raise CatalogueError(f"{listing}: {'/'.join(where)!r} lists files that are not images. Correct its paths.")
    return _Entry(where[-1], str(label), compression, listed, {split})


def _frame_order(path: PurePosixPath) -> tuple[int, str]:
    """Return a key that puts frame 9 before frame 10."""
    number = re.search(r"(\d+)$", path.stem)
    return (int(number.group()) if number else -1, path.name)


def _sources(entry: _Entry, listing: Path) -> tuple[str, ...]:
    dataset, _, _ = DEEPFAKEBENCH_LABELS[entry.label]
    where = f"{listing}: {entry.where}"
    if dataset == "faceforensics":
        return faceforensics_ids(entry.name, where)
    if dataset == "celebdf":
        folder = "YouTube-real" if "YouTube-real" in entry.listed[0].parts else "Celeb"
        return celebdf_ids(f"{folder}/{entry.name}")
    return (f"{entry.label}_{entry.name}",)


def _not_a_list(listing: Path, where: tuple[str, ...]) -> CatalogueError:
    place = f" (see {'/'.join(where)})" if where else ""
    return CatalogueError(
        f"{listing}: is not a data-set list of DeepfakeBench{place}. "
        "It nests data set, label, split and name of the video: run its preprocessing/rearrange.py."
    )


def _find(source: Path, entry: _Entry, dropped: int) -> tuple[Path | None, tuple[Path, ...]]:
    """Return a video and its frames: the folder with the frames that are there, or a file without frames."""
    parts = [part for part in entry.listed[0].parent.parts if part not in ("/", ".")]
    folder = source.joinpath(*parts[dropped:])
    if not entry.is_of_frames:
        file = folder / entry.listed[0].name
        return (file if file.is_file() else None), ()
    if folder != source and folder.is_dir():
        present = {one.name for one in os.scandir(folder) if one.is_file()}
        if frames := tuple(folder / path.name for path in entry.listed if path.name in present):
            return folder, frames
    beside = folder.parent.parent if folder.parent.name == "frames" else folder.parent
    places = (beside / "videos" / f"{entry.name}.mp4", beside / f"{entry.name}.mp4")
    video = next((place for place in places if place.is_relative_to(source) and place.is_file()), None)
    return video, ()
