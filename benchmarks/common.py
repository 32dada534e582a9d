"""What the scripts share: their options, figures with targets, results files, timing, and the machine they ran on."""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dfutils.files import read_json, write_json, write_text
from dfutils.statistics.formatting import rate_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RESEARCH_RESULTS = ROOT / "research" / "results"

QUIET_LOAD = 0.5
"""Load average above which wall-clock times are upper bounds only."""

Figures: TypeAlias = Mapping[str, tuple[str, str]]
"""Description and target of each figure; the target, such as ``≤ 1.35``, is empty where none was set."""


def script_parser(doc: str | None, *, out: Path = RESULTS, parts: Iterable[str] = ()) -> argparse.ArgumentParser:
    """Return a parser with ``--out`` and, for a script whose parts can be measured alone, ``--only``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=out, help="folder for the results (default: %(default)s)")
    if parts:
        parser.add_argument(
            "--only", choices=parts, action="append", help="measure this part and keep the other figures; repeatable"
        )
    return parser


def earlier_figures(out: Path, name: str, *, only: object) -> dict[str, Any]:
    """Return the figures of the last run if only some parts are measured again, else none."""
    path = out / f"{name}.json"
    figures: dict[str, Any] = read_json(path).get("figures", {}) if only and path.is_file() else {}
    return figures


def write_results(out: Path, name: str, document: Mapping[str, Any], table: str) -> None:
    """Write ``NAME.json``, to which the machine is added, and ``NAME.md``."""
    write_json(out / f"{name}.json", {"machine": describe_machine(), **document})
    write_text(out / f"{name}.md", table)


def figures_table(measured: Mapping[str, float], figures: Figures) -> str:
    """Return the measured figures as a Markdown table, without targets."""
    rows = [f"| {words} | {rounded(measured[key])} |" for key, (words, _) in figures.items() if key in measured]
    return "\n".join(["| | measured |", "|---|---|", *rows]) + "\n"


def target_lines(measured: Mapping[str, float], figures: Figures) -> str:
    """Return the measured figures beside their targets, for the script to print."""
    lines = [
        f"{words}: {rounded(measured[key])} (target {target})"
        for key, (words, target) in figures.items()
        if key in measured and target
    ]
    return "\n".join(lines)


def targets_document(figures: Figures) -> dict[str, str]:
    """Return the target of each figure that has one, for the script's JSON."""
    return {key: target for key, (_, target) in figures.items() if target}


def rounded(value: float) -> str:
    """Format with two decimals below a hundred, and none above or for a whole number.

    Example:
        >>> rounded(1.347), rounded(489.8), rounded(2050), rounded(20.0)
        ('1.35', '490', '2,050', '20')
    """
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.2f}"


def with_interval(
    estimate: Mapping[str, float | None] | None, *, sign: str = "", missing: str = "–", is_share: bool = False
) -> str:
    """Format ``{"value", "low", "high"}``, shares as percentages; ``sign="+"`` writes plus signs too.

    Example:
        >>> with_interval({"value": -0.02, "low": -0.04, "high": 0.01}, sign="+")
        '−0.02 (−0.04 to +0.01)'
        >>> with_interval({"value": 0.53, "low": 0.0025, "high": 0.59}, is_share=True)
        '53 % (0.25 to 59 %)'
    """
    if estimate is None or estimate["value"] is None:
        return missing

    def shown(number: float) -> str:
        return rate_text(number).replace("\xa0", " ") if is_share else f"{number:{sign}.2f}".replace("-", "−")

    numbers = [estimate[key] for key in ("value", "low", "high")]
    value, *interval = [shown(number) for number in numbers if number is not None]
    if len(interval) < 2:
        return value
    low, high = interval
    return f"{value} ({low.removesuffix(' %')} to {high})"


def wall_seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of a call in this process, without its children."""
    started = time.process_time()
    work()
    return time.process_time() - started


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a command with all its children: wall-clock and CPU time in seconds, peak resident memory in MB."""

    wall: float
    cpu: float
    megabytes: float


def command_cost(*arguments: str) -> Cost:
    """Run ``python ARGUMENTS`` and return its cost; the memory is 0 except on Linux.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    command = [sys.executable, *arguments]
    before, started = os.times(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    watcher = MemoryWatcher(process.pid)
    code = process.wait()
    wall, after = time.perf_counter() - started, os.times()
    peak = watcher.stop()
    if code:
        raise subprocess.CalledProcessError(code, command)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, cpu, peak)


class MemoryWatcher:
    """Sample the resident memory of a process and its children, on Linux; elsewhere the peak is 0.

    Args:
        pid: Process ID.
        seconds: Time between two samples.
    """

    def __init__(self, pid: int, *, seconds: float = 0.02) -> None:
        self._peak, self._pid, self._seconds, self._ended = 0.0, pid, seconds, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Stop sampling and return the peak in MB."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds):
            self._peak = max(self._peak, _resident_megabytes(self._pid))


def _resident_megabytes(pid: int) -> float:
    """Sum over a process and its descendants; what has ended meanwhile counts nothing."""
    total, children = 0.0, list[int]()
    with suppress(OSError, IndexError):
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                children += map(int, (task / "children").read_text().split())
    return total + sum(map(_resident_megabytes, children))


def describe_machine() -> dict[str, object]:
    """Return processor, cores, memory, system and Python version."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.is_file() else None
    knows_memory = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if knows_memory else 0
    return {
        "processor": model[1] if model else platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
