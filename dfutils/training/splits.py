"""Grouped, stratified splits: no group is ever on two sides, and the same data and seed give the same split."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfutils.errors import SplitError
from dfutils.extraction.layouts import join_groups
from dfutils.files import read_csv, write_csv
from dfutils.records import SPLIT_NAMES, ClipRow, SplitName
from dfutils.settings import SplitSettings

logger = logging.getLogger(__name__)

COLUMNS = ("video", "group", "is_fake", "split", "sha256")
"""Of ``splits.csv``."""


@dataclass(frozen=True, slots=True)
class VideoGroup:
    """Videos that must stay on one side.

    Attributes:
        name: The smallest of the joined groups' names.
        videos: Their names, sorted.
        reals: How many of them are REAL.
        fakes: How many of them are FAKE.
    """

    name: str
    videos: tuple[str, ...]
    reals: int
    fakes: int


def split_videos(rows: Sequence[ClipRow], settings: SplitSettings) -> dict[str, SplitName]:
    """Deal the videos to train, validation and test by groups.

    Official splits are used where every row has one; a validation part they lack is cut from train by groups.

    Returns:
        Video and its split, for every video of ``rows``.

    Raises:
        SplitError: A group is on two official sides, or there are too few groups of each label.
    """
    groups = group_videos(rows)
    official = _official_splits(rows)
    videos = sum(len(group.videos) for group in groups)
    if official and len(official) == videos:
        return _follow_official(groups, official, settings)
    if official:
        logger.warning("official splits are not used: only %d of %d videos have one", len(official), videos)
    return _by_video(groups, _deal(groups, _fractions(settings), settings.seed))


def fold_videos(
    rows: Sequence[ClipRow], *, folds: int, seed: int, validation_fraction: float = 0.2
) -> list[dict[str, SplitName]]:
    """Split k times for a grouped, stratified cross-validation; every group is in the test split exactly once.

    Args:
        rows: Clips of the dataset; official splits are ignored.
        folds: k.
        seed: Same seed, same data: same folds.
        validation_fraction: Share of the groups outside the fold in its validation split.

    Raises:
        SplitError: There are too few groups of each label.
        ValueError: ``folds`` is below 2, or ``validation_fraction`` not between 0 and 1.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2. Received: {folds}")
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must be between 0 and 1. Received: {validation_fraction}")
    groups = group_videos(rows)
    tested = deal_folds(groups, folds=folds, seed=seed)
    return [_one_fold(groups, tested, fold, seed, validation_fraction) for fold in range(folds)]


def extend_split(
    old: Mapping[str, SplitName], rows: Sequence[ClipRow], settings: SplitSettings
) -> dict[str, SplitName]:
    """Keep the groups of an old split where they were and deal only new ones.

    What decides is the videos: a group that holds an old video goes where that video was. Old videos without a
    row are dropped. Official splits are not looked at.

    Args:
        old: Video and its split, from `read_splits`.
        rows: Clips of the dataset as it is now.
        settings: Fractions aimed at, old groups included.

    Raises:
        SplitError: A video joins groups of two sides, or a split lacks a label.
    """
    groups = group_videos(rows)
    kept: dict[str, str] = dict(_sides_of(groups, old, "the old split"))
    return _by_video(groups, _deal(groups, _fractions(settings), settings.seed, kept))


def write_splits(path: Path, rows: Sequence[ClipRow], assignment: Mapping[str, SplitName]) -> None:
    """Write ``splits.csv``: a row a video, sorted, with the joined group and what its file is known by.

    Raises:
        ValueError: A video of ``rows`` has no split.
    """
    if unassigned := {row.video for row in rows}.difference(assignment):
        raise ValueError(f"{min(unassigned)}: has no split (nor have {len(unassigned) - 1:,} other videos)")
    fakes = {row.video for row in rows if row.is_fake}
    groups = {video: group.name for group in group_videos(rows) for video in group.videos}
    files = {row.video: row.sha256 for row in rows}
    write_csv(
        path,
        COLUMNS,
        (
            {
                "video": video,
                "group": groups[video],
                "is_fake": int(video in fakes),
                "split": assignment[video],
                "sha256": files[video],
            }
            for video in sorted(groups)
        ),
    )


def read_splits(path: Path) -> dict[str, SplitName]:
    """Read the ``video`` and ``split`` columns of a ``splits.csv``.

    Raises:
        DatasetError: The file cannot be read.
        SplitError: A split is unknown, or a video is listed twice.
    """
    assignment: dict[str, SplitName] = {}
    names: dict[str, SplitName] = {name: name for name in SPLIT_NAMES}
    for row in read_csv(path, ("video", "split")):
        if row["split"] not in names:
            raise SplitError(f"{path}: {row['video']} has split {row['split']!r}. Write {', '.join(SPLIT_NAMES)}.")
        if row["video"] in assignment:
            raise SplitError(f"{path}: {row['video']} is listed twice. Remove one of the rows.")
        assignment[row["video"]] = names[row["split"]]
    return assignment


def group_videos(rows: Iterable[ClipRow]) -> list[VideoGroup]:
    """Groups of the videos, sorted by name.

    Groups are joined where they hold the same video, or a file of the same content under two names.

    Raises:
        SplitError: A video is REAL in one row and FAKE in another.
    """
    rows = list(rows)
    labels: dict[str, bool] = {}
    for row in rows:
        if labels.setdefault(row.video, row.is_fake) != row.is_fake:
            raise SplitError(f"{row.video}: is REAL in one row and FAKE in another. Correct the labels.")
    # "group:" sorts first, so that a joined group is named by a group and not by a file.
    roots = join_groups(
        [f"group:{row.group}", f"video:{row.video}", *([f"sha256:{row.sha256}"] if row.sha256 else [])] for row in rows
    )
    members: dict[str, list[str]] = {}
    for video in sorted(labels):
        members.setdefault(roots[f"video:{video}"].removeprefix("group:"), []).append(video)
    return [_video_group(name, members[name], labels) for name in sorted(members)]


def deal_folds(groups: Sequence[VideoGroup], *, folds: int, seed: int) -> dict[str, int]:
    """Deal groups to ``folds`` parts of about the same size and share of FAKE.

    Returns:
        Name of each group and its fold, from 0.

    Raises:
        SplitError: There are too few groups of each label.
    """
    sides = _deal(groups, {str(fold): 1 / folds for fold in range(folds)}, seed)
    return {name: int(side) for name, side in sides.items()}


def _official_splits(rows: Iterable[ClipRow]) -> dict[str, SplitName]:
    official: dict[str, SplitName] = {}
    for row in rows:
        if row.split is not None and official.setdefault(row.video, row.split) != row.split:
            raise SplitError(
                f"{row.video}: is in the official {row.split} and {official[row.video]}. Correct the split."
            )
    return official


def _video_group(name: str, videos: Sequence[str], labels: Mapping[str, bool]) -> VideoGroup:
    fakes = sum(labels[video] for video in videos)
    return VideoGroup(name, tuple(videos), len(videos) - fakes, fakes)


def _fractions(settings: SplitSettings) -> dict[str, float]:
    rest = 1 - settings.test_fraction
    validation = settings.validation_fraction * rest
    return {"train": rest - validation, "validation": validation, "test": settings.test_fraction}


def _one_fold(
    groups: Sequence[VideoGroup], tested: Mapping[str, int], fold: int, seed: int, validation_fraction: float
) -> dict[str, SplitName]:
    rest = [group for group in groups if tested[group.name] != fold]
    dealt = _deal(rest, {"train": 1 - validation_fraction, "validation": validation_fraction}, seed)
    return _by_video(groups, {group.name: dealt.get(group.name, "test") for group in groups})


def _follow_official(
    groups: Sequence[VideoGroup], official: Mapping[str, SplitName], settings: SplitSettings
) -> dict[str, SplitName]:
    sides: dict[str, str] = dict(_sides_of(groups, official, "the official splits"))
    if missing := {"train", "test"}.difference(sides.values()):
        raise SplitError(
            f"official splits: no video is in {' or '.join(sorted(missing))}. Empty the split column to have one dealt."
        )
    if "validation" not in sides.values():
        validation = settings.validation_fraction
        training = [group for group in groups if sides[group.name] == "train"]
        sides |= _deal(training, {"train": 1 - validation, "validation": validation}, settings.seed)
    _require_both_labels(groups, sides, SPLIT_NAMES)
    return _by_video(groups, sides)


def _sides_of(groups: Sequence[VideoGroup], known: Mapping[str, SplitName], whose: str) -> dict[str, SplitName]:
    """Side of each group that has a known video."""
    found = {group: {known[video] for video in group.videos if video in known} for group in groups}
    torn = [group for group, sides in found.items() if len(sides) > 1]
    if torn:
        raise SplitError(
            f"group {torn[0].name!r}: its {len(torn[0].videos):,} videos are on two sides of {whose} "
            f"({', '.join(sorted(found[torn[0]]))}), as in {len(torn):,} of {len(groups):,} groups. "
            "Correct the groups or leave that split out: what shares a source must be on one side."
        )
    return {group.name: sides.pop() for group, sides in found.items() if sides}


def _by_video(groups: Sequence[VideoGroup], sides: Mapping[str, str]) -> dict[str, SplitName]:
    names: dict[str, SplitName] = {name: name for name in SPLIT_NAMES}
    return {video: names[sides[group.name]] for group in groups for video in group.videos}


def _deal(
    groups: Sequence[VideoGroup], fractions: Mapping[str, float], seed: int, kept: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Deal groups to sides so that REAL videos, FAKE videos and groups are all near the fractions.

    Own code, since scikit-learn's StratifiedGroupKFold knows no unequal parts, can leave a fold without a label,
    and deals differently since version 1.8 (its issues 32478 and 34828).

    Args:
        groups: To be dealt.
        fractions: RunSplits and the share each should get.
        seed: Orders groups of about the same size.
        kept: Groups that have a side already.

    Returns:
        Group and its side.
    """
    sides = dict(kept or {})
    order = sorted(groups, key=lambda group: (len(group.videos).bit_length(), _shuffled(group.name, seed)))
    free = [group for group in order if group.name not in sides]
    if not sides:
        sides = _seat(free, fractions)
    hands = {side: _Hand(fraction, groups) for side, fraction in fractions.items()}
    for group in order:
        if group.name in sides:
            hands[sides[group.name]].take(group)
    for group in reversed(order):  # the largest first, while there is still room to balance it
        if group.name not in sides:
            sides[group.name] = min(hands, key=lambda side: hands[side].cost_of(group))
            hands[sides[group.name]].take(group)
    _require_both_labels(groups, sides, fractions)
    return sides


def _shuffled(name: str, seed: int) -> str:
    """Sort key in place of a random generator: no library's version changes it, nor do the other groups."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def _seat(groups: Sequence[VideoGroup], fractions: Mapping[str, float]) -> dict[str, str]:
    """Give each side one group of both labels, or one of each: the least it needs, so nothing greedy can miss it."""
    both = [(group,) for group in groups if group.reals and group.fakes]
    pairs = zip(
        [group for group in groups if not group.fakes], [group for group in groups if not group.reals], strict=False
    )
    bundles = sorted([*both, *pairs], key=lambda bundle: sum(len(group.videos) for group in bundle))
    smallest_first = sorted(fractions, key=lambda side: fractions[side])
    return {group.name: side for side, bundle in zip(smallest_first, bundles, strict=False) for group in bundle}


class _Hand:
    """What one side holds, as shares of all REAL videos, all FAKE videos and all groups."""

    def __init__(self, fraction: float, groups: Sequence[VideoGroup]) -> None:
        self.fraction = fraction
        self.totals = (sum(group.reals for group in groups), sum(group.fakes for group in groups), len(groups))
        self.held = [0.0, 0.0, 0.0]

    def shares_of(self, group: VideoGroup) -> list[float]:
        counts = (group.reals, group.fakes, 1)
        return [count / total if total else 0.0 for count, total in zip(counts, self.totals, strict=True)]

    def take(self, group: VideoGroup) -> None:
        self.held = [held + share for held, share in zip(self.held, self.shares_of(group), strict=True)]

    def cost_of(self, group: VideoGroup) -> float:
        """By how much the group would raise the sum of (held − fraction)² / fraction."""
        shares = zip(self.held, self.shares_of(group), strict=True)
        return sum(share * (2 * (held - self.fraction) + share) for held, share in shares) / self.fraction


def _require_both_labels(groups: Sequence[VideoGroup], sides: Mapping[str, str], wanted: Iterable[str]) -> None:
    wanted = list(wanted)
    for side in wanted:
        held = [group for group in groups if sides.get(group.name) == side]
        for label, count in (("REAL", sum(g.reals for g in held)), ("FAKE", sum(g.fakes for g in held))):
            if not count:
                raise SplitError(f"{_name(side)}: would have no {label} video. {_advice(groups, len(wanted))}")


def _name(side: str) -> str:
    return f"fold {side}" if side.isdigit() else f"{side} split"


def _advice(groups: Sequence[VideoGroup], parts: int) -> str:
    both = sum(1 for group in groups if group.reals and group.fakes)
    reals = sum(1 for group in groups if not group.fakes)
    fakes = sum(1 for group in groups if not group.reals)
    return (
        f"There are {reals:,} groups with REAL videos only, {fakes:,} with FAKE only and {both:,} with both, and each "
        f"of the {parts} parts needs both labels. Add videos, ask for fewer parts, or check that groups are right."
    )
