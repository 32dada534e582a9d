"""Resident memory of a process and its children, on Linux; 0 elsewhere."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def resident_megabytes(pid: int) -> float:
    """Of a process and all its children together."""
    return sum(map(_of_one, _tree(pid)))


def _tree(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in _tree(int(child)))]


def _of_one(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


class MemoryWatcher:
    """Highest resident memory of a process together with its children, sampled.

    Args:
        pid: Of the process.
        seconds: Between two looks.
    """

    def __init__(self, pid: int, *, seconds: float = 0.02) -> None:
        self._peak, self._pid, self._seconds, self._ended = 0.0, pid, seconds, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Megabytes."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds):
            self._peak = max(self._peak, resident_megabytes(self._pid))
