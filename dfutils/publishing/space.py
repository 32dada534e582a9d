"""Stage the web page as a folder that a Hugging Face Space runs, and check it in a fresh environment.

The folder holds a short start script, pinned requirements and the package's wheel, nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
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
from dataclasses import dataclass
from pathlib import Path

from dfutils.errors import PublishError
from dfutils.files import writing_error
from dfutils.publishing.package import build_wheel, index_is_reachable, run_pip

logger = logging.getLogger(__name__)

TEMPLATES = ("app.py", "README.md", "packages.txt")
"""Files of ``space/``; ``requirements.txt`` is made from the project's constraints."""
NEEDED = (
    *(
        "av",
        "c2pa-python",
        "fastapi",
        "gradio",
        "h5py",
        "joblib",
        "keras",
        "numpy",
        "opencv-python",
        "openvino",
        "pandas",
        "pillow",
    ),
    *("pillow-heif", "pydantic", "python-multipart", "scikit-learn", "starlette", "tensorflow", "tqdm", "uvicorn"),
)
"""What the page imports, by the names in ``constraints.txt``. Starlette, which the page's guard uses, and uvicorn are
listed because Gradio would otherwise choose their versions."""

START_SECONDS, ANSWER_SECONDS, END_SECONDS = 180.0, 300.0, 20.0
POLL_SECONDS = 0.2
EVENT = "made_up_person"
"""The page's own first example. Its verdict needs the package, the detector, its engine and the face detector."""

_KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""Environment variables that the check passes on; others could hide that the folder lacks something."""
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def stage_space(project: Path, staging: Path) -> dict[str, int]:
    """Stage app, header, pinned requirements and wheel, replacing an earlier staging; return the sizes.

    Raises:
        PublishError: The project is incomplete, a pin is missing, or ``staging`` holds something else.
        DatasetError: ``staging`` cannot be written.
    """
    templates = [project / "space" / name for name in TEMPLATES]
    missing = [path for path in (*templates, project / "constraints.txt") if not path.is_file()]
    if missing:
        raise PublishError(f"{missing[0]}: is missing. Name the project's folder.")
    header = staging / "README.md"
    is_ours = header.is_file() and "sdk: gradio" in header.read_text(encoding="utf-8", errors="replace")
    if staging.exists() and not is_ours and (not staging.is_dir() or any(staging.iterdir())):
        raise PublishError(f"{staging}: holds something other than a staged Space. Choose another folder (--staging).")
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(project, Path(scratch))
        pins = pinned_versions((project / "constraints.txt").read_text(encoding="utf-8"))
        requirements = "".join(f"{name}=={version}\n" for name, version in pins.items())
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            for path in (*templates, wheel):
                shutil.copyfile(path, staging / path.name)
            (staging / "requirements.txt").write_text(requirements, encoding="utf-8")
            # The header names the Gradio that the Space's builder installs.
            text, version = header.read_text(encoding="utf-8"), f"sdk_version: {pins['gradio']}"
            header.write_text(re.sub(r"^sdk_version: .*$", version, text, flags=re.MULTILINE), encoding="utf-8")
        except OSError as error:
            raise writing_error(staging, error) from error
    return {path.name: path.stat().st_size for path in sorted(staging.iterdir())}


def pinned_versions(constraints: str) -> dict[str, str]:
    """Return the tested version of every package that a Space needs; `PublishError` if one is not pinned."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", constraints, re.MULTILINE))
    if unpinned := [name for name in NEEDED if name not in pins]:
        raise PublishError(f"constraints.txt: does not pin {unpinned[0]}, which the Space needs. Pin a tested version.")
    return {name: pins[name] for name in NEEDED}


@dataclass(frozen=True, slots=True)
class SpaceCheck:
    """How long a staged Space took, in seconds: to install, to show its page, and to give a verdict on its example."""

    python: str
    install_seconds: float
    page_seconds: float
    verdict_seconds: float

    def line(self) -> str:
        """Return the times in one sentence."""
        return (
            f"Checked in a fresh environment (Python {self.python}): installed in {self.install_seconds:.0f} s, the "
            f"page answered after {self.page_seconds:.0f} s and gave a verdict on its own example after "
            f"{self.verdict_seconds:.0f} s more."
        )


def check_space(
    staged: Path, *, start_seconds: float = START_SECONDS, answer_seconds: float = ANSWER_SECONDS
) -> SpaceCheck:
    """Install a staged Space's requirements in an empty environment, start it, and ask it for a verdict.

    Everything happens in a temporary folder, which is deleted afterwards; the process is ended, too.

    Raises:
        PublishError: Its requirements cannot be installed, it does not start in time, or it gives no verdict in time.
    """
    with tempfile.TemporaryDirectory(prefix="dfutils-space-", ignore_cleanup_errors=True) as scratch:
        folder, log = Path(scratch), Path(scratch, "log.txt")
        shutil.copytree(staged, folder / "space")
        (folder / "temporary").mkdir()
        times = [time.perf_counter()]
        logger.info("Installing the Space's requirements in a fresh environment: 2 GB and some minutes")
        venv.create(folder / "environment", with_pip=False, symlinks=os.name != "nt")
        python = folder / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        try:
            run_pip("install", "--requirement", str(folder / "space" / "requirements.txt"), python=python)
        except PublishError as error:
            if index_is_reachable():
                raise
            raise PublishError(
                "The Space was staged but not checked: the package index, from which the check installs, cannot be "
                "reached. Try again with the network, or skip the check with --no-check."
            ) from error
        times.append(time.perf_counter())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        own = {"GRADIO_SERVER_NAME": "127.0.0.1", "PORT": port, "HOME": scratch}
        own |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder / "temporary"))
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | own
        command, cwd = [str(python), "app.py"], folder / "space"
        with log.open("wb") as file:
            server = subprocess.Popen(
                command, cwd=cwd, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        try:
            _wait_for_page(f"http://127.0.0.1:{port}", server, start_seconds, log)
            times.append(time.perf_counter())
            _ask_for_verdict(f"http://127.0.0.1:{port}", answer_seconds, log)
            times.append(time.perf_counter())
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(END_SECONDS)
            server.kill()
            server.wait()
            if hasattr(os, "killpg"):  # ends the processes that it started, which are in its group
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(server.pid, signal.SIGKILL)
    return SpaceCheck(sys.version.split()[0], *(after - before for before, after in itertools.pairwise(times)))


def _wait_for_page(address: str, server: subprocess.Popen[bytes], seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            why = f"exit code {server.returncode}: {_last_line(log)}"
            raise PublishError(f"The staged Space ended before it showed its page ({why}).")
        with contextlib.suppress(OSError), _WITHOUT_PROXY.open(address, timeout=seconds) as answer:
            if answer.status == 200:
                return
        time.sleep(POLL_SECONDS)
    raise PublishError(f"The staged Space showed no page within {seconds:g} s: {_last_line(log)}.")


def _ask_for_verdict(address: str, seconds: float, log: Path) -> None:
    """Click on an example, as a visitor does, and wait for its verdict."""
    end, session, completed = time.monotonic() + seconds, uuid.uuid4().hex, ""
    try:
        with _WITHOUT_PROXY.open(f"{address}/config", timeout=seconds) as answer:
            numbers = {one["api_name"]: one["id"] for one in json.load(answer)["dependencies"]}
        question = json.dumps({"data": [], "fn_index": numbers[EVENT], "session_hash": session}).encode()
        queue, kind = f"{address}/gradio_api/queue", {"content-type": "application/json"}
        _WITHOUT_PROXY.open(urllib.request.Request(f"{queue}/join", question, kind), timeout=seconds).close()
        with _WITHOUT_PROXY.open(f"{queue}/data?session_hash={session}", timeout=seconds) as stream:
            for line in stream:
                if b'"process_completed"' in line:
                    completed = str(line, "utf-8")
                    break
                if time.monotonic() > end:
                    raise TimeoutError(f"not within {seconds:g} s")
    except (OSError, ValueError, KeyError) as error:
        raise PublishError(f"The staged Space gave no answer ({error}): {_last_line(log)}.") from error
    if "df-verdict" not in completed:
        raise PublishError(f"The staged Space shows its page but gives no verdict: {_last_line(log)}.")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it printed nothing"
