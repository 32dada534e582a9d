"""Make package data from a run folder: weights in half precision, and golden scores, without any training data."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dfutils.demo.clips import make_demo_videos
from dfutils.demo.rendering import DemoSettings
from dfutils.files import replacing, sha256_of
from dfutils.prediction.detector import load_detector
from dfutils.prediction.runtime import Engine
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord

GOLDEN = "golden.json"
"""File with the scores of four demo clips by their names; a test fails when they change."""


def pack_detector(run: Path, folder: Path, **changes: Any) -> DetectorRecord:
    """Write ``model.weights.h5`` in half precision and ``detector.json`` into ``folder``.

    The result is read like any run folder: Keras widens the weights again. Vectors keep their precision: they are few,
    and statistics of features may be too small for half precision.

    Args:
        run: A finished run folder of one detector.
        folder: Target, created if needed.
        changes: Fields of ``detector.json`` to replace, such as the name.

    Raises:
        RunError: ``run`` is not finished.
        OverflowError: A weight exceeds the range of half precision.
    """
    trained, packed = RunFolder(run), RunFolder(folder)
    detector = trained.detector()
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replacing(packed.weights_file) as temporary,
        h5py.File(trained.weights_file) as source,
        h5py.File(temporary, "w") as target,
    ):
        source.visititems(lambda name, item: _copy(name, item, target))
    if detector.familiarity is not None:
        shutil.copy(trained.familiarity_file, folder)
    detector = detector.model_copy(update={**changes, "weights_sha256": sha256_of(packed.weights_file)})
    detector.write(packed.detector_file)
    return detector


def _copy(name: str, item: h5py.Group | h5py.Dataset, target: h5py.File) -> None:
    if isinstance(item, h5py.Group):
        copied = target.require_group(name)
    else:
        values = item[()]
        if np.issubdtype(item.dtype, np.floating) and values.ndim > 1:
            with np.errstate(over="ignore"):  # the next line reports it
                values = values.astype(np.float16)
            if not np.isfinite(values).all():
                raise OverflowError(f"{name}: holds weights beyond half precision (65,504).")
        copied = target.create_dataset(name, data=values)
    for key, value in item.attrs.items():
        copied.attrs[key] = value


def golden_scores(folder: Path, *, engine: Engine = "keras") -> dict[str, float]:
    """Return what the detector in ``folder`` scores on four demo clips.

    Raises:
        AssertionError: A clip has no score.
    """
    detector = load_detector(folder, engine=engine)
    scores = {}
    with tempfile.TemporaryDirectory() as scratch:
        labels = make_demo_videos(Path(scratch), settings=DemoSettings(people=2, seconds=2.0), progress=False)
        for path in sorted((labels.parent / "videos").glob("*.mp4")):
            verdict = detector.predict(path)
            if verdict.fake_probability is None:
                raise AssertionError(f"{verdict.input}: has no score ({verdict.detail})")
            scores[path.name] = round(verdict.fake_probability, 6)
    return scores
