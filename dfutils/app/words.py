"""What the page says of a verdict and of the detector: every number comes from the detector's own files."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from dfutils.errors import DatasetError
from dfutils.files import read_json
from dfutils.records import Extraction, Label, Reason, Verdict
from dfutils.runs.record import DetectorRecord

HEADLINES = {
    Label.FAKE: "FAKE: this looks like a forged face",
    Label.REAL: "REAL: not enough signs of a forgery",
    Label.UNDECIDED: "UNDECIDED: no verdict",
}

REASONS = {
    Reason.OK: "",
    Reason.NO_FACE: "No face was found. That says nothing about whether the file is real.",
    Reason.TOO_FEW_FACES: "There are too few faces to look at. That says nothing about whether the file is real.",
    Reason.UNREADABLE: "The file could not be read as a video or image. Try to save it again as MP4, or as JPEG.",
    Reason.TOO_LARGE: "The file is too long or too large for this page. Cut it, or scale it down.",
    Reason.LOW_CONFIDENCE: "This detector is too often wrong about such clips to decide.",
}


def of_a_hundred(probability: float, *, short: bool = False) -> str:
    """A probability as a number of 100, never as certainty.

    Example:
        >>> of_a_hundred(0.731), of_a_hundred(0.998), of_a_hundred(0.001)
        ('73', 'more than 99', 'less than 1')
    """
    if probability > 0.99:
        return "> 99" if short else "more than 99"
    if probability < 0.01:
        return "< 1" if short else "less than 1"
    return f"{probability * 100:.0f}"


def headline(verdict: Verdict) -> str:
    """The verdict in one line."""
    return HEADLINES[verdict.label]


def meaning(verdict: Verdict, settings: DetectorRecord) -> list[str]:
    """The verdict's score in sentences; why there is none, where there is none."""
    if verdict.fake_probability is None:
        return [REASONS[verdict.reason]]
    return [*_reason(verdict), _share_of_fakes(verdict.fake_probability, settings), *_decision(verdict, settings)]


def truth(verdict: Verdict, *, is_fake: bool) -> str:
    """What is known of a clip that a program made, beside what the detector says of it."""
    known = f"A program drew this clip, so the truth is known: its face is {'forged' if is_fake else 'not forged'}"
    if verdict.label == Label.UNDECIDED:
        return f"{known}. The detector does not decide."
    if (verdict.label == Label.FAKE) == is_fake:
        return f"{known}, as the detector says."
    return f"{known}. The detector missed it." if is_fake else f"{known}. The detector is wrong."


def _reason(verdict: Verdict) -> list[str]:
    if verdict.reason == Reason.OK:
        return []
    why = f"{verdict.detail[0].upper()}{verdict.detail[1:]}." if verdict.detail else ""
    return [f"{REASONS[verdict.reason]} {why}".strip()]


def _share_of_fakes(probability: float, settings: DetectorRecord) -> str:
    number = of_a_hundred(probability)
    sentence = f"Of 100 clips scored like this, {'about ' if number.isdigit() else ''}{number} are fake"
    point = next(iter(settings.operating_points), None)
    if point is None or not point.reals + point.fakes:
        return f"{sentence}."
    share = point.fakes / (point.reals + point.fakes)
    return f"{sentence}, where {share * 100:.0f} of 100 clips are fake altogether, as when it was calibrated."


def _decision(verdict: Verdict, settings: DetectorRecord) -> list[str]:
    """Why this probability has this label; it would puzzle that 0.57 is called REAL."""
    if verdict.label == Label.UNDECIDED:
        return []
    point = next((one for one in settings.operating_points if one.rule == settings.operating_point), None)
    sentence = f"This detector says FAKE from a probability of {settings.threshold:.2f} on"
    if point is None:
        return [f"{sentence}."]
    # Out of fold, it was not this network that called them, but others like it that had not seen them.
    in_folds = "clips new to networks that were trained like it"
    clips = "its validation clips" if settings.fitted_on == "validation" else in_folds
    sentence += (
        f"; on {clips} that called {point.false_positive_rate * 100:.0f} of 100 REAL ones FAKE and found "
        f"{point.true_positive_rate * 100:.0f} of 100 FAKE ones."
    )
    if verdict.label == Label.REAL:
        sentence += " So REAL does not mean proven: it means that no forgery was found."
    return [sentence]


def not_looked_at(extraction: Extraction | None) -> str:
    """What the verdict does not rest on."""
    if extraction is None:
        return "Sound was not looked at."
    if not extraction.info.duration_seconds:
        return "One image was looked at: its faces only, not what is around them, nor where it comes from."
    shown = {crop.frame_index for clip in extraction.clips for crop in clip.crops}
    frames = len(extraction.trace.times_seconds)
    return (
        f"The whole length ({extraction.info.duration_seconds:.1f} s) was watched for faces and motion; "
        f"{len(shown)} of {frames} frames were scored. Sound, lip movement and what is around the faces were not "
        "looked at."
    )


def measurements(folder: Path) -> dict[str, str]:
    """What was measured of a detector, in the words of its ``metrics.json``; empty where there is none."""
    with suppress(DatasetError):
        return dict(read_json(folder / "metrics.json").get("measured", {}))
    return {}


def detector_sentence(settings: DetectorRecord, folder: Path) -> str:
    """Who answers, and in one sentence how well it told REAL from FAKE elsewhere and how often it accused."""
    name, measured = f"{settings.name} {settings.version}", measurements(folder)
    told = [f"{what} {value}" for what, value in measured.items() if what.endswith("AUC")]
    accused = [f"{what} {value}" for what, value in measured.items() if what.startswith("REAL called FAKE")]
    if not told:
        return f"{name}: no measurement on other people's clips lies beside it."
    return (
        f"{name} was measured, with 95 % intervals: {'; '.join(told[:2] + accused[:1])}. "
        "AUC is how often a FAKE scores above a REAL one: 0.5 is a coin toss, 1 perfect."
    )


def weaknesses(folder: Path) -> list[str]:
    """Where the detector fails, as its model card says; empty without one."""
    card = folder / "MODEL_CARD.md"
    if not card.is_file():
        return []
    _, _, rest = card.read_text(encoding="utf-8").partition("## Where it fails")
    section = rest.partition("\n## ")[0]
    return [" ".join(point.split()) for point in re.split(r"^\* ", section, flags=re.MULTILINE)[1:]]
