"""Training batches for fine-tuning: half REAL, half fakes, each step decided by its number and the seed alone.

Because a step needs nothing of the steps before it, training can go on at any step after an interruption and see
exactly what it would have seen, and several processes can make the batches of several steps. They must start quickly
and stay small: TensorFlow is not imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError, SplitError
from dfutils.extraction.dataset import FaceDataset, read_crop
from dfutils.records import ClipRow, Crops
from dfutils.training.augmentation import augment_clip
from dfutils.training.blending import landmarks_in_crops, self_blend

Batch: TypeAlias = tuple[Crops, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip of a batch.

    Attributes:
        row: Index into the plan's rows.
        is_fake: The target.
        blend: Whether the fake is made from this REAL clip.
        seed: Of everything random about this sample.
    """

    row: int
    is_fake: bool
    blend: bool
    seed: int


class BatchPlan:
    """Which clips every step sees.

    REAL clips are gone through in random order, epoch after epoch, and so are FAKE ones, so that each step is balanced
    whatever the data set is. A self-blended fake is made from a REAL clip of the same batch: the pair differs in
    nothing but the blending. With ``paired``, other fakes come from the group of that REAL clip too: the pair shares
    its source, or its person, whatever groups stand for.
    """

    def __init__(
        self, rows: Sequence[ClipRow], *, batch_size: int, self_blended: float, seed: int, paired: bool = False
    ) -> None:
        self._real = np.array([index for index, row in enumerate(rows) if not row.is_fake])
        self._fake = np.array([index for index, row in enumerate(rows) if row.is_fake])
        self._batch_size, self._self_blended, self._seed = batch_size, self_blended, seed
        if not len(self._real) or (not len(self._fake) and self_blended < 1):
            raise SplitError(
                f"training split: {len(self._real)} REAL and {len(self._fake)} FAKE clips. Both are needed, "
                "or REAL ones alone with self_blended=1."
            )
        fakes_of: dict[str, list[int]] = {}
        for index in self._fake:
            fakes_of.setdefault(rows[index].group, []).append(int(index))
        self._partners = {int(index): fakes_of.get(rows[index].group, []) for index in self._real} if paired else {}

    @property
    def steps_per_pass(self) -> int:
        """Steps that see every REAL clip about once."""
        return max(1, len(self._real) // max(1, self._batch_size // 2))

    def samples(self, step: int) -> list[Sample]:
        """The samples of one step, REAL and fakes in turn."""
        rng = np.random.default_rng([self._seed, step])
        half = (self._batch_size + 1) // 2
        real = self._take(self._real, step, half, stream=0)
        blend = rng.random(half) < self._self_blended
        others = self._take(self._fake, step, half, stream=1) if len(self._fake) else real
        seeds = rng.integers(0, 2**31, (half, 2))
        if self._partners:
            partners = [self._partner(int(one), int(other), rng) for one, other in zip(real, others, strict=True)]
            others = np.array(partners)
        fake = np.where(blend, real, others)
        pairs = [
            (
                Sample(int(real[k]), False, False, int(seeds[k, 0])),
                Sample(int(fake[k]), True, bool(blend[k]), int(seeds[k, 1])),
            )
            for k in range(half)
        ]
        return [sample for pair in pairs for sample in pair][: self._batch_size]

    def _partner(self, real: int, other: int, rng: np.random.Generator) -> int:
        """A fake of the same group; ``other`` where the group has none."""
        known = self._partners[real]
        return known[rng.integers(len(known))] if known else other

    def _take(self, indices: npt.NDArray[np.int_], step: int, count: int, *, stream: int) -> npt.NDArray[np.int_]:
        """The next ``count`` of an endless sequence of permutations, found from the step alone."""
        positions = np.arange(step * count, (step + 1) * count)
        rounds, places = np.divmod(positions, len(indices))
        orders = {
            int(number): np.random.default_rng([self._seed, 1 + stream, int(number)]).permutation(len(indices))
            for number in np.unique(rounds)
        }
        return np.array([indices[orders[int(number)][place]] for number, place in zip(rounds, places, strict=True)])


class SampleLoader:
    """Reads, blends and augments the crops of a sample, and cuts the patch that is trained on.

    Attributes:
        size: Side of what it loads, in pixels.
    """

    def __init__(
        self, dataset: FaceDataset, rows: Sequence[ClipRow], *, frames: int, augment: bool, patch: int | None = None
    ) -> None:
        if patch is not None and patch > dataset.settings.size:
            raise RunError(f"patch: {patch} pixels cannot be cut out of crops of {dataset.settings.size}.")
        by_clip: dict[str, list[dict[str, str]]] = {}
        for row in dataset.frame_rows:
            by_clip.setdefault(row["clip_id"], []).append(row)
        # No more of the dataset than is needed: it is sent to every worker process.
        self._folder, self._crop_size = dataset.folder.absolute(), dataset.settings.size
        self.size = patch or self._crop_size
        self._files = [dataset.files[row.clip_id] for row in rows]
        self._landmarks = [landmarks_in_crops(by_clip[row.clip_id], size=self._crop_size) for row in rows]
        self._frames, self._augment = frames, augment

    def load(self, sample: Sample) -> Crops:
        """``(frames, size, size, 3)`` uint8."""
        rng = np.random.default_rng(sample.seed)
        files = self._files[sample.row]
        there = len(files)
        chosen = np.sort(rng.permutation(there)[: self._frames]) if self._frames < there else np.arange(there)
        clip = np.stack([read_crop(self._folder / files[index], size=self._crop_size) for index in chosen])
        if sample.blend:
            clip, _ = self_blend(clip, landmarks=self._landmarks[sample.row][chosen], rng=rng)
        clip = augment_clip(clip, rng=rng) if self._augment else clip
        top, left = rng.integers(self._crop_size - self.size + 1, size=2)
        return clip[:, top : top + self.size, left : left + self.size]


@dataclass(frozen=True, slots=True)
class BatchLoader:
    """Makes the batch of a step."""

    plan: BatchPlan
    samples: SampleLoader

    def load(self, step: int) -> Batch:
        """Crops ``(B, frames, size, size, 3)`` uint8 and targets ``(B, 1)`` float32, 1 = FAKE."""
        samples = self.plan.samples(step)
        crops = np.stack([self.samples.load(sample) for sample in samples])
        return crops, np.array([[sample.is_fake] for sample in samples], np.float32)
