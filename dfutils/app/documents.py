"""Documents of the HTTP API as `/openapi.json` describes them, with an example of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dfutils.records import CredentialsState, Label, Reason

Probability = Annotated[float, Field(ge=0, le=1)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class DetectorDocument(_Document):
    """The detector that gave a verdict."""

    name: str
    """Its name."""
    version: str
    """Version of the package that made it."""
    sha256: str
    """Checksum of its weights."""
    real_up_to: Probability
    """Highest probability of a verdict that is REAL."""
    fake_from: Probability
    """Lowest probability of a verdict that is FAKE."""
    prior: Probability
    """Share of FAKE among the inputs that probabilities are given for."""


class FrameDocument(_Document):
    """One frame that was scored."""

    time_seconds: float
    """Time in the video; 0 for an image."""
    box: list[float] = Field(min_length=4, max_length=4)
    """Left, top, right and bottom of the face, in pixels."""
    fake_probability: Probability | None
    """Score of this frame alone; null for a detector that scores no single frames."""


class TrackDocument(_Document):
    """One person."""

    fake_probability: Probability
    """Score of the person."""
    counts: bool
    """Whether the face is large enough to decide."""
    views: dict[str, float]
    """Scores of copies of the faces, for a detector that has them."""
    distance: float | None
    """How unlike the training images the face is; above 1 it is unfamiliar."""
    frames: list[FrameDocument]
    """The frames that were scored."""


class CredentialsDocument(_Document):
    """What the file says about its own origin, as signed statements (C2PA); it never changes the answer."""

    state: CredentialsState
    """Whether there are any, and whether the signature holds."""
    signer: str
    """Name in the certificate; empty if unknown."""
    tool: str
    """Program that wrote the statements; empty if unknown."""
    claims: list[str]
    """What was done to the file."""
    statement: str
    """All of this in a sentence."""


class OneVerdict(_Document):
    """The answer to one file."""

    input: str
    """Name of the file, as it was sent."""
    fake_probability: Probability | None
    """Calibrated; null without a score."""
    label: Label
    """The answer."""
    reason: Reason
    """Why; a file that cannot be read, or shows no face, is UNDECIDED."""
    detail: str
    """What there is to say about the answer; empty if nothing."""
    is_incomplete: bool
    """Whether the file is truncated, so that the answer is about a part of it."""
    person: Annotated[int, Field(ge=0)] | None
    """Index in `tracks` of the person whose score is that of the file; null without a score."""
    tracks: list[TrackDocument]
    """The people whose faces were scored."""
    credentials: CredentialsDocument | None
    """Content credentials of the file; null if they were not looked for."""


class VerdictDocument(_Document):
    """The document that `dfutils predict --json` prints for one input."""

    detector: DetectorDocument
    verdicts: list[OneVerdict] = Field(min_length=1, max_length=1)
    """One, because one file was sent."""


class ProgressDocument(_Document):
    """A file that is not answered yet."""

    id: str
    """Key of the verdict, in `/v1/verdicts/{id}`."""
    position: int = Field(ge=0)
    """Number of files in front; 0 for the one that is being examined."""
    progress: str
    """What is happening, in words."""


class LimitsDocument(_Document):
    """Limits of this server."""

    upload_megabytes: float
    """Size of the largest file."""
    max_seconds: float
    """Longer videos are UNDECIDED, with the reason `too_large`."""
    max_pixels: int
    """Larger videos are UNDECIDED, with the reason `too_large`; larger images are reduced."""
    per_minute: int
    """Files that one key, or one address if there are no keys, may send per minute."""
    waiting: int
    """Files that may wait while one is examined."""
    result_seconds: float
    """A verdict is forgotten after this time."""


class AboutDocument(_Document):
    """The detector of this server, what was measured of it, and the server's limits."""

    detector: DetectorDocument
    measured: dict[str, str]
    """Results on other people's clips, with 95 % intervals; empty if there are none."""
    weaknesses: list[str]
    """Where it fails, in sentences."""
    limits: LimitsDocument


class HealthDocument(_Document):
    """Whether the server gives verdicts."""

    status: Literal["ok", "loading", "failed", "stopping"]
    """`ok`, or why it gives none."""


class ErrorDocument(_Document):
    """Why a request was refused."""

    status: int
    """The HTTP status."""
    error: str
    """What is wrong, and what to do."""


_DETECTOR = {
    "name": "inception-cross-3",
    "version": "0.1.0",
    "sha256": "3f1c0a6f4e8f6a58e4c3d0b7a9d1f2c4b5a69788796a5b4c3d2e1f0011223344",
    "real_up_to": 0.5,
    "fake_from": 0.72,
    "prior": 0.5,
}
_FRAME = {"time_seconds": 0.35, "box": [101.2, 44.0, 212.9, 178.5], "fake_probability": 0.81}
_TRACK = {"fake_probability": 0.8, "counts": True, "views": {}, "distance": None, "frames": [_FRAME]}
_LIMITS = {"upload_megabytes": 100, "max_seconds": 300, "max_pixels": 9_000_000, "per_minute": 60}
EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    VerdictDocument: {
        "detector": _DETECTOR,
        "verdicts": [
            {
                "input": "clip.mp4",
                "fake_probability": 0.8,
                "label": "FAKE",
                "reason": "ok",
                "detail": "",
                "is_incomplete": False,
                "person": 0,
                "tracks": [_TRACK],
                "credentials": None,
            }
        ],
    },
    ProgressDocument: {
        "id": "Vx3m0bq1v5Yw2kq0t6mO8cJ4y1n9rD7eQ2s5uL8aZ0k",
        "position": 2,
        "progress": "Busy: you are number 2 in the queue",
    },
    AboutDocument: {
        "detector": _DETECTOR,
        "measured": {"DFDC: AUC": "0.83 (0.75 to 0.90)"},
        "weaknesses": ["Crops cut in another way than `dfutils extract` cuts them."],
        "limits": {**_LIMITS, "waiting": 20, "result_seconds": 3600},
    },
    HealthDocument: {"status": "ok"},
    ErrorDocument: {"status": 413, "error": "Larger than 100 MB. Cut the clip or scale it down."},
}
"""An example of each document; the values are made up."""


def response(model: type[BaseModel], about: str, **headers: str) -> dict[str, Any]:
    """Return the entry of one status in the description of an operation.

    Args:
        model: What the body holds.
        about: When the status is given.
        headers: Headers and what they say, with ``_`` for ``-``.
    """
    described = {
        name.replace("_", "-"): {"description": meaning, "schema": {"type": "string"}}
        for name, meaning in headers.items()
    }
    content = {"application/json": {"example": EXAMPLES[model]}}
    return {"model": model, "description": about, "content": content, **({"headers": described} if described else {})}
