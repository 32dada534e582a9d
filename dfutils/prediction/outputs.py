"""Verdicts as text, tables, plain values and image files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dfutils.files import write_bytes, write_csv
from dfutils.records import ContentCredentials, CredentialsState, Extraction, Verdict
from dfutils.statistics.formatting import probability_text

VERDICT_COLUMNS = ("input", "label", "fake_probability", "reason", "people", "detail")
"""Columns of ``predict --csv``; the probability is empty if there is none."""

SUBMISSION_COLUMNS = ("filename", "label")
UNDECIDED_PROBABILITY = 0.5
"""Minimises the worst-case log loss when nothing is known."""

LONGEST_NAME = 60
"""Characters of an input's name that are kept in the name of its folder of faces."""

_CREDENTIALS = {
    CredentialsState.NONE: "No content credentials; that says nothing.",
    CredentialsState.TRUSTED: "{signed}; the signer is known, and the file has not changed since. They say: {claims}.",
    CredentialsState.UNKNOWN_SIGNER: "{signed}; the file has not changed since. The signer is not known here, and "
    "anybody can sign under any name. They say: {claims}.",
    CredentialsState.ALTERED: "{signed}, but the file was altered afterwards, so they no longer apply to it.",
    CredentialsState.INVALID: "There are content credentials, but they are not valid and count for nothing.",
    CredentialsState.REMOTE: "The content credentials are kept on a server, from which nothing is fetched.",
    CredentialsState.UNREADABLE: "The file could not be searched for content credentials; that says nothing.",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters in a file name that would split a line, move the cursor or reverse the text."""


def verdict_line(verdict: Verdict) -> str:
    """Return a verdict as one line of text.

    Example:
        >>> from dfutils.records import Label, Reason
        >>> verdict_line(Verdict("a.mp4", 0.93, Label.FAKE, Reason.OK))
        'FAKE       0.93  a.mp4'
    """
    score = "   –" if verdict.fake_probability is None else probability_text(verdict.fake_probability)
    people = f"  ({whose_score(verdict)})" if len(verdict.tracks) > 1 else ""
    detail = f"  {verdict.detail}" if verdict.detail else ""
    line = f"{verdict.label:<9}  {score}  {verdict.input}{people}{detail}"
    return printable(line)


def credentials_line(verdict: Verdict) -> str:
    """Return a line about the content credentials, to stand below that of the verdict; empty if there are none."""
    if verdict.credentials is None or verdict.credentials.state in (CredentialsState.NONE, CredentialsState.UNREADABLE):
        return ""
    return f"{'':17}content credentials: {credentials_sentence(verdict.credentials)}"


def printable(text: str) -> str:
    r"""Return text in which characters that would split a line, move the cursor or reverse the text are written out.

    Example:
        >>> printable("a\u202egnp.mp4")
        'a\\u202egnp.mp4'
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def whose_score(verdict: Verdict) -> str:
    """Return how many people there are, and whose score is that of the video.

    Example:
        >>> from dfutils.records import Label, Reason, TrackScore
        >>> tracks = (TrackScore(0.29, ()), TrackScore(0.68, (), counts=False))
        >>> whose_score(Verdict("a.mp4", 0.29, Label.REAL, Reason.OK, "", tracks, 0))
        '2 people; the score is that of person 1, the highest among faces that are large enough'
    """
    person = verdict.person or 0
    text = f"{len(verdict.tracks)} people; the score is that of person {person + 1}"
    counting = [track.fake_probability for track in verdict.tracks if track.counts] or [1.0]
    own = verdict.tracks[person]
    if own.counts and own.fake_probability < max(counting):
        return f"{text}, which decides"
    text = f"{text}, the highest"
    return text if len({track.counts for track in verdict.tracks}) == 1 else f"{text} among faces that are large enough"


def plain_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return what ``predict --json`` prints for one input."""
    tracks = [
        {
            "fake_probability": track.fake_probability,
            "counts": track.counts,
            "views": dict(track.views),
            "distance": track.distance,
            "frames": [
                {
                    "time_seconds": round(frame.time_seconds, 4),
                    "box": [round(getattr(frame.box, side), 1) for side in ("left", "top", "right", "bottom")],
                    "fake_probability": frame.fake_probability,
                }
                for frame in track.frames
            ],
        }
        for track in verdict.tracks
    ]
    credentials = None
    if (said := verdict.credentials) is not None:
        credentials = {**asdict(said), "claims": [*said.claims], "statement": credentials_sentence(said)}
    return {
        "input": verdict.input,
        "fake_probability": verdict.fake_probability,
        "label": str(verdict.label),
        "reason": str(verdict.reason),
        "detail": verdict.detail,
        "is_incomplete": verdict.is_incomplete,
        "person": verdict.person,
        "tracks": tracks,
        "credentials": credentials,
    }


def credentials_sentence(credentials: ContentCredentials | None) -> str:
    """Return what the content credentials of a file say and are worth; None stands for not looked for.

    Example:
        >>> credentials_sentence(ContentCredentials(CredentialsState.NONE))
        'No content credentials; that says nothing.'
    """
    if credentials is None:
        return "Content credentials were not looked for: c2pa-python is not installed, or the file cannot be opened."
    signer, tool = (f"“{printable(text)}”" if text else "" for text in (credentials.signer, credentials.tool))
    signed = f"Signed{f' by {signer}' if signer else ''}{f', using {tool}' if tool else ''}"
    claims = printable(", ".join(credentials.claims)) or "nothing about how the file was made"
    return _CREDENTIALS[credentials.state].format(signed=signed, claims=claims)


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Write one row per verdict, atomically: the file appears after the last verdict.

    Raises:
        DatasetError: The file cannot be written.
    """
    rows = (
        {
            "input": verdict.input,
            "label": str(verdict.label),
            "fake_probability": "" if verdict.fake_probability is None else f"{verdict.fake_probability:.6g}",
            "reason": str(verdict.reason),
            "people": len(verdict.tracks),
            "detail": verdict.detail,
        }
        for verdict in verdicts
    )
    write_csv(path, VERDICT_COLUMNS, rows)


def write_submission(verdicts: Iterable[Verdict], path: Path, *, caution: float = 0.01) -> list[dict[str, str]]:
    """Write a submission to the Deepfake Detection Challenge, whose ``label`` is the probability of FAKE.

    Args:
        verdicts: Verdicts on the challenge's test videos, in any folder.
        path: The CSV; on Kaggle, ``submission.csv`` in the working folder of the notebook.
        caution: Probabilities are kept this far from 0 and 1: one confident mistake would cost more log loss than a
            hundred confident hits would gain.

    Returns:
        The rows of the file.

    Raises:
        ValueError: ``caution`` is negative, or not below 0.5.
    """
    if not 0 <= caution < 0.5:
        raise ValueError(f"caution: must be at least 0 and below 0.5. Received: {caution}")
    rows = []
    for verdict in verdicts:
        known = UNDECIDED_PROBABILITY if verdict.fake_probability is None else verdict.fake_probability
        probability = min(max(known, caution), 1 - caution)
        rows.append({"filename": Path(verdict.input).name, "label": f"{probability:.4f}"})
    write_csv(path, SUBMISSION_COLUMNS, rows)
    return rows


def write_faces(folder: Path, number: int, verdict: Verdict, extraction: Extraction | None) -> None:
    """Write the crops behind the verdict on input ``number`` as PNG, one folder per person; without faces, do nothing.

    Raises:
        DatasetError: A file cannot be written.
    """
    if extraction is None:
        return
    from dfutils.extraction.dataset import encode_image  # takes 0.1 s for OpenCV, often needlessly

    for clip in extraction.clips:
        own = input_folder(folder, number, verdict) / f"person-{clip.track + 1}"
        for index, image in enumerate(clip.images):
            write_bytes(own / f"{index:02d}.png", encode_image(image, image_format="png"))


def input_folder(folder: Path, number: int, verdict: Verdict) -> Path:
    """Return the folder of one input, named after its number and the safe characters of its name."""
    name = re.sub(r"[^\w.-]+", "_", Path(verdict.input).name)[:LONGEST_NAME]
    return folder / f"{number:04d}-{name}"
