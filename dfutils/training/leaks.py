"""Find what lets a detector score well without seeing a forgery: leaks between splits, and shortcuts in the files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.errors import SplitError
from dfutils.records import ClipRow, Image, SplitName
from dfutils.statistics.bootstrap import auc_with_interval
from dfutils.statistics.cross_validation import cross_validated_scores
from dfutils.training.splits import assign_folds, group_videos

logger = logging.getLogger(__name__)

Floats: TypeAlias = npt.NDArray[np.float64]
Hashes: TypeAlias = npt.NDArray[np.uint64]

NEAR_BITS = (4, 8)
"""Two crops are near-duplicates if at most this many of the 64 bits differ in the horizontal and the vertical hash.

The horizontal hash alone is not enough for face crops, which all look alike: of the pairs that it found between groups
of the DFDC, about half showed two different people. Of those that the vertical hash confirms, nearly all show the same
person.
"""

_EXAMPLES = 20
_FLAT_LEVELS = 3.0  # below this standard deviation of grey levels, a hash is noise
_BLOCK = 256  # rows compared at once: some 30 MB for 24,000 clips
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of leak.

    Attributes:
        count: Number of cases.
        examples: The first of them, for a person to look up.
    """

    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How well file metadata alone tells FAKE from REAL.

    Attributes:
        auc: Area under the ROC curve, cross-validated by groups; 0.5 is chance.
        low: Lower end of its 95 % interval, from a bootstrap over groups.
        high: Upper end.
        groups: Number of groups.
    """

    auc: float
    low: float
    high: float
    groups: int


@dataclass(frozen=True, slots=True)
class LeakReport:
    """The result of `find_leaks`.

    Attributes:
        clips: Number of clips examined.
        shared_groups: Groups with videos in several splits.
        same_files: Files of identical content in several splits.
        near_duplicates: Clips with a near-duplicate crop in another split; None if no images were compared.
        flat_clips: Number of clips whose image was too uniform to compare.
        shortcut: None if there are too few groups to measure it.
    """

    clips: int
    shared_groups: Finding
    same_files: Finding
    near_duplicates: Finding | None
    flat_clips: int
    shortcut: Shortcut | None

    def as_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Describe the findings in one sentence each."""
        near = "Near-duplicate crops were not searched."
        if self.near_duplicates is not None:
            compared = f"{self.clips - self.flat_clips:,} clips compared"
            compared += f", {self.flat_clips:,} too uniform to compare" if self.flat_clips else ""
            near = _sentence(self.near_duplicates, "clips have a near-duplicate in another split").removesuffix(".")
            near += f"; {compared}."
        facts = "size, frame rate, duration and bit rate alone"
        if self.shortcut is None:
            shortcut = f"Not enough groups to tell whether {facts} give the label away."
        else:
            interval = f"AUC {self.shortcut.auc:.2f}, 95 % interval {self.shortcut.low:.2f} to {self.shortcut.high:.2f}"
            shortcut = f"No sign that {facts} tell FAKE from REAL ({interval})."
            if self.shortcut.low > 0.5:
                shortcut = f"{facts.capitalize()} tell FAKE from REAL ({interval}): a score may rest on them."
        return [
            _sentence(self.shared_groups, "groups have videos in several splits"),
            _sentence(self.same_files, "files have identical content in several splits"),
            near,
            shortcut,
        ]


def find_leaks(
    rows: Sequence[ClipRow],
    assignment: Mapping[str, SplitName],
    load_thumbnail: Callable[[ClipRow], Image] | None,
) -> LeakReport:
    """Find content that several splits share, and metadata that reveals the label without any content.

    Near-duplicates are pairs of crops in different splits whose difference hashes (dHash, 64 bits horizontal and 64
    vertical) differ in at most `NEAR_BITS`. That includes other videos of the same person in the same pose and light.

    Args:
        rows: Clips of the dataset.
        assignment: The split of each video.
        load_thumbnail: Loads one crop of a clip, of any size; None skips the search for near-duplicates.

    Raises:
        ValueError: A video of ``rows`` has no split.
    """
    if unassigned := {row.video for row in rows}.difference(assignment):
        raise ValueError(f"{min(unassigned)}: has no split (nor have {len(unassigned) - 1:,} other videos)")
    near, flat = (None, 0) if load_thumbnail is None else find_near_duplicates(rows, assignment, load_thumbnail)
    return LeakReport(
        clips=len(rows),
        shared_groups=_in_several_splits((row.group, row.group, assignment[row.video]) for row in rows),
        same_files=_in_several_splits((row.sha256, row.video, assignment[row.video]) for row in rows if row.sha256),
        near_duplicates=near,
        flat_clips=flat,
        shortcut=measure_shortcut(rows),
    )


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """What a run used in training or validation of some clips; the result of `find_trained_on`.

    Attributes:
        groups: Groups of the clips that were used, sorted; None if the detector does not record them.
        renamed: For each clip whose file was used under another name, its video and that name; None if the run did not
            record its files.
    """

    groups: tuple[str, ...] | None
    renamed: tuple[tuple[str, str], ...] | None


def find_trained_on(
    rows: Sequence[ClipRow],
    *,
    training_groups: Collection[str] | None,
    training_files: Mapping[str, Collection[str]] | None,
) -> TrainedOn:
    """Find groups of clips that a run used in training or validation, and files that it used under another name.

    Args:
        rows: Clips that are measured.
        training_groups: Groups used for training or validation; None if the detector does not record them.
        training_files: Names of the videos used for training or validation by the SHA-256 of their file; None if the
            run did not record them. A re-encoded file counts as another file.
    """
    groups = renamed = None
    if training_groups is not None:
        groups = tuple(sorted({row.group for row in rows}.intersection(training_groups)))
    if training_files is not None:
        found = ((row.video, training_files.get(row.sha256, ())) for row in rows)
        renamed = tuple((video, min(names)) for video, names in found if names and video not in names)
    return TrainedOn(groups, renamed)


def difference_hashes(image: Image) -> tuple[Hashes, float]:
    """Return two difference hashes (dHash): a bit per cell, 1 if it is brighter than its left or upper neighbour.

    Args:
        image: ``(height, width, 3)`` uint8 RGB of any size.

    Returns:
        The horizontal and the vertical hash, ``(2,)``, and the standard deviation of the cells in grey levels.

    Example:
        >>> ramp = np.repeat(np.arange(0, 252, 7, dtype=np.uint8)[None, :, None], 3, axis=2)
        >>> [hex(bits) for bits in difference_hashes(ramp)[0].tolist()]
        ['0xffffffffffffffff', '0x0']
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    cells = np.asarray(cv2.resize(grey.astype(np.float32), (9, 9), interpolation=cv2.INTER_AREA))
    bits = np.stack([cells[:8, 1:] > cells[:8, :-1], cells[1:, :8] > cells[:-1, :8]])
    return np.packbits(bits.reshape(2, 64), axis=1).view(">u8").astype(np.uint64)[:, 0], float(cells.std())


def find_near_duplicates(
    rows: Sequence[ClipRow], assignment: Mapping[str, SplitName], load_thumbnail: Callable[[ClipRow], Image]
) -> tuple[Finding, int]:
    """Find clips with a near-duplicate in another split; return also the number of clips too uniform to compare."""
    hashed = [difference_hashes(load_thumbnail(row)) for row in rows]
    usable = [index for index, (_, spread) in enumerate(hashed) if spread >= _FLAT_LEVELS]
    hashes = np.array([hashed[index][0] for index in usable], dtype=np.uint64).reshape(-1, 2)
    splits = np.array([assignment[rows[index].video] for index in usable])
    involved = np.zeros(len(usable), dtype=bool)
    closest: list[tuple[int, int, int]] = []
    for left, right, distances in near_pairs(hashes, splits):
        involved[left] = involved[right] = True
        best = np.argsort(distances, kind="stable")[:_EXAMPLES]
        closest += zip(distances[best].tolist(), left[best].tolist(), right[best].tolist(), strict=True)
        closest = sorted(closest)[:_EXAMPLES]

    def describe(index: int) -> str:
        return f"{rows[usable[index]].clip_id} ({splits[index]})"

    examples = tuple(
        f"{describe(left)} ~ {describe(right)}, {bits} of 128 bits differ" for bits, left, right in closest
    )
    return Finding(int(involved.sum()), examples), len(rows) - len(usable)


def near_pairs(
    hashes: Hashes, splits: npt.NDArray[np.str_]
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.uint8]]]:
    """Yield the positions of near-duplicates in different splits, in blocks, and how many of their 128 bits differ."""
    for first, second in combinations(sorted(set(splits.tolist())), 2):
        left, right = np.flatnonzero(splits == first), np.flatnonzero(splits == second)
        for start in range(0, len(left), _BLOCK):
            block = left[start : start + _BLOCK]
            i, j = np.nonzero(np.bitwise_count(hashes[block, None, 0] ^ hashes[None, right, 0]) <= NEAR_BITS[0])
            across, down = np.bitwise_count(hashes[block[i]] ^ hashes[right[j]]).T
            near = down <= NEAR_BITS[1]
            yield block[i[near]], right[j[near]], (across + down)[near]


def _in_several_splits(placed: Iterable[tuple[str, str, SplitName]]) -> Finding:
    """Count the keys in more than one split; each item is a key, the name to show for it, and its split."""
    places: dict[str, set[tuple[str, str]]] = {}
    for key, name, split in placed:
        places.setdefault(key, set()).add((split, name))
    torn = sorted(sorted(found) for found in places.values() if len({split for split, _ in found}) > 1)
    shown = (", ".join(f"{name} ({split})" for split, name in found) for found in torn[:_EXAMPLES])
    return Finding(len(torn), tuple(shown))


def measure_shortcut(rows: Sequence[ClipRow]) -> Shortcut | None:
    """Cross-validate a logistic regression on file metadata; None if there are too few groups."""
    groups = group_videos(rows)
    try:
        folds = assign_folds(groups, folds=_FOLDS, seed=0)
    except SplitError as error:
        logger.info("shortcut features are not measured: %s", error)
        return None
    videos = {row.video: row for row in rows}
    placed = [(videos[video], group.name) for group in groups for video in group.videos]
    names = np.array([name for _, name in placed])
    is_fake = np.array([row.is_fake for row, _ in placed])
    fold_of_row = np.array([folds[name] for name in names])
    scores = cross_validated_scores(file_features(row for row, _ in placed), is_fake, fold_of_row)
    return Shortcut(*auc_with_interval(is_fake, scores, names), len(groups))


def file_features(rows: Iterable[ClipRow]) -> Floats:
    """Return logarithms of pixels, frame rate, duration and bit rate, ``(N, 4)``; an image counts as one second."""
    table = np.array(
        [(row.width * row.height, row.fps, row.duration_seconds, row.bits_per_second) for row in rows],
        dtype=np.float64,
    )
    return np.asarray(np.log(np.maximum(table, 1e-3)))


def _sentence(finding: Finding, what: str) -> str:
    return f"{finding.count:,} {what} (first: {finding.examples[0]})." if finding.count else f"No {what}."
