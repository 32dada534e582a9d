"""Twenty visitors at once on the web page, over real HTTP: what they receive, how long it takes, what it costs.

    python -m benchmarks.load

Figures go to ``results/load.json`` and ``.md``, targets to the JSON. The script starts ``dfutils app`` on this machine
and makes clips of 10 seconds: one of 1080p, whose verdict is timed alone, and small ones; every client uploads one of
those and asks for a verdict at the same moment. Afterwards one more client asks for heat maps, for which the server
loads TensorFlow, because memory peaks only then. Wall-clock times are reliable on a quiet machine only: the load
average before the start is recorded.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.extraction import SIZES, make_clip
from benchmarks.machine import QUIET_LOAD, describe_machine
from benchmarks.memory import MemoryWatcher
from benchmarks.targets import Figures, figures_table, target_lines, targets_document
from dfutils.demo.clips import make_demo_videos
from dfutils.demo.rendering import DemoSettings
from dfutils.files import write_json, write_text

CLIENTS = 20

FIGURES: Figures = {
    "answered": (f"visitors out of {CLIENTS} at once who received a verdict or “busy”", f"≥ {CLIENTS}"),
    "alone_1080p": ("verdict on 10 s of 1080p, one visitor, server warm, seconds", "≤ 4"),
    "start": ("from the command to a page that responds, seconds", "≤ 3"),
    "first": ("first verdict after the start, seconds", ""),
    "median": (f"verdict with {CLIENTS} visitors at once, median, seconds", ""),
    "longest": ("the same, slowest", ""),
    "heat": ("first heat maps after that, including the verdict, seconds", ""),
    "megabytes": ("peak memory of the server and its decoder, including heat maps, MB", "≤ 3000"),
}

START_SECONDS, ANSWER_SECONDS = 120, 600


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one client got.

    Attributes:
        what: ``verdict``, ``heat maps``, ``busy``, or what went wrong.
        seconds: Until then, from the start of the upload.
        saw_place: Whether it saw its position in the queue.
    """

    what: str
    seconds: float
    saw_place: bool


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=7869)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large = make_clip(Path(folder) / "1080p.mp4", SIZES["1080p"])
        make_demo_videos(Path(folder), settings=DemoSettings(people=2, seconds=10), progress=False)
        load = round(os.getloadavg()[0], 1)
        result = measure(options.port, large, sorted((Path(folder) / "videos").glob("*.mp4")))
    about = {"machine": describe_machine(), "load_before": load, "targets": targets_document(FIGURES)}
    write_json(options.out / "load.json", {**about, **result})
    write_text(options.out / "load.md", table(result["figures"], load))
    print(target_lines(result["figures"], FIGURES))


def table(figures: Mapping[str, float], load: float) -> str:
    """The figures, and how busy the machine was."""
    state = f"a busy machine (load {load:g})" if load > QUIET_LOAD else "a quiet machine"
    return f"{figures_table(figures, FIGURES)}\nWall-clock times on two cores of {state}.\n"


def measure(port: int, large: Path, clips: Sequence[Path]) -> dict[str, Any]:
    """Start the page, ask alone, then all at once, then for heat maps.

    Args:
        port: A free one.
        large: The clip that is timed alone.
        clips: Those of the crowd.

    Raises:
        SystemExit: The page does not start.
    """
    server = subprocess.Popen([sys.executable, "-m", "dfutils", "app", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        start = _wait_until_usable(address)
        first, alone = ask(address, clips[0]), ask(address, large)
        watcher = MemoryWatcher(server.pid, seconds=0.2)
        with ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(ask, address, clips[n % len(clips)]) for n in range(CLIENTS)]
            outcomes = [one.result() for one in asked]
        heat = ask(address, clips[0], heat_maps=True)
        peak = watcher.stop()
        is_alive = server.poll() is None
    finally:
        server.terminate()
        server.wait(30)
    seconds = sorted(one.seconds for one in outcomes)
    figures = {
        "answered": sum(one.what in {"verdict", "busy"} for one in outcomes),
        "alone_1080p": round(alone.seconds, 1),
        "start": round(start, 1),
        "first": round(first.seconds, 1),
        "median": round(seconds[len(seconds) // 2], 1),
        "longest": round(seconds[-1], 1),
        "heat": round(heat.seconds, 1),
        "megabytes": round(peak),
    }
    return {
        "figures": figures,
        "outcomes": dict(Counter(one.what for one in outcomes)),
        "alone": alone.what,
        "heat_maps": heat.what,
        "told_their_place": sum(one.saw_place for one in outcomes),
        "server_is_alive": is_alive,
    }


def ask(address: str, clip: Path, *, heat_maps: bool = False) -> Outcome:
    """Upload a clip and wait for what the page says of it; then for the heat maps, if they are wanted."""
    start = time.perf_counter()
    with httpx.Client(base_url=address, timeout=ANSWER_SECONDS, trust_env=False) as client:
        sent = client.post("/gradio_api/upload", files={"files": ("clip.mp4", clip.read_bytes())})
        if sent.status_code != httpx.codes.OK:
            what = "busy" if sent.status_code == httpx.codes.SERVICE_UNAVAILABLE else f"HTTP {sent.status_code}"
            return Outcome(what, time.perf_counter() - start, saw_place=False)
        visit = _Visit(client)
        said = visit.click("examine", {"path": sent.json()[0]})
        what = "verdict" if "df-verdict" in said[-1] else "busy" if "Busy" in said[-1] else "error"
        if heat_maps and what == "verdict":
            # The session's last answer lies on the server; nothing of it is sent.
            what = "heat maps" if "Heat map over face" in visit.click("heat", None)[-1] else "no heat maps"
    return Outcome(what, time.perf_counter() - start, any("in the queue" in line for line in said))


class _Visit:
    """One open page: what is clicked on it shares a session."""

    def __init__(self, client: httpx.Client) -> None:
        self._client, self._session = client, uuid.uuid4().hex
        self._events = {one["api_name"]: one["id"] for one in client.get("/config").json()["dependencies"]}

    def click(self, event: str, value: object) -> list[str]:
        """What the page is told, line by line, until the event is over; a last empty line if it never is."""
        question = {"data": [value], "fn_index": self._events[event], "session_hash": self._session}
        self._client.post("/gradio_api/queue/join", json=question).raise_for_status()
        said = []
        with self._client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self._session}) as stream:
            for line in stream.iter_lines():
                said.append(line)
                if '"process_completed"' in line:
                    return said
        return [*said, ""]


def _wait_until_usable(address: str) -> float:
    start = time.perf_counter()
    while time.perf_counter() - start < START_SECONDS:
        try:
            if httpx.get(address, trust_env=False).status_code == httpx.codes.OK:
                return time.perf_counter() - start
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("The page did not start.")


if __name__ == "__main__":
    main()
