"""Deepfake detection from motion-chosen face frames, measured honestly.

``from dfutils import load_detector; load_detector().predict("clip.mp4")``

The names below are the public API, which ``docs/python-api.md`` explains with an example of each. Every other name in
the package may change with any version.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfutils.errors import DfutilsError
    from dfutils.extraction.catalogue import read_catalogue
    from dfutils.extraction.dataset import read_face_dataset
    from dfutils.extraction.extract import extract_dataset
    from dfutils.prediction.detector import Detector, load_detector
    from dfutils.records import Label, Verdict
    from dfutils.report.comparison import compare_runs
    from dfutils.report.evaluate import evaluate
    from dfutils.settings import ExtractionSettings, TrainingSettings
    from dfutils.training.folds import train_folds
    from dfutils.training.run import train

__all__ = [
    "Detector",
    "DfutilsError",
    "ExtractionSettings",
    "Label",
    "TrainingSettings",
    "Verdict",
    "compare_runs",
    "evaluate",
    "extract_dataset",
    "load_detector",
    "read_catalogue",
    "read_face_dataset",
    "train",
    "train_folds",
]
__version__ = "0.1.0"

_MODULES = {
    "Detector": "dfutils.prediction.detector",
    "DfutilsError": "dfutils.errors",
    "ExtractionSettings": "dfutils.settings",
    "Label": "dfutils.records",
    "TrainingSettings": "dfutils.settings",
    "Verdict": "dfutils.records",
    "compare_runs": "dfutils.report.comparison",
    "evaluate": "dfutils.report.evaluate",
    "extract_dataset": "dfutils.extraction.extract",
    "load_detector": "dfutils.prediction.detector",
    "read_catalogue": "dfutils.extraction.catalogue",
    "read_face_dataset": "dfutils.extraction.dataset",
    "train": "dfutils.training.run",
    "train_folds": "dfutils.training.folds",
}
"""The module that defines each public name. It is imported on first use, so that the command line starts quickly."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
