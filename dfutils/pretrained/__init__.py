"""Detectors that come with the package: run folders without tables, with weights in half precision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dfutils.errors import RunError
from dfutils.runs.folder import RunFolder

FOLDER = Path(__file__).parent

DEFAULT = "inception-cross-3"
"""The detector that ``dfutils predict`` uses by default, if the package contains it."""


def pretrained_names() -> list[str]:
    """Return the names of the packaged detectors, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{RunFolder(FOLDER).detector_file.name}"))


def default_model() -> str | None:
    """Return the name of the default detector; None if the package does not contain it."""
    return DEFAULT if DEFAULT in pretrained_names() else None


def resolve_detector(model: Path | str) -> Path:
    """Return the run folder of a detector.

    Args:
        model: The path of a run folder, or else one of `pretrained_names`, or ``hf://OWNER/NAME@REVISION``, which is
            downloaded (`dfutils.pretrained.hub`).

    Raises:
        RunError: ``model`` is none of them, or cannot be downloaded.
    """
    text = model.as_posix() if isinstance(model, Path) else model
    if text.startswith("hf:/"):
        from dfutils.pretrained.hub import HubAddress, fetch_detector

        return fetch_detector(HubAddress.parse(re.sub("^hf:/+", "hf://", text)))  # a Path has one slash
    if Path(model).is_dir():
        return Path(model)
    if str(model) in pretrained_names():
        return FOLDER / str(model)
    known = ", ".join(pretrained_names()) or "none"
    raise RunError(
        f"{model}: is neither a run folder nor a detector that comes with the package ({known}). "
        "Check the path, make a run with `dfutils train FACES --out RUN`, or name one on the Hub, as hf://OWNER/NAME."
    )


def describe(name: str) -> dict[str, Any]:
    """Return what ``dfutils models`` prints of a detector: settings, size in bytes and measured figures."""
    from dfutils.files import read_json

    folder = resolve_detector(name)
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
