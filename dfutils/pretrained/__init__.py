"""Detectors that come with the package: run folders without training data, weights in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dfutils.errors import RunError
from dfutils.runs.folder import RunFolder

FOLDER = Path(__file__).parent

DEFAULT = "inception-cross-1"
"""What ``dfutils predict`` uses when no model is named, once it is there."""


def pretrained_names() -> list[str]:
    """Names of the detectors that are there, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{RunFolder(FOLDER).detector_file.name}"))


def default_model() -> str | None:
    """Name of the detector to use when none is named; None while the package brings none."""
    return DEFAULT if DEFAULT in pretrained_names() else None


def run_folder(model: Path | str) -> Path:
    """The folder of a detector that comes with the package, or of a run of one's own.

    Args:
        model: A name of `pretrained_names`, or the path of a run folder; a path wins.

    Raises:
        RunError: It is neither.
    """
    if Path(model).is_dir():
        return Path(model)
    if str(model) in pretrained_names():
        return FOLDER / str(model)
    known = ", ".join(pretrained_names()) or "none"
    raise RunError(
        f"{model}: is neither a run folder nor a detector that comes with the package ({known}). "
        "Check the path, or make a run with `dfutils train FACES --out RUN`."
    )


def describe(name: str) -> dict[str, Any]:
    """What ``dfutils models`` says of a detector: its settings, size in bytes and what was measured."""
    from dfutils.files import read_json

    folder = run_folder(name)
    settings = RunFolder(folder).detector()
    return {
        "name": name,
        "version": settings.version,
        "model": settings.model,
        "size": settings.extraction.size,
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "sha256": settings.weights_sha256,
        **read_json(folder / "metrics.json"),
    }
