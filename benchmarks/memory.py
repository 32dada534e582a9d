"""Resident memory of a process and its children, on Linux; 0 elsewhere."""

from __future__ import annotations

import os
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
