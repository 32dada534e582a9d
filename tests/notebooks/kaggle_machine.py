"""A notebook's machine on Kaggle, imitated by folders: read-only inputs, an empty working folder, no package."""

import importlib.metadata
import json
import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

OWNER = "some-one"
FORMS = {
    "with the owner": {
        "datasets": f"datasets/{OWNER}/{{}}",
        "notebooks": f"notebooks/{OWNER}/{{}}",
        "competitions": "competitions/{}",
    },
    "without": dict.fromkeys(("datasets", "notebooks", "competitions"), "{}"),
}
"""Both places where Kaggle mounts inputs."""
DEAD_PROXY = "http://127.0.0.1:9"
"""Nothing listens there: the internet is off."""
OURS = ("dfutils", "__editable__")
LACKING = ("av", "openvino")
"""Libraries that Kaggle's image lacks; the first is needed and comes as a wheel."""


def make_image(folder: Path) -> Path:
    """Make a Python with everything installed here except the package and `LACKING`; return its interpreter."""
    links = folder / "site-packages"
    links.mkdir(parents=True)
    for place in dict.fromkeys((*site.getsitepackages(), *(path for path in sys.path if "site-packages" in path))):
        for one in Path(place).iterdir() if Path(place).is_dir() else ():
            if (
                not any(name in one.name for name in OURS)
                and _distribution(one) not in LACKING
                and not (links / one.name).exists()
            ):
                (links / one.name).symlink_to(one)
    venv.create(folder / "python", with_pip=False, symlinks=True)
    python = folder / "python" / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "python" / "lib" / version / "site-packages" / "image.pth").write_text(f"{links}\n")
    return python


def _distribution(place: Path) -> str:
    """Return ``av`` for ``av``, ``av.libs`` and ``av-18.1.0.dist-info``."""
    return place.name.split(".")[0].split("-")[0].lower()


def pack_installed(name: str, folder: Path) -> Path:
    """Rebuild the wheel of an installed distribution from its files, so that no index is needed."""
    distribution = importlib.metadata.distribution(name)
    about = dict(line.split(": ", 1) for line in str(distribution.read_text("WHEEL")).splitlines() if ": " in line)
    path = folder / f"{name}-{distribution.version}-{about['Tag']}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in distribution.files or ():
            if ".." not in file.parts and file.suffix != ".pyc" and file.name not in ("INSTALLER", "REQUESTED"):
                wheel.write(file.locate(), str(file))
    return path


@dataclass
class KaggleMachine:
    """One notebook's session.

    Attributes:
        python: An image from `make_image`; whatever the notebook installs stays in it.
        folder: Holds ``input`` and ``working``.
        form: One of `FORMS`.
    """

    python: Path
    folder: Path
    form: str
    attached: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "input"

    @property
    def working(self) -> Path:
        return self.folder / "working"

    def attach(self, kind: str, name: str, content: Path) -> None:
        """Mount a read-only copy of a folder where Kaggle would."""
        place = self.root / FORMS[self.form][kind].format(name)
        shutil.copytree(content, place)
        for path in (place, *place.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        self.attached.append(name)

    def run(self, notebook: Path, *, parameters: str = "") -> dict:
        """Run a notebook alone in an empty folder, as Save & Run All does; return it with its outputs."""
        self.working.mkdir()
        before = self._inputs()
        content = json.loads(notebook.read_text())
        place = next(n for n, cell in enumerate(content["cells"]) if "parameters" in cell["metadata"].get("tags", []))
        extra = {"id": "injected", "cell_type": "code", "metadata": {}, "source": parameters, "outputs": []}
        content["cells"].insert(place + 1, {**extra, "execution_count": None})
        code = self.working / "__notebook__.ipynb"
        code.write_text(json.dumps(content))
        command = [self.python, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", code.name]
        done = subprocess.run(
            [*command, "--ExecutePreprocessor.timeout=300"],
            cwd=self.working,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert self._inputs() == before, "a notebook wrote into its inputs"
        return json.loads(code.read_text())

    def _inputs(self) -> dict[str, tuple[int, int]]:
        """Describe the inputs, to compare them afterwards: root can write read-only files."""
        facts = {path: path.stat() for path in self.root.rglob("*")}
        return {str(path): (fact.st_size, fact.st_mtime_ns) for path, fact in facts.items()}

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
        return {
            **kept,
            "HOME": str(self.folder / "home"),
            "DFUTILS_KAGGLE_INPUT": str(self.root),
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), DEAD_PROXY),
        }
