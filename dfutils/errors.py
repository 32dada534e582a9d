"""The project's own errors: subject, what is wrong, what to do next."""

from __future__ import annotations


class DfutilsError(Exception):
    """Anything the command line reports as one line and exit code 1."""


class CatalogueError(DfutilsError):
    """Labels and files do not agree, or there is nothing to catalogue."""


class WeightsError(DfutilsError):
    """A weight file is missing, or is not the one it claims to be."""


class DatasetError(DfutilsError):
    """A face dataset folder cannot be written, read or trusted."""


class SplitError(DfutilsError):
    """A grouped split is impossible with the data or settings given."""


class RunError(DfutilsError):
    """A run folder is incomplete, altered or made with other settings."""


class TimeBudgetError(RunError):
    """The time budget ended a training whose best epoch so far is in the run folder; the same call goes on."""


class ReportError(DfutilsError):
    """A report cannot be computed from the verdicts given."""


class PublishError(DfutilsError):
    """Something is not fit to be sent to Kaggle, or did not arrive there."""


class MediaError(DfutilsError):
    """One input cannot give a face clip.

    A batch writes ``reason`` and the message to ``skipped.csv``; a prediction puts them into the verdict.

    Attributes:
        reason: One of the ``reason`` values of a verdict (see `dfutils.records.Reason`).
    """

    reason = "unreadable"


class UnreadableError(MediaError):
    """Nothing, or not enough, could be decoded."""


class TooLargeError(MediaError):
    """The input claims more pixels, frames or seconds than the limits allow."""

    reason = "too_large"


class NoFaceError(MediaError):
    """No face was found in any frame looked at."""

    reason = "no_face"


class TooFewFacesError(MediaError):
    """A face was found, but in fewer frames than asked for."""

    reason = "too_few_faces"
