"""Deepfake detection from motion-chosen face frames, measured honestly.

``from dfutils import load_detector; load_detector().predict("clip.mp4")``
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfutils.prediction.detector import load_detector

__all__ = ["load_detector"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the command line's start must stay quick."""
    if name in __all__:
        from dfutils.prediction import detector

        return getattr(detector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
