"""What could let a detector score well without seeing a forgery: leaks between splits, and shortcuts in the files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.errors import SplitError
from dfutils.records import ClipRow, Image, SplitName
from dfutils.statistics.bootstrap import auc_with_interval
from dfutils.statistics.cross_validation import cross_validated_scores
from dfutils.training.splits import deal_folds, group_videos

logger = logging.getLogger(__name__)

Floats: TypeAlias = npt.NDArray[np.float64]
Hashes: TypeAlias = npt.NDArray[np.uint64]
Cells: TypeAlias = npt.NDArray[np.float32]

NEAR_BITS = (4, 8)
"""Two crops are near-duplicates when at most so many of the 64 bits differ, across and down.

Across alone is not enough for face crops, which are all alike: of the pairs it found between groups of the DFDC,
about half showed two different people. Of those that the hash down confirms, nearly all show the same one.
"""

_EXAMPLES = 20
_FLAT_LEVELS = 3.0  # below this spread of grey levels, a hash is made of noise
_BLOCK = 256  # rows compared at once: some 30 MB for 24,000 clips
_FOLDS = 5
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of leak.

    Attributes:
        count: How many there are.
        examples: The first of them, for a person to look up.
    """

    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How well the files' outward features alone tell FAKE from REAL.

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
    """What `find_leaks` found.

    Attributes:
        clips: Clips looked at.
        shared_groups: Groups with videos on two sides.
        same_files: Files of identical content on two sides.
        near_duplicates: Clips with a near-duplicate crop on another side; None where no images were compared.
        flat_clips: Clips whose image was too even to be compared.
        shortcut: None where there are not enough groups to measure it.
    """

    clips: int
    shared_groups: Finding
    same_files: Finding
    near_duplicates: Finding | None
    flat_clips: int
    shortcut: Shortcut | None

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "clips": self.clips,
            "shared_groups": _finding_document(self.shared_groups),
            "same_files": _finding_document(self.same_files),
            "near_duplicates": _finding_document(self.near_duplicates),
            "flat_clips": self.flat_clips,
            "shortcut": None
            if self.shortcut is None
            else {
                "auc": self.shortcut.auc,
                "low": self.shortcut.low,
                "high": self.shortcut.high,
                "groups": self.shortcut.groups,
            },
        }

    def lines(self) -> list[str]:
        """The same in plain sentences."""
        return [
            _sentence(self.shared_groups, "groups have videos on two sides"),
            _sentence(self.same_files, "files are on two sides with identical content"),
            _near_sentence(self.near_duplicates, self.clips, self.flat_clips),
            _shortcut_sentence(self.shortcut),
        ]


def find_leaks(
    rows: Sequence[ClipRow],
    assignment: Mapping[str, SplitName],
    load_thumbnail: Callable[[ClipRow], Image] | None,
) -> LeakReport:
    """Look for what is on two sides of a split, and for features that tell the label without any content.

    Near-duplicates are pairs of crops on different sides whose difference hashes (dHash, 64 bits across and 64
    down) differ in at most `NEAR_BITS`. Other videos of the same person in the same pose and light are found too.

    Args:
        rows: Clips of the dataset.
        assignment: Video and its split.
        load_thumbnail: Gives one crop of a clip, of any size; None leaves near-duplicates out.

    Raises:
        ValueError: A video of ``rows`` has no split.
    """
    if unassigned := {row.video for row in rows}.difference(assignment):
        raise ValueError(f"{min(unassigned)}: has no split (nor have {len(unassigned) - 1:,} other videos)")
    near, flat = (None, 0) if load_thumbnail is None else _near_duplicates(rows, assignment, load_thumbnail)
    return LeakReport(
        clips=len(rows),
        shared_groups=_on_two_sides((row.group, row.group, assignment[row.video]) for row in rows),
        same_files=_on_two_sides((row.sha256, row.video, assignment[row.video]) for row in rows if row.sha256),
        near_duplicates=near,
        flat_clips=flat,
        shortcut=_measure_shortcut(rows),
    )


def difference_hashes(image: Image) -> tuple[int, int]:
    """Two difference hashes (dHash) of 64 bits: is each cell brighter than its left, and than its upper neighbour?

    Args:
        image: ``(height, width, 3)`` uint8 RGB of any size.

    Example:
        >>> ramp = np.repeat(np.arange(0, 252, 7, dtype=np.uint8)[None, :, None], 3, axis=2)
        >>> [hex(bits) for bits in difference_hashes(ramp)]
        ['0xffffffffffffffff', '0x0']
    """
    across, down = _hash(_shrink(image))
    return int(across), int(down)


def _shrink(image: Image) -> Cells:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey.astype(np.float32), (9, 9), interpolation=cv2.INTER_AREA))


def _hash(cells: Cells) -> Hashes:
    bits = np.stack([cells[:8, 1:] > cells[:8, :-1], cells[1:, :8] > cells[:-1, :8]])
    return np.packbits(bits.reshape(2, 64), axis=1).view(">u8").astype(np.uint64)[:, 0]


def _near_duplicates(
    rows: Sequence[ClipRow], assignment: Mapping[str, SplitName], load_thumbnail: Callable[[ClipRow], Image]
) -> tuple[Finding, int]:
    small = [_shrink(load_thumbnail(row)) for row in rows]
    usable = [index for index, cells in enumerate(small) if float(cells.std()) >= _FLAT_LEVELS]
    hashes = np.array([_hash(small[index]) for index in usable], dtype=np.uint64).reshape(-1, 2)
    sides = np.array([assignment[rows[index].video] for index in usable])
    involved = np.zeros(len(usable), dtype=bool)
    closest: list[tuple[int, int, int]] = []
    for left, right, distances in _near_pairs(hashes, sides):
        involved[left] = involved[right] = True
        best = np.argsort(distances, kind="stable")[:_EXAMPLES]
        closest += zip(distances[best].tolist(), left[best].tolist(), right[best].tolist(), strict=True)
        closest = sorted(closest)[:_EXAMPLES]

    def describe(index: int) -> str:
        return f"{rows[usable[index]].clip_id} ({sides[index]})"

    examples = tuple(
        f"{describe(left)} ~ {describe(right)}, {bits} of 128 bits differ" for bits, left, right in closest
    )
    return Finding(int(involved.sum()), examples), len(rows) - len(usable)


def _near_pairs(
    hashes: Hashes, sides: npt.NDArray[np.str_]
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.uint8]]]:
    """Blocks of positions of near-duplicates on different sides, and the bits of 128 that differ."""
    for first, second in combinations(sorted(set(sides.tolist())), 2):
        left, right = np.flatnonzero(sides == first), np.flatnonzero(sides == second)
        for start in range(0, len(left), _BLOCK):
            block = left[start : start + _BLOCK]
            i, j = np.nonzero(np.bitwise_count(hashes[block, None, 0] ^ hashes[None, right, 0]) <= NEAR_BITS[0])
            across, down = np.bitwise_count(hashes[block[i]] ^ hashes[right[j]]).T
            near = down <= NEAR_BITS[1]
            yield block[i[near]], right[j[near]], (across + down)[near]


def _on_two_sides(placed: Iterable[tuple[str, str, SplitName]]) -> Finding:
    """Count the keys on more than one side; each item is a key, the name to show for it, and its side."""
    places: dict[str, set[tuple[str, str]]] = {}
    for key, name, side in placed:
        places.setdefault(key, set()).add((side, name))
    torn = sorted(sorted(found) for found in places.values() if len({side for side, _ in found}) > 1)
    shown = (", ".join(f"{name} ({side})" for side, name in found) for found in torn[:_EXAMPLES])
    return Finding(len(torn), tuple(shown))


def _measure_shortcut(rows: Sequence[ClipRow]) -> Shortcut | None:
    groups = group_videos(rows)
    try:
        folds = deal_folds(groups, folds=_FOLDS, seed=0)
    except SplitError as error:
        logger.info("shortcut features are not measured: %s", error)
        return None
    videos = {row.video: row for row in rows}
    placed = [(videos[video], position) for position, group in enumerate(groups) for video in group.videos]
    group_index = np.array([position for _, position in placed])
    is_fake = np.array([row.is_fake for row, _ in placed])
    fold_of_group = np.array([folds[group.name] for group in groups])
    scores = cross_validated_scores(file_features(row for row, _ in placed), is_fake, fold_of_group[group_index])
    return Shortcut(*auc_with_interval(is_fake, scores, group_index, resamples=_RESAMPLES), len(groups))


def file_features(rows: Iterable[ClipRow]) -> Floats:
    """Logarithms of pixels, frame rate, duration and bit rate, ``(N, 4)``; an image counts as one second."""
    table = np.array(
        [(row.width * row.height, row.fps, row.duration_seconds, row.bits_per_second) for row in rows],
        dtype=np.float64,
    )
    return np.asarray(np.log(np.maximum(table, 1e-3)))


def _finding_document(finding: Finding | None) -> dict[str, Any] | None:
    return None if finding is None else {"count": finding.count, "examples": list(finding.examples)}


def _sentence(finding: Finding, what: str) -> str:
    return f"{finding.count:,} {what} (first: {finding.examples[0]})." if finding.count else f"No {what}."


def _near_sentence(finding: Finding | None, clips: int, flat: int) -> str:
    if finding is None:
        return "Near-duplicate crops were not looked for."
    compared = f"{clips - flat:,} clips compared" + (f", {flat:,} too even to compare" if flat else "")
    return f"{_sentence(finding, 'clips have a near-duplicate on another side')[:-1]}; {compared}."


def _shortcut_sentence(shortcut: Shortcut | None) -> str:
    if shortcut is None:
        return "Not enough groups to tell whether size, frame rate, duration and bit rate alone give the label away."
    interval = f"AUC {shortcut.auc:.2f}, 95 % interval {shortcut.low:.2f} to {shortcut.high:.2f}"
    if shortcut.low > 0.5:
        return (
            f"Size, frame rate, duration and bit rate alone tell FAKE from REAL ({interval}): a score may rest on them."
        )
    return f"No sign that size, frame rate, duration and bit rate alone tell FAKE from REAL ({interval})."
