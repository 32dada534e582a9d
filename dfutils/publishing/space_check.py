"""A staged Space, started once in a fresh virtual environment, from a copy of its folder and nothing else."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dfutils.errors import PublishError
from dfutils.publishing.package import index_is_reachable, run_pip

logger = logging.getLogger(__name__)

START_SECONDS, ANSWER_SECONDS, END_SECONDS = 180.0, 300.0, 20.0
POLL_SECONDS = 0.2
EVENT = "made_up_person"
"""The page's own first example, whose verdict needs the package, the detector, its engine and the face detector."""

_KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""Of the environment, which may otherwise hold what the folder lacks."""
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class SpaceCheck:
    """What a staged Space did.

    Attributes:
        python: Version that it ran on.
        install_seconds: Until its requirements were installed.
        page_seconds: From its start until the page answered.
        verdict_seconds: From the question until the verdict on the page's own example.
    """

    python: str
    install_seconds: float
    page_seconds: float
    verdict_seconds: float

    def line(self) -> str:
        """The same in words."""
        return (
            f"Checked in a fresh environment (Python {self.python}): installed in {self.install_seconds:.0f} s, the "
            f"page answered after {self.page_seconds:.0f} s and gave a verdict on its own example after "
            f"{self.verdict_seconds:.0f} s more."
        )


def check_space(
    staged: Path, *, start_seconds: float = START_SECONDS, answer_seconds: float = ANSWER_SECONDS
) -> SpaceCheck:
    """Install a staged Space's requirements where nothing else is, start it, and ask it for a verdict.

    Everything happens in a temporary folder, which is gone afterwards, as is the process.

    Args:
        staged: As `dfutils.publishing.space.stage_space` leaves it.
        start_seconds: For the page to answer.
        answer_seconds: For the verdict.

    Raises:
        PublishError: Its requirements cannot be installed, or it does not start, or gives no verdict.
    """
    with tempfile.TemporaryDirectory(prefix="dfutils-space-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        shutil.copytree(staged, folder / "space")
        started = time.perf_counter()
        python = _make_environment(folder)
        installed = time.perf_counter()
        with _running(folder, python, start_seconds) as address:
            shown = time.perf_counter()
            _ask(address, answer_seconds, folder)
            answered = time.perf_counter()
    return SpaceCheck(sys.version.split()[0], installed - started, shown - installed, answered - shown)


def _make_environment(folder: Path) -> Path:
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    logger.info("Installing the Space's requirements in a fresh environment: 2 GB and some minutes")
    try:
        run_pip("install", "--requirement", str(folder / "space" / "requirements.txt"), python=python)
    except PublishError as error:
        if index_is_reachable():
            raise
        raise PublishError(
            "The Space was staged and not checked: the package index cannot be reached, from which the check installs. "
            "Try again with the network, or skip the check with --no-check."
        ) from error
    return python


@contextlib.contextmanager
def _running(folder: Path, python: Path, seconds: float) -> Iterator[str]:
    """The address of the running Space, once its page answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "temporary").mkdir()
    own = {"GRADIO_SERVER_NAME": "127.0.0.1", "PORT": str(port), "HOME": str(folder)}
    own |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder / "temporary"))
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | own
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            [str(python), "app.py"],
            cwd=folder / "space",
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for_page(address, server, seconds, folder)
        yield address
    finally:
        _end(server)


def _wait_for_page(address: str, server: subprocess.Popen[bytes], seconds: float, folder: Path) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            why = f"exit code {server.returncode}: {_last_words(folder)}"
            raise PublishError(f"The staged Space ended before it showed its page ({why}).")
        with contextlib.suppress(OSError), _WITHOUT_PROXY.open(address, timeout=seconds) as answer:
            if answer.status == 200:
                return
        time.sleep(POLL_SECONDS)
    raise PublishError(f"The staged Space showed no page within {seconds:g} s: {_last_words(folder)}.")


def _ask(address: str, seconds: float, folder: Path) -> None:
    """Click on an example, as a visitor does, and wait for its verdict."""
    try:
        last = _answer(address, seconds)
    except (OSError, ValueError, KeyError) as error:
        raise PublishError(f"The staged Space gave no answer ({error}): {_last_words(folder)}.") from error
    if "df-verdict" not in last:
        raise PublishError(f"The staged Space shows its page and gives no verdict: {_last_words(folder)}.")


def _answer(address: str, seconds: float) -> str:
    end, session = time.monotonic() + seconds, uuid.uuid4().hex
    with _WITHOUT_PROXY.open(f"{address}/config", timeout=seconds) as answer:
        numbers = {one["api_name"]: one["id"] for one in json.load(answer)["dependencies"]}
    question = {"data": [], "fn_index": numbers[EVENT], "session_hash": session}
    joining = urllib.request.Request(
        f"{address}/gradio_api/queue/join", json.dumps(question).encode(), {"content-type": "application/json"}
    )
    _WITHOUT_PROXY.open(joining, timeout=seconds).close()
    with _WITHOUT_PROXY.open(f"{address}/gradio_api/queue/data?session_hash={session}", timeout=seconds) as stream:
        for line in stream:
            if b'"process_completed"' in line:
                return str(line, "utf-8")
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds:g} s")
    return ""


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if hasattr(os, "killpg"):  # whatever it started has its group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, signal.SIGKILL)


def _last_words(folder: Path) -> str:
    lines = [line.strip() for line in (folder / "log.txt").read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it said nothing"
