"""Measure the web page with twenty visitors at once, over real HTTP: answers, times and memory.

    python -m benchmarks.load

Figures go to ``results/load.json`` and ``.md``, targets to the JSON. The script starts ``dfutils app`` on this machine
and makes clips of 10 seconds: one of 1080p, whose verdict is timed alone, and small ones; every client uploads one of
those and asks for a verdict at the same moment. Afterwards one more client asks for heat maps, for which the server
loads TensorFlow, because memory peaks only then. Wall-clock times are reliable on a quiet machine only: the load
average before the start is recorded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.common import (
    QUIET_LOAD,
    Figures,
    MemoryWatcher,
    figures_table,
    script_parser,
    target_lines,
    targets_document,
    write_results,
)
from benchmarks.extraction import SIZES, make_clip
from dfutils.demo.clips import make_demo_videos
from dfutils.demo.rendering import DemoSettings

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
    """What one client received.

    Attributes:
        what: ``verdict``, ``heat maps``, ``busy``, or what went wrong.
        seconds: Time from the start of the upload to the answer.
        saw_place: Whether the page showed the visitor's place in the queue.
    """

    what: str
    seconds: float
    saw_place: bool


@dataclass(frozen=True, slots=True)
class App:
    """A web page that is being served.

    Attributes:
        process: The server.
        address: Its URL.
        start_seconds: Time from the command to the first response.
    """

    process: subprocess.Popen[bytes]
    address: str
    start_seconds: float


@contextmanager
def running_app(port: int) -> Iterator[App]:
    """Serve ``dfutils app`` on a free port until the end of the block.

    Raises:
        SystemExit: The page did not respond in time.
    """
    address, started = f"http://127.0.0.1:{port}", time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "dfutils", "app", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < START_SECONDS:
            try:
                if httpx.get(address, trust_env=False).status_code == httpx.codes.OK:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise SystemExit("The page did not start.")
        yield App(server, address, time.perf_counter() - started)
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    """Command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--port", type=int, default=7869, help="free port (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large = make_clip(Path(folder) / "1080p.mp4", SIZES["1080p"])
        make_demo_videos(Path(folder), settings=DemoSettings(people=2, seconds=10), progress=False)
        load = round(os.getloadavg()[0], 1)
        result = measure(options.port, large, sorted((Path(folder) / "videos").glob("*.mp4")))
    document = {"load_before": load, "targets": targets_document(FIGURES), **result}
    write_results(options.out, "load", document, table(result["figures"], load))
    print(target_lines(result["figures"], FIGURES))


def table(figures: Mapping[str, float], load: float) -> str:
    """Return the figures and how busy the machine was, as Markdown."""
    state = f"a busy machine (load {load:g})" if load > QUIET_LOAD else "a quiet machine"
    return f"{figures_table(figures, FIGURES)}\nWall-clock times on two cores of {state}.\n"


def measure(port: int, large: Path, clips: Sequence[Path]) -> dict[str, Any]:
    """Measure one visitor, then all at once, then heat maps.

    Args:
        port: A free port.
        large: The clip whose verdict is timed alone.
        clips: The clips that the visitors upload.
    """
    with running_app(port) as app:
        first, alone = ask(app.address, clips[0]), ask(app.address, large)
        watcher = MemoryWatcher(app.process.pid, seconds=0.2)
        with ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(ask, app.address, clips[n % len(clips)]) for n in range(CLIENTS)]
            outcomes = [one.result() for one in asked]
        heat = ask(app.address, clips[0], heat_maps=True)
        peak = watcher.stop()
        is_alive = app.process.poll() is None
    seconds = sorted(one.seconds for one in outcomes)
    figures = {
        "answered": sum(one.what in {"verdict", "busy"} for one in outcomes),
        "alone_1080p": round(alone.seconds, 1),
        "start": round(app.start_seconds, 1),
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
    """Upload a clip and wait for the verdict, then for the heat maps if they are asked for."""
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
            # The server keeps the session's last answer, so nothing is sent.
            what = "heat maps" if "Heat map over face" in visit.click("heat", None)[-1] else "no heat maps"
    return Outcome(what, time.perf_counter() - start, any("in the queue" in line for line in said))


class _Visit:
    """One open page, whose clicks share a session."""

    def __init__(self, client: httpx.Client) -> None:
        self._client, self._session = client, uuid.uuid4().hex
        self._events = {one["api_name"]: one["id"] for one in client.get("/config").json()["dependencies"]}

    def click(self, event: str, value: object) -> list[str]:
        """Return the lines sent to the page until the event is over; an empty last line if it never ends."""
        question = {"data": [value], "fn_index": self._events[event], "session_hash": self._session}
        self._client.post("/gradio_api/queue/join", json=question).raise_for_status()
        said = []
        with self._client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self._session}) as stream:
            for line in stream.iter_lines():
                said.append(line)
                if '"process_completed"' in line:
                    return said
        return [*said, ""]


if __name__ == "__main__":
    main()
