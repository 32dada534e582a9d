"""Backbone features, computed once per clip and kept: keyed by everything they depend on, so never stale."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dfutils.errors import DatasetError
from dfutils.extraction.dataset import FaceDataset
from dfutils.files import replacing
from dfutils.records import ClipRow, Crops
from dfutils.settings import DEFAULT_BACKBONE
from dfutils.training.augmentation import DEFAULT_SETTINGS, augment_clip
from dfutils.training.backbones import FAMILIES
from dfutils.training.backend import keras
from dfutils.weights import cache_folder

logger = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]
"""``(N, T, channels)`` float32: clips, frames, channels; InceptionV3 has 2048."""

IMAGES_AT_ONCE = 80
"""Crops per call of the backbone: a call has a cost of its own, and few still images would be all cost."""


def clip_features(
    dataset: FaceDataset,
    rows: Sequence[ClipRow],
    backbone: keras.Model,
    *,
    backbone_key: str,
    view: int = 0,
    progress: bool = True,
) -> Features:
    """Features of clips, from the cache where they are known.

    Args:
        dataset: Where the crops are.
        rows: Clips of one length T.
        backbone: uint8 ``(N, size, size, 3)`` to ``(N, channels)``.
        backbone_key: Names architecture, weights and preprocessing; with the clip's own checksum it is the cache key.
        view: 0 is the crops as they are; every other number is an augmentation of its own, the same whenever asked.
        progress: Show a bar on a terminal.

    Returns:
        ``(N, T, channels)`` float32 in the order of ``rows``.

    Raises:
        DatasetError: The clips differ in length, or a crop cannot be read.
    """
    lengths = {row.frames for row in rows}
    if len(lengths) > 1:
        raise DatasetError(
            f"{dataset.folder}: holds clips of {sorted(lengths)} frames; a model takes one length. "
            "Extract images and videos into folders of their own."
        )
    if view:
        backbone_key = f"{backbone_key} view {view} {DEFAULT_SETTINGS.model_dump_json()}"
    paths = [_cache_path(dataset, row, backbone_key) for row in rows]
    # Clips of the same images share a path, and are computed once.
    missing = [number for path, number in {path: n for n, path in enumerate(paths)}.items() if not path.is_file()]
    if missing:
        logger.info("Computing backbone features of %d clips, %d are cached", len(missing), len(rows) - len(missing))
    with tqdm(total=len(missing), desc="features", unit="clip", disable=None if progress else True) as bar:
        at_once = max(1, IMAGES_AT_ONCE // rows[0].frames) if rows else 1
        for start in range(0, len(missing), at_once):
            numbers = missing[start : start + at_once]
            clips = np.stack([_clip(dataset, rows[number], view) for number in numbers])
            for number, features in zip(numbers, _compute(clips, backbone), strict=True):
                _store(paths[number], features)
            bar.update(len(numbers))
    return np.stack([np.load(path) for path in paths])


def backbone_key(weights_checksum: str, *, size: int, family: str = DEFAULT_BACKBONE) -> str:
    """Name what features depend on besides the crops."""
    parts = {"architecture": family, "layer": "avg_pool", "scaling": FAMILIES[family].scaling, "size": size}
    return json.dumps({**parts, "weights": weights_checksum}, sort_keys=True)


def _clip(dataset: FaceDataset, row: ClipRow, view: int) -> Crops:
    clip = dataset.load_clip(row)
    if not view:
        return clip
    # Drawn by the crops themselves, so that a clip's views do not depend on what else is in the dataset.
    rng = np.random.default_rng([view, int(hashlib.sha256(dataset.checksum(row).encode()).hexdigest()[:16], 16)])
    return augment_clip(clip, rng=rng)


def _compute(clips: Crops, backbone: keras.Model) -> Features:
    features = backbone.predict(clips.reshape(-1, *clips.shape[2:]), batch_size=16, verbose=0)
    return features.reshape(*clips.shape[:2], -1).astype(np.float32)


def _cache_path(dataset: FaceDataset, row: ClipRow, key: str) -> Path:
    folder = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / "features" / folder / f"{dataset.checksum(row)}.npy"


def _store(path: Path, features: Features) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, features)
