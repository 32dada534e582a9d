"""Training batches for fine-tuning: pairs of a REAL clip and a fake, determined by step number and seed alone.

Because a step does not depend on the steps before it, an interrupted run can continue at any step with exactly the
batches it would have seen, and several processes can make the batches of several steps. Those processes must start
quickly and stay small, so TensorFlow is not imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError, SplitError
from dfutils.extraction.dataset import FaceDataset
from dfutils.records import ClipRow, Crops
from dfutils.settings import FinetuneSettings
from dfutils.training.augmentation import DEFAULT_SETTINGS, AugmentationSettings, augment_clip
from dfutils.training.blending import BlendingSettings, Donor, blend_clip

Batch: TypeAlias = tuple[Crops, npt.NDArray[np.float32]]

Fake: TypeAlias = Literal["forged", "self_blended", "donor_blended"]
"""How a fake was made: by a forger's program, or by blending its own or another person's face into the REAL clip."""

DONORS_COMPARED = 64
"""Number of random REAL clips from which the one with the most similar landmarks is chosen as the donor."""

MIRRORED = AugmentationSettings.only(flip_probability=DEFAULT_SETTINGS.flip_probability)
"""Changes to the pairs that are not augmented: none but mirroring, half of the time."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A REAL clip and a fake with the same framing and augmentation, so that they differ in little else.

    Attributes:
        real: Row of the REAL clip.
        kind: How the fake is made.
        forged: Row of the FAKE clip if it is forged, otherwise that of the REAL clip.
        seed: Seed of everything random about this pair.
    """

    real: int
    kind: Fake
    forged: int
    seed: int


class BatchPlan:
    """Decides which clips each step is trained on.

    REAL clips come in random order, epoch after epoch; with ``settings.balance_datasets`` they are drawn by dataset and
    person instead. A blended fake is made from the REAL clip of its pair. With ``settings.paired``, a forged one comes
    from the group of that clip, or else from its dataset, so that neither the person nor the dataset reveals the label.
    """

    def __init__(self, rows: Sequence[ClipRow], *, batch_size: int, settings: FinetuneSettings, seed: int) -> None:
        self._real = np.array([index for index, row in enumerate(rows) if not row.is_fake])
        self._fake = np.array([index for index, row in enumerate(rows) if row.is_fake])
        self._pairs, self._settings, self._seed = max(1, batch_size // 2), settings, seed
        if not len(self._real) or (not len(self._fake) and settings.self_blended < 1):
            raise SplitError(
                f"training split: {len(self._real)} REAL and {len(self._fake)} FAKE clips. Both are needed, "
                "or REAL ones alone with self_blended=1."
            )
        self._rows = rows
        self._fakes_of_group = _by_key(self._fake, [rows[index].group for index in self._fake])
        self._fakes_of_dataset = _by_key(self._fake, [rows[index].dataset for index in self._fake])
        datasets = _by_key(self._real, [rows[index].dataset for index in self._real])
        self._people = {
            name: list(_by_key(np.array(indices), [rows[index].group for index in indices]).values())
            for name, indices in datasets.items()
        }
        # The square root lies between proportional and equal shares: with equal shares a dataset of 400 images would be
        # memorised, with proportional ones a dataset of 20,000 would crowd out the others.
        sizes = np.sqrt([len(indices) for indices in datasets.values()])
        self._shares = sizes / sizes.sum()

    @property
    def steps_per_pass(self) -> int:
        """Number of steps in which every REAL clip is used about once."""
        return max(1, len(self._real) // self._pairs)

    def pairs(self, step: int) -> list[Pair]:
        """Return the pairs of one step."""
        rng = np.random.default_rng([self._seed, step])
        if self._settings.balance_datasets:
            real = []
            for _ in range(self._pairs):
                people = list(self._people.values())[rng.choice(len(self._shares), p=self._shares)]
                clips = people[rng.integers(len(people))]
                real.append(int(clips[rng.integers(len(clips))]))
        else:
            real = self._take(self._real, step, stream=0).tolist()
        forged = self._take(self._fake, step, stream=1).tolist() if len(self._fake) else real
        return [self._pair(one, other, rng) for one, other in zip(real, forged, strict=True)]

    def _pair(self, real: int, other: int, rng: np.random.Generator) -> Pair:
        own, seed = self._settings, int(rng.integers(2**31))
        row = self._rows[real]
        candidates = self._fakes_of_group.get(row.group, self._fakes_of_dataset.get(row.dataset, []))
        has_none = own.balance_datasets and not len(candidates)
        if rng.random() < own.self_blended or has_none:
            kind: Fake = "donor_blended" if rng.random() < own.donor_share else "self_blended"
            return Pair(real, kind, real, seed)
        if (own.paired or own.balance_datasets) and len(candidates):
            other = int(candidates[rng.integers(len(candidates))])
        return Pair(real, "forged", other, seed)

    def _take(self, indices: npt.NDArray[np.int_], step: int, *, stream: int) -> npt.NDArray[np.int_]:
        """Return a step's clips in an endless sequence of permutations, computed from the step number alone."""
        positions = np.arange(step * self._pairs, (step + 1) * self._pairs)
        rounds, places = np.divmod(positions, len(indices))
        orders = {
            int(number): np.random.default_rng([self._seed, 1 + stream, int(number)]).permutation(len(indices))
            for number in np.unique(rounds)
        }
        return np.array([indices[orders[int(number)][place]] for number, place in zip(rounds, places, strict=True)])


class PairLoader:
    """Reads, frames, blends and augments the crops of a pair, and cuts the training patch.

    Attributes:
        size: Side of the loaded crops in pixels.
    """

    def __init__(
        self, dataset: FaceDataset, rows: Sequence[ClipRow], *, frames: int, settings: FinetuneSettings
    ) -> None:
        self._crop_size = dataset.settings.size
        if settings.patch is not None and settings.patch > self._crop_size:
            raise RunError(f"patch: {settings.patch} pixels cannot be cut out of crops of {self._crop_size}.")
        # Keep only the necessary part of the dataset, because it is sent to every worker process.
        self._stored = [dataset.stored_crops(row) for row in rows]
        self._groups = [row.group for row in rows]
        self._real_of_dataset = _by_key(
            np.array([index for index, row in enumerate(rows) if not row.is_fake], int),
            [row.dataset for row in rows if not row.is_fake],
        )
        self._datasets = [row.dataset for row in rows]
        self.size = settings.patch or self._crop_size
        self._frames, self._settings = frames, settings
        # Framing jitter replaces random cropping, without favouring close-ups.
        off = {"crop_probability": 0.0} if settings.framing_jitter else {}
        self._augmentation = DEFAULT_SETTINGS.model_copy(update=off)
        self._blending = BlendingSettings(face_margin=dataset.settings.margin)

    def load(self, pair: Pair) -> Crops:
        """Return the REAL and the FAKE clip, ``(2, frames, size, size, 3)`` uint8."""
        rng = np.random.default_rng(pair.seed)
        jitter = self._settings.framing_jitter * rng.standard_normal(3)
        real, landmarks = self._read(pair.real, jitter, pair.seed)
        if pair.kind == "forged":
            fake, _ = self._read(pair.forged, jitter, pair.seed)
        else:
            donor = self._donor(pair.real, landmarks[0], rng) if pair.kind == "donor_blended" else None
            real, fake, _ = blend_clip(real, landmarks=landmarks, rng=rng, donor=donor, settings=self._blending)
        seed = rng.integers(2**31)
        top, left = rng.integers(self._crop_size - self.size + 1, size=2)
        changes = self._augmentation if rng.random() < self._settings.augment else MIRRORED
        # Both get the same seed: an augmentation of only one would tell them apart.
        real, fake = (augment_clip(clip, rng=np.random.default_rng(seed), settings=changes) for clip in (real, fake))
        return np.stack([real, fake])[:, :, top : top + self.size, left : left + self.size]

    def _read(self, row: int, jitter: npt.NDArray[np.float64], seed: int) -> tuple[Crops, npt.NDArray[np.float32]]:
        """Return random frames of a clip and their landmarks; two clips of equal length get the same frame indices."""
        stored = self._stored[row]
        order = np.random.default_rng([seed, 1]).permutation(len(stored.files))
        return stored.load(sorted(order[: self._frames].tolist()), jitter=jitter)

    def _donor(self, row: int, landmarks: npt.NDArray[np.float32], rng: np.random.Generator) -> Donor | None:
        """Return the face with the most similar landmarks among random clips of the dataset's other groups, if any."""
        others = self._real_of_dataset[self._datasets[row]]
        drawn = rng.choice(others, min(DONORS_COMPARED, len(others)), replace=False)
        known = {
            int(index): self._stored[index].landmarks(0) for index in drawn if self._groups[index] != self._groups[row]
        }
        usable = {index: points for index, points in known.items() if np.isfinite(points).all()}
        if not usable or not np.isfinite(landmarks).all():
            return None
        best = min(usable, key=lambda index: float(np.abs(usable[index] - landmarks).sum()))
        image, points = self._stored[best].load([0])
        return Donor(image[0], points[0])


@dataclass(frozen=True, slots=True)
class BatchLoader:
    """Makes the batch of a step from its pairs."""

    plan: BatchPlan
    pairs: PairLoader

    def load(self, step: int) -> Batch:
        """Return crops ``(B, frames, size, size, 3)`` uint8, alternately REAL and FAKE, and targets ``(B, 1)``."""
        crops = np.concatenate([self.pairs.load(pair) for pair in self.plan.pairs(step)])
        targets = np.tile(np.array([[0.0], [1.0]], np.float32), (len(crops) // 2, 1))
        return crops, targets


def _by_key(indices: npt.NDArray[np.int_], keys: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, key in zip(indices.tolist(), keys, strict=True):
        found.setdefault(key, []).append(index)
    return found
