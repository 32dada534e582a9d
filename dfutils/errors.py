"""The project's own errors, whose messages say what is wrong with what, and what to do."""

from __future__ import annotations


class DfutilsError(Exception):
    """Base class of the errors that the command line reports as one line, with exit code 1."""


class CatalogueError(DfutilsError):
    """Raised when labels and files disagree, or there is nothing to catalogue."""


class WeightsError(DfutilsError):
    """Raised when a weight file is missing, or is not the one it claims to be."""


class DecoderError(DfutilsError):
    """Raised when this machine cannot decode anything, whatever the file."""


class DatasetError(DfutilsError):
    """Raised when a face dataset folder cannot be written, read or trusted."""


class SplitError(DfutilsError):
    """Raised when a grouped split is impossible with the given data or settings."""


class RunError(DfutilsError):
    """Raised when a run folder is incomplete, altered or made with other settings."""


class TimeBudgetError(RunError):
    """Raised when the time budget ended a training; its best epoch is saved, and the same call continues."""


class ReportError(DfutilsError):
    """Raised when a report cannot be computed from the given verdicts."""


class PublishError(DfutilsError):
    """Raised when something cannot be sent to Kaggle or the Hugging Face Hub, or did not arrive there."""


class ServeError(DfutilsError):
    """Raised when the web page or the HTTP API cannot be served as asked."""


class MediaError(DfutilsError):
    """Raised when an input gives no face clip.

    A batch writes ``reason`` and the message to ``skipped.csv``; a prediction puts them into the verdict.

    Attributes:
        reason: A value of `dfutils.records.Reason`.
    """

    reason = "unreadable"


class UnreadableError(MediaError):
    """Raised when nothing, or not enough, could be decoded."""


class TooLargeError(MediaError):
    """Raised when an input has more pixels, frames or seconds than the limits allow."""

    reason = "too_large"


class IncompleteError(MediaError):
    """Raised when a file is truncated and such files are to be skipped."""

    reason = "incomplete"


class NoFaceError(MediaError):
    """Raised when no face was found in any frame inspected."""

    reason = "no_face"


class TooFewFacesError(MediaError):
    """Raised when a face was found in fewer frames than required."""

    reason = "too_few_faces"


def how_to_install(extra: str) -> str:
    """Return the advice to install an extra of this package.

    The package is not on PyPI, where its name could belong to anybody.

    Example:
        >>> how_to_install("app")
        "In the folder of dfutils, run: pip install '.[app]'"
    """
    return f"In the folder of dfutils, run: pip install '.[{extra}]'"
