"""Backbone features, computed once per clip; the cache key covers all that they depend on but an engine's rounding."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dfutils.errors import DatasetError
from dfutils.extraction.dataset import FaceDataset
from dfutils.files import replacing
from dfutils.records import ClipRow, Crops
from dfutils.settings import DEFAULT_BACKBONE
from dfutils.training.augmentation import DEFAULT_SETTINGS, augment_clip
from dfutils.training.families import FAMILIES
from dfutils.weights import cache_folder

logger = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]
"""``(N, T, channels)`` float32: clips, frames, channels; InceptionV3 has 2048."""

IMAGES_AT_ONCE = 80
"""Crops per call of ``features_of``: each call has a fixed cost, which would dominate for a few still images."""


def clip_features(
    dataset: FaceDataset,
    rows: Sequence[ClipRow],
    features_of: Callable[[Crops], npt.NDArray[np.float32]],
    *,
    cache_key: str,
    copy: int = 0,
    change: Callable[[Crops], Crops] | None = None,
    progress: bool = True,
) -> Features:
    """Return the features of clips, from the cache if possible.

    Args:
        dataset: Holds the crops.
        rows: Clips of the same length T.
        features_of: Computes the features ``(N, channels)`` of uint8 images ``(N, size, size, 3)``.
        cache_key: Names architecture, weights, preprocessing and ``change``; with the clip's checksum it is the
            cache key.
        copy: 0 for the unchanged crops; every other number is a different, reproducible augmentation.
        change: Applied to the crops ``(T, size, size, 3)`` of each clip before the backbone; it may return fewer.
        progress: Show a bar on a terminal.

    Returns:
        ``(N, T, channels)`` float32 in the order of ``rows``; T is that of ``change`` if there is one.

    Raises:
        DatasetError: The clips differ in length, or a crop cannot be read.
    """
    lengths = {row.frames for row in rows}
    if len(lengths) > 1:
        raise DatasetError(
            f"{dataset.folder}: holds clips of {sorted(lengths)} frames, but a model takes clips of one length. "
            "Extract images and videos into separate folders."
        )
    if copy:
        cache_key = f"{cache_key} view {copy} {DEFAULT_SETTINGS.model_dump_json()}"
    folder = cache_folder() / "features" / hashlib.sha256(cache_key.encode()).hexdigest()[:16]
    paths = [folder / f"{dataset.checksum(row)}.npy" for row in rows]
    # Clips with identical images share a path, and are computed once.
    missing = [number for path, number in {path: n for n, path in enumerate(paths)}.items() if not path.is_file()]
    if missing:
        logger.info("Computing backbone features of %d clips, %d are cached", len(missing), len(rows) - len(missing))
    with tqdm(total=len(missing), desc="features", unit="clip", disable=None if progress else True) as bar:
        at_once = max(1, IMAGES_AT_ONCE // rows[0].frames) if rows else 1
        for start in range(0, len(missing), at_once):
            numbers = missing[start : start + at_once]
            clips = np.stack([dataset.load_clip(rows[number]) for number in numbers])
            if copy:
                # Seeded by the crops themselves, so that a clip's copies do not depend on the rest of the dataset.
                contents = [hashlib.sha256(dataset.checksum(rows[number]).encode()).hexdigest() for number in numbers]
                seeds = [[copy, int(content[:16], 16)] for content in contents]
                clips = np.stack(
                    [
                        augment_clip(clip, rng=np.random.default_rng(seed))
                        for clip, seed in zip(clips, seeds, strict=True)
                    ]
                )
            if change:
                clips = np.stack([change(clip) for clip in clips])
            features = features_of(clips.reshape(-1, *clips.shape[2:]))
            for number, own in zip(numbers, features.reshape(*clips.shape[:2], -1), strict=True):
                with replacing(paths[number]) as temporary, temporary.open("wb") as file:
                    np.save(file, own.astype(np.float32))
            bar.update(len(numbers))
    return np.stack([np.load(path) for path in paths])


def feature_cache_key(weights_checksum: str, *, size: int, family: str = DEFAULT_BACKBONE) -> str:
    """Return the part of the cache key for everything that features depend on besides the crops."""
    parts = {"architecture": family, "layer": "avg_pool", "scaling": FAMILIES[family].scaling, "size": size}
    return json.dumps({**parts, "weights": weights_checksum}, sort_keys=True)
