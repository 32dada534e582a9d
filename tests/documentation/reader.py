"""A reader who types what a page says: its blocks are run as written, one after the other, in one folder."""

import contextlib
import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from code_blocks import CodeBlock
from hub_stub import TOKEN, HubStub
from stub import FOREIGN, KaggleStub

PROJECT = Path(__file__).parents[2]
CLONE = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "dfutils", "kaggle-metadata", "notebooks")
"""Files of the project that `dfutils publish` reads."""

OUTPUTS = ("--out", "--csv", "--frames-dir", "--explain", "--report")
"""Options that name a file or folder to be written."""

LIBRARY_LINES = re.compile(r"WARNING: All log messages|[IWEF]\d{4} |\d{4}-\d\d-\d\d [\d:.]+: [IWEF] ")
"""What TensorFlow, absl and CUDA write to a terminal; none of our commands lets it through."""

COMMAND = """#!{python}
# dfutils, but one file of backbone weights, which no test downloads, is replaced by random weights, crops are small by
# default, and the web page and the HTTP API use a free port.
import os
import sys

from dfutils import cli

sys.argv += ["--port", os.environ["READER_PORT"]] if sys.argv[1:2] in (["app"], ["serve"]) else []
sys.exit(cli.main())
"""

CUSTOMIZE = """# Imported by every Python that starts here, also by the workers of a cluster.
from dataclasses import replace

from dfutils import weights
from dfutils.settings import ExtractionSettings

weights.WEIGHT_FILES[{name!r}] = replace(weights.WEIGHT_FILES[{name!r}], checksum={checksum!r})
ExtractionSettings.model_fields["size"].default = {size}
ExtractionSettings.model_rebuild(force=True)
"""

SIZE = 96
"""Default side of the reader's crops in pixels: the networks need a tenth of the time for them. Where a page names
another size, that one is used."""


@dataclass
class Reader:
    """Someone at a terminal, in a folder.

    Attributes:
        folder: Working folder of the commands.
        done: Commands that pages have run in this folder: one that stands alone is not run again.
        environment: Environment of the commands.
        output: Output files of the notebook on Kaggle that is fetched, by name.
        names: Names that the Python blocks of the page have defined so far.
        preloaded: Folder of the preloaded ``dfutils``, put first on the path; None for the ordinary one.
    """

    folder: Path
    done: set[str]
    environment: dict[str, str]
    output: dict[str, bytes]
    names: dict = field(default_factory=dict)
    preloaded: Path | None = None

    def follow(self, block: CodeBlock) -> None:
        """Run a block; an `AssertionError` says what went wrong."""
        if block.needs == "server":
            with self._serving(block.place, "dfutils serve") as port:
                self.follow(replace(block, needs="", text=block.text.replace(":8000", f":{port}")))
        elif block.language == "python":
            with contextlib.chdir(self.folder):
                exec(compile(block.text, block.place, "exec"), self.names)
        elif block.needs == "install":
            self._check_installation(block)
        elif block.needs == "account":
            home = self.folder.parent / "home"
            with kaggle_account(home, self.output) as kaggle, hub_account(home) as hub:
                self._link_clone()
                self._type(block, block.text, kaggle | hub)
        elif block.needs == "cluster":
            with dask_cluster(self.environment) as address:
                self._type(block, re.sub(r"tcp://[^\s'\"]+", address, block.text))
        elif block.needs == "browser":
            with self._serving(block.place, block.text):
                pass
        elif block.language == "sh" and block.text.strip() not in self.done:
            self._type(block, block.text)
            self.done |= {line.strip() for line in block.text.splitlines()}

    def _type(self, block: CodeBlock, text: str, more: dict[str, str] | None = None) -> None:
        environment = self.environment | (more or {})
        if self.preloaded and block.needs != "account":  # clients read where their server is when they are imported
            environment["PATH"] = os.pathsep.join([str(self.preloaded), environment["PATH"]])
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", text],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        said = f"{block.place}: exit {done.returncode}\n{text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0, said
        noise = [line for line in done.stderr.splitlines() if LIBRARY_LINES.match(line)]
        assert not noise, f"{block.place}: {noise}\n{said}"
        words = shlex.split(text, comments=True)
        # `--explain` of one command takes a number.
        promised = [after for word, after in itertools.pairwise(words) if word in OUTPUTS and not after.isdigit()]
        missing = [name for name in promised if not (self.folder / name).exists()]
        assert not missing, f"{block.place}: {missing} were not written\n{said}"

    def _check_installation(self, block: CodeBlock) -> None:
        extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for line in block.text.replace("&&", "\n").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["make"]:
                subprocess.run([*words, "--dry-run"], cwd=PROJECT, check=True, capture_output=True)
            files = [after for word, after in itertools.pairwise(words) if word in ("-r", "-c")]
            assert all((PROJECT / name).is_file() for name in files), f"{block.place}: {line}"
            wanted = [name for names in re.findall(r"\[(.*?)\]", " ".join(words)) for name in names.split(",")]
            assert set(wanted) <= set(extras), f"{block.place}: {line}"

    @contextlib.contextmanager
    def _serving(self, place: str, command: str) -> Iterator[int]:
        """Yield the port of the page or API that a command serves, once it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        path = "/healthz" if " serve" in command else "/"
        with subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment | {"READER_PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as server:
            try:
                deadline = time.monotonic() + 120
                while not _answers(f"http://127.0.0.1:{port}{path}"):
                    assert server.poll() is None, f"{place}: ended\n{server.stdout.read()[-4000:]}"
                    assert time.monotonic() < deadline, f"{place}: {path} does not answer"
                    time.sleep(0.2)
                yield port
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)

    def _link_clone(self) -> None:
        for name in CLONE:
            with contextlib.suppress(FileExistsError):
                (self.folder / name).symlink_to(PROJECT / name)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def kaggle_account(home: Path, output: dict[str, bytes]) -> Iterator[dict[str, str]]:
    """Yield variables with which Kaggle's client is signed in to a stub; every notebook there has this output."""
    home.mkdir(exist_ok=True)
    server = KaggleStub()
    server.outputs = output
    pip = Path.home() / ".config" / "pip" / "pip.conf"  # pip looks for it in the home folder, which is another one now
    try:
        yield server.environment(home) | ({"PIP_CONFIG_FILE": str(pip)} if pip.is_file() else {})
    finally:
        server.close()


@contextlib.contextmanager
def hub_account(home: Path) -> Iterator[dict[str, str]]:
    """Yield variables with which huggingface_hub is signed in to a stub, and may be asked for what is there."""
    server = HubStub()
    own = {"HF_ENDPOINT": server.address, "HF_TOKEN": TOKEN, "HF_HOME": str(home / "hub"), "HF_HUB_DISABLE_XET": "1"}
    direct = f"127.0.0.1,localhost:{server.server.server_address[1]}"  # past the proxy that leads to Kaggle's stub
    online = {"DFUTILS_OFFLINE": "", "HF_HUB_OFFLINE": "0"}  # a test of the web page may have set it for this process
    try:
        yield own | online | {"NO_PROXY": direct, "no_proxy": direct}
    finally:
        server.close()


@contextlib.contextmanager
def dask_cluster(environment: dict[str, str]) -> Iterator[str]:
    """Yield the address of a scheduler with one worker, which has the reader's environment."""
    from distributed import LocalCluster

    own = {name: environment[name] for name in ("DFUTILS_WEIGHTS", "PYTHONPATH")}
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, env=own) as cluster:
        yield cluster.scheduler_address


def reader_environment(commands: Path, weights: Path) -> dict[str, str]:
    """Return the environment of a reader's terminal: this package, ``commands`` first on the path, no account."""
    silent = {"TF_CPP_MIN_LOG_LEVEL"}  # would hide what our commands have to
    kept = {name: value for name, value in os.environ.items() if name not in {*FOREIGN, *silent}}
    paths = [str(commands), str(Path(sys.executable).parent), kept["PATH"]]
    return kept | {
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": os.pathsep.join([str(commands), str(PROJECT), *filter(None, sys.path)]),
        "DFUTILS_WEIGHTS": str(weights),
        "DFUTILS_OFFLINE": "1",
    }


def write_command(commands: Path, *, weights_name: str, checksum: str) -> None:
    """Write the reader's ``dfutils``, which expects this checksum for the weights of this name and cuts small crops."""
    commands.mkdir()
    write_script(commands / "dfutils", COMMAND.format(python=sys.executable))
    (commands / "sitecustomize.py").write_text(CUSTOMIZE.format(name=weights_name, checksum=checksum, size=SIZE))


def write_script(path: Path, text: str) -> None:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)
