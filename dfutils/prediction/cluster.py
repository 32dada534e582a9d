"""Verdicts on many files from the workers of a Dask cluster."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfutils.errors import DatasetError
from dfutils.extraction.remote import is_url
from dfutils.extraction.work import connected_cluster
from dfutils.prediction.detector import Detector, load_detector
from dfutils.prediction.runtime import Engine
from dfutils.pretrained import FOLDER
from dfutils.records import Label, Reason, Verdict

FILES_OF_A_TASK = 8
"""A task is long enough that sending it costs nothing, and short enough that a lost worker loses little."""

TASKS_PER_WORKER = 2
"""Tasks that are sent ahead for each worker, so that none waits for the next one."""

_examining = threading.Lock()
_loaded = functools.lru_cache(maxsize=1)(load_detector)


def predict_on_cluster(
    detector: Detector, paths: Sequence[Path | str], *, scheduler: str
) -> Iterator[tuple[int, Verdict]]:
    """Yield the place in ``paths`` of each file with its verdict, in the order in which they finish.

    Each worker process loads the detector once. A file that ends one worker after another is UNDECIDED, as one that
    cannot be read; the files that were examined beside it are tried alone.

    Args:
        detector: Workers must see its run folder under the same path; of a detector that comes with the package, they
            take their own copy.
        paths: Workers must see them under the same paths.
        scheduler: Address of a Dask scheduler such as ``tcp://host:8786``.

    Raises:
        DfutilsError: Dask is not installed, no scheduler answers, or it was lost.
        DatasetError: A worker has another detector.
    """
    is_packaged = detector.folder.parent == FOLDER
    model = detector.folder.name if is_packaged else str(detector.folder.absolute())
    given = [str(path) if is_url(path) else str(Path(path).absolute()) for path in paths]
    with connected_cluster(scheduler) as client:
        from distributed import KilledWorker, as_completed

        places: dict[str, list[int]] = {}

        def submitted(some: list[int]) -> object:
            task = functools.partial(
                _examine, model, [given[place] for place in some], detector.engine, detector.prior, detector.identity
            )
            future = client.submit(task, pure=False)
            places[future.key] = some
            return future

        tasks = (
            list(range(first, min(first + FILES_OF_A_TASK, len(given))))
            for first in range(0, len(given), FILES_OF_A_TASK)
        )

        def top_up() -> None:
            """Send as many tasks as the cluster, which may have grown, can take."""
            workers = len(client.scheduler_info(n_workers=-1)["workers"])
            free = TASKS_PER_WORKER * max(1, workers) - len(places)
            running.update([submitted(some) for some in itertools.islice(tasks, max(0, free))])

        running = as_completed()
        top_up()
        for future in running:
            some = places.pop(future.key)
            try:
                verdicts = future.result()
            except KilledWorker:
                if len(some) > 1:
                    running.update([submitted([place]) for place in some])
                    continue
                detail = "the worker that examined it ended without an answer, and so did the next ones"
                verdicts = [Verdict(str(paths[some[0]]), None, Label.UNDECIDED, Reason.UNREADABLE, detail)]
            yield from zip(some, verdicts, strict=True)
            top_up()


def _examine(
    model: str, paths: Sequence[str], engine: Engine, prior: float, wanted: Mapping[str, Any]
) -> list[Verdict]:
    """Return the verdicts on some files; runs in a worker, one task at a time."""
    with _examining:
        detector = _loaded(model, engine=engine)
        if detector.identity != wanted:
            raise DatasetError(
                f"{model}: a worker has another detector under this path, or another version of this package. Install "
                "the same on all, restart the workers, and repeat the command."
            )
        if prior != detector.prior:
            detector = detector.for_prior(prior)
        return list(detector.predict_many(paths, credentials=False))
