"""The web page as a folder that a Hugging Face Space runs: nothing in it but a thin start, pins and the package."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dfutils.errors import PublishError
from dfutils.files import writing_error
from dfutils.publishing.package import build_wheel

TEMPLATES = ("app.py", "README.md", "packages.txt")
"""Of ``space/``; ``requirements.txt`` is made of the project's constraints."""

NEEDED = (
    *("av", "fastapi", "gradio", "h5py", "joblib", "keras", "numpy", "opencv-python", "openvino", "pandas", "pillow"),
    *("pydantic", "python-multipart", "scikit-learn", "starlette", "tensorflow", "tqdm", "uvicorn"),
)
"""What the page imports, by the names of ``constraints.txt``.

The page's guard parses uploads with Starlette's own parts, and the server is uvicorn: their versions are Gradio's to
choose unless they are named here.
"""

MARKER = "README.md"


@dataclass(frozen=True, slots=True)
class StagedSpace:
    """What lies ready.

    Attributes:
        folder: To be pushed to the Space's repository as it is.
        files: Name and size in bytes.
    """

    folder: Path
    files: dict[str, int]


def stage_space(project: Path, staging: Path) -> StagedSpace:
    """Lay out app, header, pinned requirements, and the wheel with the shipped detector.

    Args:
        project: The project's folder.
        staging: Folder to write; an earlier staging of a Space is replaced.

    Raises:
        PublishError: The project is incomplete, a pin is missing, or ``staging`` holds something else.
        DatasetError: ``staging`` cannot be written.
    """
    templates = [project / "space" / name for name in TEMPLATES]
    missing = [path for path in (*templates, project / "constraints.txt") if not path.is_file()]
    if missing:
        raise PublishError(f"{missing[0]}: is missing. Name the project's folder.")
    _check_staging(staging)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(project, Path(scratch))
        requirements = pinned_requirements((project / "constraints.txt").read_text(encoding="utf-8"))
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            for path in (*templates, wheel):
                shutil.copyfile(path, staging / path.name)
            (staging / "requirements.txt").write_text(requirements, encoding="utf-8")
        except OSError as error:
            raise writing_error(staging, error) from error
    _set_sdk_version(staging / MARKER, requirements)
    files = {str(path.relative_to(staging)): path.stat().st_size for path in staging.rglob("*") if path.is_file()}
    return StagedSpace(staging, dict(sorted(files.items())))


def pinned_requirements(constraints: str) -> str:
    r"""``requirements.txt`` of a Space: every needed package in the version that was tested.

    Raises:
        PublishError: One is not pinned.

    Example:
        >>> pinned_requirements("\n".join(f"{name}==1" for name in NEEDED)).splitlines()[0]
        'av==1'
    """
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", constraints, re.MULTILINE))
    if unpinned := [name for name in NEEDED if name not in pins]:
        raise PublishError(f"constraints.txt: does not pin {unpinned[0]}, which the Space needs. Add what was tested.")
    return "".join(f"{name}=={pins[name]}\n" for name in NEEDED)


def _check_staging(staging: Path) -> None:
    if not staging.exists() or (staging.is_dir() and not any(staging.iterdir())):
        return
    marker = staging / MARKER
    if not marker.is_file() or "sdk: gradio" not in marker.read_text(encoding="utf-8", errors="replace"):
        raise PublishError(f"{staging}: holds something other than a staged Space. Choose another folder.")


def _set_sdk_version(readme: Path, requirements: str) -> None:
    """The header names the Gradio that the Space's builder installs: the tested one."""
    found = re.search(r"^gradio==(\S+)$", requirements, re.MULTILINE)
    assert found
    text = readme.read_text(encoding="utf-8")
    readme.write_text(re.sub(r"^sdk_version: .*$", f"sdk_version: {found[1]}", text, flags=re.MULTILINE), "utf-8")
