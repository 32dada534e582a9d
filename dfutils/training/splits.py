"""Grouped, stratified splits: no group is ever in two splits, and the same data and seed give the same split."""

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
"""Columns of ``splits.csv``."""


@dataclass(frozen=True, slots=True)
class VideoGroup:
    """Videos that must stay in one split.

    Attributes:
        name: The smallest name of the joined groups.
        videos: Names, sorted.
        reals: Number of REAL videos.
        fakes: Number of FAKE videos.
    """

    name: str
    videos: tuple[str, ...]
    reals: int
    fakes: int


def split_videos(rows: Sequence[ClipRow], settings: SplitSettings) -> dict[str, SplitName]:
    """Assign the videos to train, validation and test by groups.

    Official splits are used if every row has one; if they lack validation, it is cut from train by groups.

    Returns:
        The split of every video in ``rows``.

    Raises:
        SplitError: A group is in two official splits, or there are too few groups of each label.
    """
    groups = group_videos(rows)
    official: dict[str, SplitName] = {}
    for row in rows:
        if row.split is not None and official.setdefault(row.video, row.split) != row.split:
            raise SplitError(
                f"{row.video}: is in the official {row.split} and {official[row.video]} splits. Correct it."
            )
    videos = sum(len(group.videos) for group in groups)
    if not official or len(official) < videos:
        if official:
            logger.warning("official splits are not used: only %d of %d videos have one", len(official), videos)
        return _by_video(groups, _assign_groups(groups, _fractions(settings), settings.seed))
    splits: dict[str, str] = dict(_splits_of_groups(groups, official, "the official splits"))
    if missing := {"train", "test"}.difference(splits.values()):
        raise SplitError(
            f"official splits: no video is in {' or '.join(sorted(missing))}. Empty the column to have a split made."
        )
    if "validation" not in splits.values():
        validation = settings.validation_fraction
        training = [group for group in groups if splits[group.name] == "train"]
        splits |= _assign_groups(training, {"train": 1 - validation, "validation": validation}, settings.seed)
    _require_both_labels(groups, splits, SPLIT_NAMES)
    return _by_video(groups, splits)


def fold_videos(
    rows: Sequence[ClipRow], *, folds: int, seed: int, validation_fraction: float = 0.2
) -> list[dict[str, SplitName]]:
    """Split k times for grouped, stratified cross-validation; every group is in the test split exactly once.

    Args:
        rows: Clips of the dataset; official splits are ignored.
        folds: Number of folds, k.
        seed: The same seed and data give the same folds.
        validation_fraction: Share of the groups outside a fold's test split that go to its validation split.

    Raises:
        SplitError: There are too few groups of each label.
        ValueError: ``folds`` is below 2, or ``validation_fraction`` not between 0 and 1.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2. Received: {folds}")
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must be between 0 and 1. Received: {validation_fraction}")
    groups = group_videos(rows)
    tested, plan = assign_folds(groups, folds=folds, seed=seed), []
    for fold in range(folds):
        rest = [group for group in groups if tested[group.name] != fold]
        splits = _assign_groups(rest, {"train": 1 - validation_fraction, "validation": validation_fraction}, seed)
        plan.append(_by_video(groups, {group.name: splits.get(group.name, "test") for group in groups}))
    return plan


def extend_split(
    old: Mapping[str, SplitName], rows: Sequence[ClipRow], settings: SplitSettings
) -> dict[str, SplitName]:
    """Keep the groups of an old split in their splits and assign only new ones.

    Groups are matched by their videos, not by their names: a group that holds an old video goes where that video was.
    Old videos without a row are dropped. Official splits are ignored.

    Args:
        old: The split of each video, from `read_splits`.
        rows: Clips of the dataset as it is now.
        settings: Target fractions, old groups included.

    Raises:
        SplitError: A video joins groups of two splits, or a split lacks a label.
    """
    groups = group_videos(rows)
    kept = _splits_of_groups(groups, old, "the old split")
    return _by_video(groups, _assign_groups(groups, _fractions(settings), settings.seed, kept))


def write_splits(path: Path, rows: Sequence[ClipRow], assignment: Mapping[str, SplitName]) -> None:
    """Write ``splits.csv``: one row per video, sorted, with the joined group and the checksum of the file.

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
    for row in read_csv(path, ("video", "split"), advice="Name the splits.csv of a run folder."):
        if row["split"] not in names:
            raise SplitError(f"{path}: {row['video']} has split {row['split']!r}. Write {', '.join(SPLIT_NAMES)}.")
        if row["video"] in assignment:
            raise SplitError(f"{path}: {row['video']} is listed twice. Remove one of the rows.")
        assignment[row["video"]] = names[row["split"]]
    return assignment


def group_videos(rows: Iterable[ClipRow]) -> list[VideoGroup]:
    """Return the groups of the videos, sorted by name.

    Groups are joined if they share a video, or the same file content under two names.

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
    fakes = {name: sum(labels[video] for video in videos) for name, videos in members.items()}
    return [
        VideoGroup(name, tuple(members[name]), len(members[name]) - fakes[name], fakes[name])
        for name in sorted(members)
    ]


def assign_folds(groups: Sequence[VideoGroup], *, folds: int, seed: int) -> dict[str, int]:
    """Assign groups to ``folds`` parts of about the same size and share of FAKE.

    Returns:
        The fold of each group, from 0, by the group's name.

    Raises:
        SplitError: There are too few groups of each label.
    """
    parts = _assign_groups(groups, {str(fold): 1 / folds for fold in range(folds)}, seed)
    return {name: int(part) for name, part in parts.items()}


def _fractions(settings: SplitSettings) -> dict[str, float]:
    rest = 1 - settings.test_fraction
    validation = settings.validation_fraction * rest
    return {"train": rest - validation, "validation": validation, "test": settings.test_fraction}


def _splits_of_groups(groups: Sequence[VideoGroup], known: Mapping[str, SplitName], whose: str) -> dict[str, SplitName]:
    """Return the split of each group that has a known video."""
    found = {group: {known[video] for video in group.videos if video in known} for group in groups}
    torn = [group for group, splits in found.items() if len(splits) > 1]
    if torn:
        raise SplitError(
            f"group {torn[0].name!r}: its {len(torn[0].videos):,} videos have different splits in {whose} "
            f"({', '.join(sorted(found[torn[0]]))}), as in {len(torn):,} of {len(groups):,} groups. "
            "Correct the groups or omit that split: videos that share a source must be in one split."
        )
    return {group.name: splits.pop() for group, splits in found.items() if splits}


def _by_video(groups: Sequence[VideoGroup], splits: Mapping[str, str]) -> dict[str, SplitName]:
    names: dict[str, SplitName] = {name: name for name in SPLIT_NAMES}
    return {video: names[splits[group.name]] for group in groups for video in group.videos}


def _assign_groups(
    groups: Sequence[VideoGroup], fractions: Mapping[str, float], seed: int, kept: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Assign groups greedily to parts so that REAL videos, FAKE videos and groups are all near the fractions.

    scikit-learn's StratifiedGroupKFold is not used, since it does not support unequal parts, can leave a fold without
    a label, and assigns differently since version 1.8 (its issues 32478 and 34828).

    Args:
        groups: The groups to assign.
        fractions: Share that each part (split or fold) should get.
        seed: Orders groups of about the same size.
        kept: Parts of the groups that are already assigned.

    Returns:
        The part of each group.
    """

    def order_of(group: VideoGroup) -> tuple[int, str]:
        # A hash instead of a random generator: neither a library's version nor the other groups change it.
        return len(group.videos).bit_length(), hashlib.sha256(f"{seed} {group.name}".encode()).hexdigest()

    parts, order = dict(kept or {}), sorted(groups, key=order_of)
    if not parts:
        parts = _assign_minimum(order, fractions)
    loads = {part: _SplitLoad(fraction, groups) for part, fraction in fractions.items()}
    for group in order:
        if group.name in parts:
            loads[parts[group.name]].add(group)
    for group in reversed(order):  # the largest first, while there is still room to balance it
        if group.name not in parts:
            parts[group.name] = min(loads, key=lambda part: loads[part].cost_of(group))
            loads[parts[group.name]].add(group)
    _require_both_labels(groups, parts, fractions)
    return parts


def _assign_minimum(groups: Sequence[VideoGroup], fractions: Mapping[str, float]) -> dict[str, str]:
    """Seed every part with one group of both labels, or one of each, so that the greedy pass starves none."""
    both = [(group,) for group in groups if group.reals and group.fakes]
    pairs = zip(
        [group for group in groups if not group.fakes], [group for group in groups if not group.reals], strict=False
    )
    bundles = sorted([*both, *pairs], key=lambda bundle: sum(len(group.videos) for group in bundle))
    smallest_first = sorted(fractions, key=lambda part: fractions[part])
    return {group.name: part for part, bundle in zip(smallest_first, bundles, strict=False) for group in bundle}


class _SplitLoad:
    """The current content of one part, as shares of all REAL videos, all FAKE videos and all groups."""

    def __init__(self, fraction: float, groups: Sequence[VideoGroup]) -> None:
        self.fraction = fraction
        self.totals = (sum(group.reals for group in groups), sum(group.fakes for group in groups), len(groups))
        self.held = [0.0, 0.0, 0.0]

    def shares_of(self, group: VideoGroup) -> list[float]:
        counts = (group.reals, group.fakes, 1)
        return [count / total if total else 0.0 for count, total in zip(counts, self.totals, strict=True)]

    def add(self, group: VideoGroup) -> None:
        self.held = [held + share for held, share in zip(self.held, self.shares_of(group), strict=True)]

    def cost_of(self, group: VideoGroup) -> float:
        """Return by how much the group would raise the sum of (held − fraction)² / fraction."""
        shares = zip(self.held, self.shares_of(group), strict=True)
        return sum(share * (2 * (held - self.fraction) + share) for held, share in shares) / self.fraction


def _require_both_labels(groups: Sequence[VideoGroup], parts: Mapping[str, str], wanted: Iterable[str]) -> None:
    wanted = list(wanted)
    for part in wanted:
        held = [group for group in groups if parts.get(group.name) == part]
        for label, count in (("REAL", sum(g.reals for g in held)), ("FAKE", sum(g.fakes for g in held))):
            if not count:
                name = f"fold {part}" if part.isdigit() else f"{part} split"
                both = sum(1 for group in groups if group.reals and group.fakes)
                reals = sum(1 for group in groups if not group.fakes)
                fakes = sum(1 for group in groups if not group.reals)
                raise SplitError(
                    f"{name}: would have no {label} video. There are {reals:,} groups with REAL videos only, "
                    f"{fakes:,} with FAKE only and {both:,} with both, and each of the {len(wanted)} parts needs both "
                    "labels. Add videos, ask for fewer parts, or check the groups."
                )
