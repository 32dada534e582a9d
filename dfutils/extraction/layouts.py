"""Readers of the folder layouts of public data sets: which file is REAL or FAKE, and which files share a source."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

from dfutils.errors import CatalogueError
from dfutils.extraction.media_files import (
    CELEBDF_TEST_LIST,
    IMAGE_SUFFIXES,
    count_of,
    is_media,
    iter_files,
    left_out,
)
from dfutils.records import SPLIT_NAMES, SplitName, Video

LABELS: Mapping[str, bool] = {"REAL": False, "FAKE": True}
"""Value of `Video.is_fake` for each label that data sets use."""

SPLITS: Mapping[str, SplitName] = {
    **{name: name for name in SPLIT_NAMES},
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "testing": "test",
}
"""Split of each name that data sets use, in lower case."""

_NO_ORIGINAL = {"", "nan", "none", "null"}
"""How exports of tables write a missing original, in lower case."""

Reading: TypeAlias = tuple[list[Video], list[str]]
"""Result of a reader: the videos in any order, and one-line warnings."""

_FACEFORENSICS_FOLDERS = {"original_sequences": False, "manipulated_sequences": True}
_FACEFORENSICS_LISTS: dict[str, SplitName] = {"train": "train", "val": "validation", "test": "test"}
_CELEBDF_FOLDERS = {"Celeb-real": False, "YouTube-real": False, "Celeb-synthesis": True}


def join_groups(links: Iterable[Iterable[str]]) -> dict[str, str]:
    """Join names transitively: names that are linked, directly or through others, get the same group.

    Args:
        links: Names that belong together.

    Returns:
        The group of each name: the smallest name in the group, whatever the order of the links.

    Example:
        >>> join_groups([["b", "c"], ["d"], ["c", "a"]])
        {'b': 'a', 'c': 'a', 'd': 'd', 'a': 'a'}
    """
    parents: dict[str, str] = {}

    def root_of(name: str) -> str:
        parents.setdefault(name, name)
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    for link in links:
        roots = [root_of(name) for name in link]
        for root in roots:
            parents[root] = min(roots)
    return {name: root_of(name) for name in parents}


def read_folders(source: Path) -> Reading:
    """Read ``real/`` and ``fake/`` below ``source``, in upper or lower case, each searched to any depth.

    They may be in folders for each split, such as ``train/real`` and ``test/fake``, or hold such folders; the files
    then keep these splits, unless some files are in none: then all are split anew, with a warning.

    A file forms its own group, named by its stem. A FAKE file joins the group of the REAL file that it is named after:
    the one whose stem is its own, or else the longest one that its stem begins with, followed by ``_`` or ``-``. A
    needless join costs little, whereas a missed one leaks the scene from training into the test split. FAKE files
    without a REAL one are counted in a warning: if fakes are named differently, write a CSV with a ``group`` column.

    Where several folders of one label have a stem in common, it does not tell the files apart: the group of a video is
    then its path below the label. Images in such folders are taken for the frames of one video each, as data sets of
    frames are laid out, so that a folder is a group, and the names of folders are compared instead of stems.
    """
    media = {path: _labelled(path.relative_to(source)) for path in iter_files(source) if is_media(path)}
    known = {path: one for path, one in media.items() if one is not None}
    warnings = []
    if without := [path for path, one in known.items() if one.split is None]:
        if len(without) < len(known):
            example = without[0].relative_to(source).as_posix()
            warnings.append(
                f"the folders of splits are ignored: {count_of(without)} in none of them (first: {example})"
            )
        known = {path: one._replace(split=None) for path, one in known.items()}
    places: dict[tuple[SplitName | None, str], set[tuple[bool, Path]]] = {}
    for one in known.values():
        places.setdefault((one.split, one.below.stem), set()).add((one.is_fake, one.below.parent))
    recurring = {key for key, found in places.items() if len(found) > len({is_fake for is_fake, _ in found})}
    of_frames = {
        (one.split, one.below.parent)
        for one in known.values()
        if one.is_image and (one.split, one.below.stem) in recurring and one.below.parent != Path()
    }

    def place_of(one: _Labelled) -> Path:
        """Return the path below the label of a video, or of the folder of its frames."""
        is_frame = one.is_image and (one.split, one.below.parent) in of_frames
        return one.below.parent if is_frame else one.below.with_suffix("")

    def own_group(one: _Labelled) -> str:
        place = place_of(one)
        needs_folders = place == one.below.parent or (one.split, one.below.stem) in recurring
        own = place.as_posix() if needs_folders else place.name
        return own if one.split is None else f"{one.split}/{own}"

    originals: dict[tuple[SplitName | None, str], set[str]] = {}
    for one in known.values():
        if not one.is_fake:
            for name in (place_of(one).as_posix(), place_of(one).name):
                originals.setdefault((one.split, name), set()).add(own_group(one))

    def group_of(one: _Labelled) -> str:
        place = place_of(one)
        cuts = [found.start() for found in re.finditer("[_-]", place.name) if found.start()]
        for end in reversed([*cuts, len(place.name)]) if one.is_fake else ():
            for name in (place.with_name(place.name[:end]).as_posix(), place.name[:end]):
                if len(groups := originals.get((one.split, name), set())) == 1:
                    return min(groups)
        return own_group(one)

    videos = [_video(path, source, one.is_fake, group_of(one), split=one.split) for path, one in known.items()]
    warnings += without_original(videos, videos)
    others = [path for path, one in media.items() if one is None]
    return videos, warnings + left_out(others, source, why="below neither real/ nor fake/")


class _Labelled(NamedTuple):
    """What the folders of a file say: its label, its split if any, and its path below those folders."""

    is_fake: bool
    split: SplitName | None
    below: Path

    @property
    def is_image(self) -> bool:
        return self.below.suffix.lower() in IMAGE_SUFFIXES


def without_original(fakes: Iterable[Video], videos: Iterable[Video]) -> list[str]:
    """Return one warning that counts the FAKE files of ``fakes`` in no group of a REAL one of ``videos``, or none.

    Without any REAL file there is nothing to join them to.
    """
    groups = {video.group for video in videos if not video.is_fake}
    alone = sorted(video.name for video in fakes if video.is_fake and video.group not in groups)
    if not groups or not alone:
        return []
    found = "1 FAKE file shares" if len(alone) == 1 else f"{len(alone):,} FAKE files share"
    return [
        f"{found} no group with a REAL one (first: {alone[0]}): each counts as a person of its own, so that the same "
        "person may be in training and in test; if files show the same people, give them a group in a label file"
    ]


def _labelled(path: Path) -> _Labelled | None:
    """Read ``real/…``, ``train/real/…`` or ``real/train/…``; None if it is none of them."""
    first, second = (part.lower() for part in (*path.parts[:-1], "", "")[:2])
    if first.upper() in LABELS:
        split = SPLITS.get(second)
        return _Labelled(LABELS[first.upper()], split, Path(*path.parts[1 if split is None else 2 :]))
    if first in SPLITS and second.upper() in LABELS:
        return _Labelled(LABELS[second.upper()], SPLITS[first], Path(*path.parts[2:]))
    return None


def read_dfdc(source: Path) -> Reading:
    """Read a DFDC download: ``metadata.json`` beside its videos, in ``source`` or in any folder below it.

    The group of a FAKE video is the original it was made from; a REAL video is its own original. The ``split`` of the
    metadata is ignored: it is always "train".

    Raises:
        CatalogueError: The metadata is missing or unusable, or none of its files is present.
    """
    files = list(iter_files(source))
    listings = [path for path in files if path.name == "metadata.json"]
    if not listings:
        raise CatalogueError(f"{source}: no metadata.json in it or below it. Give the folder of unpacked DFDC parts.")
    listed = {path: video for listing in listings for path, video in _iter_dfdc_rows(listing, source)}
    present = set(files)
    videos = [video for path, video in listed.items() if path in present]
    absent = [path for path in listed if path not in present]
    if absent and not videos:
        raise CatalogueError(
            f"{listings[0]}: none of its files is present (first: {absent[0].name}). Unpack the videos beside it."
        )
    orphans = sum(video.is_fake and video.group == _dfdc_group(video.name) for video in videos)
    warnings = left_out([path for path in files if is_media(path) and path not in listed], source)
    if absent:
        warnings.append(f"missing: {count_of(absent)} listed in metadata.json (first: {absent[0].name})")
    if orphans:
        warnings.append(f"{orphans:,} FAKE without an original: each is its own group, which may hide a shared source")
    return videos, warnings


def _iter_dfdc_rows(listing: Path, source: Path) -> Iterator[tuple[Path, Video]]:
    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) < len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise CatalogueError(f"{listing}: {twice!r} is listed twice. Remove one of the entries.")
        return document

    document = read_document(listing, refuse_duplicates)
    if not isinstance(document, dict):
        raise CatalogueError(f"{listing}: is not a JSON object with file names as keys. Is it a DFDC metadata.json?")
    for file, row in document.items():
        label = row.get("label") if isinstance(row, dict) else None
        is_fake = LABELS.get(str(label).upper())
        if is_fake is None:
            raise CatalogueError(f"{listing}: {file!r} has the label {label!r}. It must be REAL or FAKE.")
        if PurePosixPath(file).name != file:
            raise CatalogueError(f"{listing}: {file!r} is not the name of a file beside it. Correct the entry.")
        original = row.get("original") if is_fake else None
        has_original = isinstance(original, str) and original.strip().lower() not in _NO_ORIGINAL
        path = listing.parent / file
        group = _dfdc_group(str(original) if has_original else file)
        yield path, _video(path, source, is_fake, group, dataset="dfdc")


def _dfdc_group(file: str) -> str:
    return f"dfdc_{PurePosixPath(file).stem}"


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A file of FaceForensics++ with the source ids in its name."""

    path: Path
    is_fake: bool
    dataset: str
    ids: tuple[str, ...]


def read_faceforensics(source: Path) -> Reading:
    """Read the official layout ``original_sequences`` and ``manipulated_sequences``, in every compression found.

    A fake ``033_097`` joins the groups of both ids, so that it is grouped with the originals 033 and 097. The
    DeepFakeDetection part is grouped by its actors, most of whom are linked through fakes, so that it tends to be one
    large group. The official ``train.json``, ``val.json`` and ``test.json`` are read from ``source`` or its ``splits``
    folder if they exist; DeepFakeDetection has no official split.

    Raises:
        CatalogueError: A name has no ids, or the official lists contradict each other or the files.
    """
    media = [path for path in iter_files(source) if is_media(path)]
    found = {path: _faceforensics_sequence(path, source) for path in media}
    sequences = [sequence for sequence in found.values() if sequence]
    groups = join_groups(sequence.ids for sequence in sequences)
    official = _read_faceforensics_lists(source)
    videos = []
    for item in sequences:
        splits = {official.get(number) for number in item.ids}
        if len(splits - {None}) > 1:
            raise CatalogueError(
                f"{item.path}: its ids are in different splits of the official lists. Remove the file, or the lists."
            )
        group = f"faceforensics_{groups[item.ids[0]]}"
        split = splits.pop() if len(splits) == 1 else None
        videos.append(_video(item.path, source, item.is_fake, group, dataset=item.dataset, split=split))
    others = [path for path, sequence in found.items() if sequence is None]
    return videos, left_out(others, source, why="not in the official folders")


def _faceforensics_sequence(path: Path, source: Path) -> _Sequence | None:
    """Return a file with its source ids; None for one outside the official layout, such as a mask video."""
    match path.relative_to(source).parts:
        case (("original_sequences" | "manipulated_sequences") as kind, method, compression, "videos", _):
            if compression not in {"raw", "c23", "c40"}:
                return None
        case _:
            return None
    dataset = f"faceforensics_{compression}_{method.lower()}"
    return _Sequence(path, _FACEFORENSICS_FOLDERS[kind], dataset, faceforensics_ids(path.stem, path))


def faceforensics_ids(name: str, where: object) -> tuple[str, ...]:
    """Return the source ids in a name: ``033``, ``033_097``, ``03__exit_phone_room`` or ``01_11__meeting__9OM3VE0Y``.

    Raises:
        CatalogueError: There are none; the message begins with ``where``.
    """
    ids = re.fullmatch(r"(\d+)(?:_(\d+))?(__.+)?", name)
    if not ids:
        raise CatalogueError(
            f"{where}: its name has no source ids (expected 033, 033_097 or 01_11__scene). "
            "Restore the official name, or describe the files in a CSV."
        )
    first, second, scene = ids.groups()
    prefix = "actor" if scene else ""  # actor 03 has nothing to do with YouTube video 03
    return tuple(prefix + number for number in (first, second) if number)


def _read_faceforensics_lists(source: Path) -> dict[str, SplitName]:
    """Return the official split of each source id."""
    splits: dict[str, SplitName] = {}
    for stem, split in _FACEFORENSICS_LISTS.items():
        for path in (source / f"{stem}.json", source / "splits" / f"{stem}.json"):
            pairs = read_document(path) if path.is_file() else []
            if not isinstance(pairs, list) or not all(isinstance(pair, list) for pair in pairs):
                raise CatalogueError(f"{path}: is not a list of pairs of ids. Fetch the official list again.")
            for number in (str(number) for pair in pairs for number in pair):
                if splits.setdefault(number, split) != split:
                    raise CatalogueError(
                        f"{path}: id {number!r} is in the {splits[number]} list too. Fetch the official lists again."
                    )
    return splits


def read_celebdf(source: Path) -> Reading:
    """Read Celeb-DF (v1 or v2) with its official list of testing videos.

    Groups are identities, joined transitively through the fakes that show two of them. In v2 this links nearly every
    celebrity, so that all of ``Celeb-real`` and ``Celeb-synthesis`` is one group, and rightly so: the same faces are in
    both parts of the official list. Official test videos have the split "test", the others have none. The groups and
    the official split contradict each other, and the splitting step has to decide. Celeb-DF is best kept whole, as a
    test of a detector that was trained on something else.

    Raises:
        CatalogueError: A name has no identity, or the list contradicts the folders.
    """
    media = {path.relative_to(source).as_posix(): path for path in iter_files(source) if is_media(path)}
    ids = {name: celebdf_ids(name) for name in media if name.split("/")[0] in _CELEBDF_FOLDERS}
    groups = join_groups(ids.values())
    tested, warnings = _read_celebdf_test_list(source, ids)
    videos = [
        _video(
            media[name],
            source,
            _CELEBDF_FOLDERS[name.split("/")[0]],
            f"celebdf_{groups[identities[0]]}",
            dataset="celebdf",
            split="test" if name in tested else None,
        )
        for name, identities in ids.items()
    ]
    others = [path for name, path in media.items() if name not in ids]
    return videos, warnings + left_out(others, source, why="not in the official folders")


def celebdf_ids(name: str) -> tuple[str, ...]:
    """Return the identities of ``id0_0000`` and ``id0_id1_0000``; each YouTube video is its own."""
    path = PurePosixPath(name)
    if path.parts[0] == "YouTube-real":
        return (f"youtube_{path.stem}",)
    match = re.fullmatch(r"(id\d+)(?:_(id\d+))?_\d+", path.stem)
    if not match:
        raise CatalogueError(
            f"{name}: its name has no identity (expected id0_0000 or id0_id1_0000). "
            "Restore the official name, or describe the files in a CSV."
        )
    return tuple(identity for identity in match.groups() if identity)


def _read_celebdf_test_list(source: Path, present: Collection[str]) -> tuple[set[str], list[str]]:
    """Return the names of the official test videos, and warnings."""
    path = source / CELEBDF_TEST_LIST
    if not path.is_file():
        return set(), [f"{CELEBDF_TEST_LIST} is not in {source}: there is no official split"]
    tested: set[str] = set()
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        flag, _, name = line.strip().partition(" ")
        is_fake = _CELEBDF_FOLDERS.get(name.split("/")[0])
        if flag not in {"0", "1"} or is_fake is None:
            fault = "is not of the form '1 Celeb-real/id1_0005.mp4'"
        elif is_fake != (flag == "0"):  # unlike everywhere else, 1 is REAL
            fault = "contradicts its folder (1 is REAL, 0 is FAKE in this list)"
        else:
            tested.add(name)
            continue
        raise CatalogueError(f"{path}, line {number}: {line!r} {fault}. Fetch the official list again.")
    absent = sorted(tested.difference(present))
    return tested, [f"missing: {count_of(absent)} listed in {path.name} (first: {absent[0]})"] if absent else []


def _video(
    path: Path, source: Path, is_fake: bool, group: str, *, dataset: str = "videos", split: SplitName | None = None
) -> Video:
    name = path.relative_to(source).as_posix()
    return Video(path=path, name=name, is_fake=is_fake, group=group, dataset=dataset, split=split)


def read_document(path: Path, hook: Any = None) -> Any:
    """Read a JSON file of a data set; ``hook`` is that of `json.loads` for the pairs of an object."""
    try:
        return json.loads(_read_text(path), object_pairs_hook=hook)
    except (ValueError, RecursionError) as error:
        raise CatalogueError(f"{path}: is not valid JSON ({error}). Download it again.") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: cannot be read ({error}). Download it again.") from error
