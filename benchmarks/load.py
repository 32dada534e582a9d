"""Twenty people at once on the web page, over real HTTP: what they get, how long it takes, what it costs.

``python -m benchmarks.load`` starts ``dfutils app`` on this machine, makes clips of 10 seconds, and lets every client
upload one and ask for a verdict at the same moment. ``--clip FILE`` takes a clip of yours, such as one of 1080p.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from dfutils.demo.clips import DemoSettings, make_demo_videos

START_SECONDS, ANSWER_SECONDS = 120, 600


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one client got.

    Attributes:
        what: ``verdict``, ``busy``, or what went wrong.
        seconds: Until then, from the start of the upload.
        saw_place: Whether it was told its place in line.
    """

    what: str
    seconds: float
    saw_place: bool


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--port", type=int, default=7869)
    parser.add_argument("--clip", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = [options.clip] if options.clip else _clips(Path(folder))
        command = [sys.executable, "-m", "dfutils", "app", "--port", str(options.port)]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{options.port}"
            usable = _wait_until_usable(address)
            first = ask(address, clips[0])
            watcher = _MemoryWatcher(server.pid)
            with ThreadPoolExecutor(options.clients) as pool:
                asked = [pool.submit(ask, address, clips[n % len(clips)]) for n in range(options.clients)]
                outcomes = [one.result() for one in asked]
            alone = ask(address, clips[0])
            watcher.stop()
            alive = server.poll() is None
        finally:
            server.terminate()
            server.wait(30)
    seconds = sorted(one.seconds for one in outcomes)
    result = {
        "clients": options.clients,
        "outcomes": dict(Counter(one.what for one in outcomes)),
        "told_their_place": sum(one.saw_place for one in outcomes),
        "seconds_to_answer": {
            "median": round(seconds[len(seconds) // 2], 1),
            "longest": round(seconds[-1], 1),
            "alone_and_warm": round(alone.seconds, 1),
            "first_after_start": round(first.seconds, 1),
        },
        "seconds_until_the_page_answers": round(usable, 1),
        "peak_resident_megabytes": {"server": round(watcher.server), "with_children": round(watcher.together)},
        "server_is_alive": alive,
    }
    print(json.dumps(result, indent=2))


def ask(address: str, clip: Path) -> Outcome:
    """Upload a clip and wait for what the page says of it."""
    start, saw_place, what = time.perf_counter(), False, "no answer"
    with httpx.Client(base_url=address, timeout=ANSWER_SECONDS, trust_env=False) as client:
        sent = client.post("/gradio_api/upload", files={"files": ("clip.mp4", clip.read_bytes())})
        if sent.status_code != httpx.codes.OK:
            what = "busy" if sent.status_code == httpx.codes.SERVICE_UNAVAILABLE else f"HTTP {sent.status_code}"
            return Outcome(what, time.perf_counter() - start, saw_place)
        events = {one["api_name"]: one["id"] for one in client.get("/config").json()["dependencies"]}
        session = uuid.uuid4().hex
        question = {"data": [{"path": sent.json()[0]}], "fn_index": events["look"], "session_hash": session}
        client.post("/gradio_api/queue/join", json=question).raise_for_status()
        with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                saw_place |= "in line" in line
                if '"process_completed"' in line:
                    what = "verdict" if "df-verdict" in line else "busy" if "Busy" in line else "error"
                    break
    return Outcome(what, time.perf_counter() - start, saw_place)


class _MemoryWatcher:
    """Highest resident memory of a process, and of it together with its children, sampled."""

    def __init__(self, pid: int) -> None:
        self.server = self.together = 0.0
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            own = _resident_megabytes(self._pid)
            self.server = max(self.server, own)
            self.together = max(self.together, own + sum(map(_resident_megabytes, _children(self._pid))))


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _resident_megabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def _clips(folder: Path) -> list[Path]:
    make_demo_videos(folder, settings=DemoSettings(people=2, seconds=10), progress=False)
    return sorted((folder / "videos").glob("*.mp4"))


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
