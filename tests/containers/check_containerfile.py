"""Follow the Containerfile without a container engine: install in a fresh folder, then predict in a sandbox.

``python tests/containers/check_containerfile.py [--python python3.12]`` needs pip's index. RUN, COPY, ENV and WORKDIR
are followed in order, with a virtual environment in place of the image's Python. Then a picture is examined by an
unprivileged user, where the system allows it without a network and with nothing but /tmp to write to.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from containerfile import Instruction, last, read_containerfile

PROJECT = Path(__file__).parents[2]
MOST_MEGABYTES = 600
PLACE = "/var/tmp"
"""The fresh folder is made here: /tmp is empty and writable in the sandbox."""

PROBE = """
import os, socket, sys, tempfile
found = {"uid": os.getuid()}
try:
    socket.create_connection(("1.1.1.1", 443), timeout=3).close()
    found["network"] = "reachable"
except OSError as error:
    found["network"] = f"unreachable ({error.strerror or error})"
package = os.path.dirname(__import__("dfutils").__file__)
for name, place in (("package", package), ("data", os.getcwd()), ("tmp", "/tmp")):
    try:
        with tempfile.TemporaryFile(dir=place):
            found[name] = "writable"
    except OSError as error:
        found[name] = f"not writable ({error.strerror})"
print(__import__("json").dumps(found))
"""


class Builder:
    """A fresh folder in which instructions are followed.

    Attributes:
        folder: Holds the Python, its virtual environment, and a folder for each WORKDIR.
        environment: ENV, and the PATH of the virtual environment.
    """

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.workdir = folder, folder
        base = Path(said([python, "-c", "import sys; print(sys.base_prefix)"]))
        if any(not parent.stat().st_mode & 0o001 for parent in (base, *base.parents)):  # not for other users
            ignored = shutil.ignore_patterns(
                "site-packages", "test", "__pycache__", "*.a", "share", "idlelib", "tkinter"
            )
            shutil.copytree(base, folder / "base", symlinks=True, ignore=ignored)
            base = folder / "base"
        self.base = base
        version = said([python, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"])
        self.environment = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": str(base / "lib")}
        subprocess.run([base / "bin" / version, "-m", "venv", folder / "venv"], check=True, env=self.environment)
        self.environment["PATH"] = f"{folder / 'venv' / 'bin'}:{self.environment['PATH']}"

    def follow(self, one: Instruction) -> None:
        """Follow an instruction that changes the image; the others say how it is run."""
        if one.name == "ENV":
            self.environment |= dict(word.split("=", 1) for word in one.words)
        elif one.name == "WORKDIR":
            self.workdir = self.folder / one.text.lstrip("/")
            self.workdir.mkdir(parents=True, exist_ok=True)
        elif one.name == "COPY":
            *sources, target = one.words
            for source in sources:
                place = self.workdir / target if target in (".", "./") else self.workdir
                self._copy(PROJECT / source, place / (source if target in (".", "./") else target))
        elif one.name == "RUN":
            say(f"RUN {one.text[:100]}")
            # pip may use the index that this machine is set up for.
            kept = {name: os.environ[name] for name in os.environ if name.upper().startswith(("PIP_", "HTTP", "SSL"))}
            command, environment = ["sh", "-c", one.text], {**kept, **self.environment}
            subprocess.run(command, check=True, cwd=self.workdir, env=environment, stdout=subprocess.DEVNULL)

    def _copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)


def say(text: str) -> None:
    """Print at once, between the lines of other programs."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def said(command: list[str]) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def megabytes(folder: Path) -> float:
    """Return the size of the files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def sandbox(user: str) -> tuple[list[str], str]:
    """Return what a command is put behind, and what that takes from it, as far as this machine allows."""
    alone = "mount -o remount,ro,bind / && mount -t tmpfs tmpfs /tmp && "
    number, _, group = user.partition(":")
    drop = f"setpriv --reuid {number} --regid {group} --clear-groups --no-new-privs --bounding-set -all "
    for wrapper, words in (
        (["unshare", "-n", "-m", "sh", "-c", f'{alone}exec {drop}"$@"', "sh"], "no network, read-only, /tmp in memory"),
        (["unshare", "-n", "sh", "-c", f'exec {drop}"$@"', "sh"], "no network, but not read-only"),
        (["sh", "-c", f'exec {drop}"$@"', "sh"], "network cut off by DFUTILS_OFFLINE and dead proxies only"),
    ):
        if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode == 0:
            return wrapper, f"{words}; user {user}"
    return [], "this machine allows no sandbox: as this user, with the network, DFUTILS_OFFLINE and dead proxies"


def main() -> None:
    """Build, measure and predict; exit with 1 if anything is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="python3.12", help="as in the image (default: %(default)s)")
    options = parser.parse_args()
    instructions = read_containerfile(PROJECT / "Containerfile")
    python = options.python if shutil.which(options.python) else sys.executable
    with tempfile.TemporaryDirectory(prefix="dfutils-container-", dir=PLACE) as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.umask(0o022)
        builder = Builder(folder, python)
        before = megabytes(folder / "venv")
        for one in instructions:
            builder.follow(one)
        installed = megabytes(folder / "venv") + megabytes(folder / "build") - before
        say(f"{said([str(folder / 'venv/bin/python'), '--version'])}: {installed:.0f} MB installed beside it")
        say("\n".join(largest(folder / "venv")))
        package = next(folder.glob("venv/lib/python*/site-packages/dfutils"))
        shutil.copy(package / "app" / "templates" / "forged_face.jpg", builder.workdir / "picture.jpg")
        wrapper, words = sandbox(last(instructions, "USER").text)
        environment = {**builder.environment, **dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")}

        def run(*command: str) -> str:
            done = subprocess.run(
                [*wrapper, *command], cwd=builder.workdir, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"{shlex.join(command)[:80]}: exit code {done.returncode}\n{done.stderr[-2000:]}")
            return done.stdout

        found = json.loads(run("python", "-c", PROBE))
        say(f"Sandbox: {words}\n  {found}")
        start = last(instructions, "ENTRYPOINT").words
        assert "usage: dfutils" in run(*start, *last(instructions, "CMD").words)
        document = json.loads(run(*start, "predict", "picture.jpg", "--json"))
        (verdict,) = document["verdicts"]
        say(f"Verdict: {verdict['label']} {verdict['fake_probability']:.3f} by {document['detector']['name']}")
        faults = [
            f"{installed:.0f} MB are more than {MOST_MEGABYTES}" if installed > MOST_MEGABYTES else "",
            "TensorFlow was installed" if list(folder.glob("venv/lib/*/site-packages/tensorflow")) else "",
            "no face was scored" if not verdict["tracks"] else "",
            "the package can be written to" if wrapper and found["package"] == "writable" else "",
            "the network was reachable" if "unshare" in wrapper and found["network"] == "reachable" else "",
            "it ran as root" if wrapper and found["uid"] == 0 else "",
        ]
        if any(faults):
            raise SystemExit("; ".join(filter(None, faults)))


def largest(venv: Path, count: int = 6) -> list[str]:
    """Return the largest packages, a line each."""
    (site,) = venv.glob("lib/python*/site-packages")
    sizes = sorted(((megabytes(one), one.name) for one in site.iterdir() if one.is_dir()), reverse=True)
    return [f"  {size:5.0f} MB {name}" for size, name in sizes[:count]]


if __name__ == "__main__":
    main()
