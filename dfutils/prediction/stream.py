"""Work on many inputs ahead of their use, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in the order of ``items``.

    While the caller uses one result, the next ``workers`` are computed in threads; no more than those are kept, however
    many items there are. An error is raised where its result would have been.

    Args:
        work: Called once an item, in a thread.
        items: Taken from as they are needed.
        workers: Threads, from 1.

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
        # The caller may stop early: what has begun is finished, what has not is dropped.
        pool.shutdown(wait=False, cancel_futures=True)
