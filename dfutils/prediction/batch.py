"""Batch prediction: find the input files, and work ahead on them with bounded memory."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dfutils.errors import CatalogueError
from dfutils.extraction.media_files import is_media, iter_files, other_files

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def expand_inputs(inputs: Iterable[str]) -> list[str]:
    """Replace folders by the videos and images below them; files are kept, even missing ones.

    A missing file is not an error here: its verdict will say so, and the other files still get theirs. Other files in a
    folder are counted in the log, by the same rule as when faces are extracted.

    Raises:
        CatalogueError: A folder holds no videos or images.
    """
    files: list[str] = []
    for name in inputs:
        path = Path(name)
        if not path.is_dir():
            files.append(name)
            continue
        found = sorted(one for one in iter_files(path) if is_media(one))
        others = other_files(path)
        if not found:
            seen = f" ({others[0]})" if others else ""
            raise CatalogueError(f"{path}: this folder has no videos or images{seen}. Give another folder, or a file.")
        for warning in others:
            logger.warning("%s", warning)
        files += map(str, found)
    return files


def ahead(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[tuple[Item, Result]]:
    """Yield each item with its result, in the order of ``items``.

    While the caller uses one result, threads compute at most the next ``workers`` results, however many items there
    are. If ``work`` raises an error for an item, it is raised when that item's turn comes.

    Args:
        work: Called once per item, in a thread.
        items: Consumed as needed.
        workers: Number of threads, from 1.

    Example:
        >>> list(ahead(str.upper, ["a", "b", "c"], workers=2))
        [('a', 'A'), ('b', 'B'), ('c', 'C')]
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        # The caller may stop early: work that has begun is finished, the rest is dropped.
        pool.shutdown(wait=False, cancel_futures=True)
