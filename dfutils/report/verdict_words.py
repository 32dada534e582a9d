"""Sentences about a verdict and about the detector; every number comes from the detector's own files."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path

from dfutils.errors import DatasetError
from dfutils.files import read_json
from dfutils.prediction.detector import Detector, face_pixels
from dfutils.records import Extraction, Label, Reason, Verdict
from dfutils.runs.record import DetectorRecord
from dfutils.statistics.formatting import probability_text, rate_text

SECOND_OPINION = "The verdict is a second opinion of a program, not evidence about anybody."

ONLY_FACES = (
    "Only faces are examined: not the sound, and not whether a model made the whole picture. For these, try a reverse "
    "image search for the original, the file's Content Credentials (C2PA) if none are shown here, or a detector of "
    "cloned voices or generated images."
)
"""What no verdict is about, and what else to try: the same words wherever people read a verdict."""

NEAR = 0.3
"""A probability whose log-odds differ by less than this from those of its threshold is close to it, at any prior."""

NO_DOUBTS = (
    "Nothing was found. What is checked: whether the score is close to its threshold, the faces disagree, are small or "
    "few, or the file is incomplete."
)
"""Stands where `doubts` has nothing to say about an answer."""

WIDE = 0.5
"""Faces of one person whose probabilities differ by more than this disagree."""

HEADLINES = {
    Label.FAKE: "FAKE: this looks like a forged face",
    Label.REAL: "REAL: no clear sign of a forged face",
    Label.UNDECIDED: "UNDECIDED: no verdict",
}

REASONS = {
    Reason.OK: "",
    Reason.NO_FACE: "No sufficiently large face was found. That says nothing about whether the file is real.",
    Reason.TOO_FEW_FACES: "There are too few faces to examine. That says nothing about whether the file is real.",
    Reason.UNREADABLE: "The file could not be read as a video or image{why}. Try saving it again as MP4 or JPEG.",
    Reason.TOO_LARGE: "The file is too long or too large{why}. Cut it, or scale it down.",
    Reason.INCOMPLETE: "The file is truncated; only the part that exists was examined.",
    Reason.TOO_MANY_FACES: "There are more faces than can be examined, so a forged one may have been missed.",
    Reason.LOW_CONFIDENCE: "The detector does not answer REAL or FAKE here.",
    Reason.UNFAMILIAR: "The detector was not trained on images like this, so it does not answer.",
    Reason.UNSTABLE: "The answer depends on small changes of the file that leave the face the same.",
}


def of_a_hundred(probability: float, *, short: bool = False) -> str:
    """Return a probability as a number out of 100, never as certainty.

    Example:
        >>> of_a_hundred(0.731), of_a_hundred(0.998), of_a_hundred(0.001)
        ('73', 'more than 99', 'less than 1')
    """
    if probability > 0.99:
        return "> 99" if short else "more than 99"
    if probability < 0.01:
        return "< 1" if short else "less than 1"
    return f"{probability * 100:.0f}"


def has_meaningful_probability(verdict: Verdict) -> bool:
    """Return whether the probability may be read as one: not for unfamiliar images or faces too small to decide."""
    is_large = verdict.person is None or verdict.tracks[verdict.person].counts
    return verdict.fake_probability is not None and verdict.reason != Reason.UNFAMILIAR and is_large


def meaning(verdict: Verdict, detector: Detector) -> list[str]:
    """Return what the score means, in sentences, or why there is none."""
    settings = detector.settings
    if verdict.fake_probability is None:
        why = verdict.detail.partition(". ")[0].removeprefix("is ")  # the rest is advice about the command line
        return [REASONS[verdict.reason].format(why=f": {why}" if why else "")]
    lines = []
    if verdict.reason != Reason.OK:
        detail = f"{verdict.detail[0].upper()}{verdict.detail[1:]}." if verdict.detail else ""
        lines.append(f"{REASONS[verdict.reason]} {detail}".strip())
    if not has_meaningful_probability(verdict):
        return lines
    number = of_a_hundred(verdict.fake_probability)
    mix = "half" if detector.prior == 0.5 else rate_text(detector.prior)
    lines.append(
        f"If {mix} of all clips were fake, {'about ' if number.isdigit() else ''}{number} of 100 clips with such a "
        "score would be fake."
    )
    if verdict.label == Label.UNDECIDED:
        return lines
    fake_from = settings.answer_range[1]
    # Out-of-fold scores are not of this network but of others like it that had not seen the clips.
    in_folds = "clips new to networks that were trained in the same way"
    clips = "clips that it was not trained on" if settings.fitted_on == "validation" else in_folds
    if settings.real_up_to is None and detector.prior == settings.prior:
        rule = (
            f"This detector of an earlier version always answers: FAKE from {probability_text(settings.threshold)} on, "
            "else REAL."
        )
    else:
        low, high = detector.answer_range
        rule = f"The detector says REAL up to {rate_text(low)}, FAKE from {rate_text(high)} on"
        rule += "." if low == high else ", and UNDECIDED between."
    if (costs := settings.answer_costs) is not None:
        rule += (
            f" On {clips} it called {of_a_hundred(costs.false_positive_rate.value)} of 100 REAL ones FAKE and "
            f"{of_a_hundred(costs.false_negative_rate.value)} of 100 FAKE ones REAL; for new people like those "
            f"of these clips ({costs.real_groups} with REAL clips, {costs.fake_groups} with FAKE ones), expect up to "
            f"{of_a_hundred(costs.false_positive_bound)} of 100 and {of_a_hundred(costs.false_negative_bound)} of 100."
        )
        if detector.prior != settings.prior:
            usual = rate_text(settings.prior)
            rule += f" These rates were measured at a prior of {usual}; at this one it answers less often."
        if (people := sum(track.counts for track in verdict.tracks)) > 1:
            rule += (
                f" These rates are for one person. Here the highest score of {people} people decides, so a REAL video "
                "is more likely to be called FAKE."
            )
    elif (point := next((one for one in settings.operating_points if one.threshold == fake_from), None)) is not None:
        rule += (
            f" On {clips} it called {point.false_positive_rate * 100:.0f} of 100 REAL ones FAKE and found "
            f"{point.true_positive_rate * 100:.0f} of 100 FAKE ones."
        )
    if verdict.label == Label.REAL:
        rule += " REAL is not proof: a forgery may have been missed."
    return [*lines, rule]


def doubts(verdict: Verdict, extraction: Extraction | None, detector: Detector) -> list[str]:
    """Return what speaks against the answer, or makes it uncertain, as sentences; empty without a score."""
    if extraction is None or verdict.person is None:
        return []
    track, clip = verdict.tracks[verdict.person], extraction.clips[verdict.person]
    shown = {crop.frame_index: frame for crop, frame in zip(clip.crops, track.frames, strict=True)}
    scores = [frame.fake_probability for frame in shown.values() if frame.fake_probability is not None]
    real_up_to, fake_from = detector.answer_range
    sentences = []
    if len(scores) > 1 and verdict.label != Label.UNDECIDED:
        other = Label.REAL if verdict.label == Label.FAKE else Label.FAKE
        if count := sum(detector.label_of(score) == other for score in scores):
            would = "face that was scored would" if count == 1 else "faces that were scored would"
            alone = "its own" if count == 1 else "their own"
            sentences.append(f"{count} of {len(scores)} {would} be called {other} on {alone}.")
    if len(scores) > 1 and max(scores) - min(scores) > WIDE:
        lowest, highest = of_a_hundred(min(scores)), of_a_hundred(max(scores))
        sentences.append(f"The faces disagree: their probabilities of FAKE go from {lowest} to {highest} %.")
    threshold = {Label.FAKE: fake_from, Label.REAL: real_up_to}.get(verdict.label)
    if threshold is not None and abs(_log_odds(track.fake_probability) - _log_odds(threshold)) < NEAR:
        sentences.append(f"The probability is close to the threshold for {verdict.label}.")
    pixels, size = face_pixels([frame.box for frame in track.frames]), detector.settings.extraction.size
    if pixels < size / 2:
        sentences.append(f"The face is only {pixels:.0f} pixels wide or high and was enlarged to {size}.")
    if len(shown) < len(clip.crops):
        sentences.append(f"Only {len(shown)} different frames of {len(clip.crops)} show the face.")
    small = [one.fake_probability for one in verdict.tracks if not one.counts and track.counts]
    if verdict.label == Label.REAL and small and detector.label_of(max(small)) == Label.FAKE:
        highest = of_a_hundred(max(small))
        sentences.append(f"A face that is too small to count has a probability of FAKE of {highest} %.")
    if extraction.info.is_truncated:
        sentences.append(f"The file is incomplete: {extraction.info.cut_off}.")
    return sentences


def _log_odds(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def truth(verdict: Verdict, *, is_fake: bool) -> str:
    """Return the ground truth of an example, compared with the verdict."""
    known = f"A program drew this clip, so the truth is known: its face is {'forged' if is_fake else 'not forged'}"
    if verdict.label == Label.UNDECIDED:
        return f"{known}. The detector does not decide."
    if (verdict.label == Label.FAKE) == is_fake:
        return f"{known}, as the detector says."
    return f"{known}. The detector missed it." if is_fake else f"{known}. The detector is wrong."


def not_examined(extraction: Extraction | None) -> str:
    """Return what the verdict is not based on, and what else to try."""
    if extraction is None:
        return f"No face of this file was scored, so nothing can be said about it. {ONLY_FACES}"
    if not extraction.info.duration_seconds:
        return f"The surroundings of the faces of this image were not examined. {ONLY_FACES}"
    shown = {crop.frame_index for clip in extraction.clips for crop in clip.crops}
    frames = len(extraction.trace.times_seconds)
    whole = "The part that exists" if extraction.info.is_truncated else "The whole length"
    return (
        f"{whole} ({extraction.info.duration_seconds:.1f} s) was searched for faces and motion; only the faces "
        f"in {len(shown)} of {frames} frames were scored, not their surroundings. {ONLY_FACES}"
    )


def measurements(folder: Path) -> dict[str, str]:
    """Return the measurements in a detector's ``metrics.json``; empty without the file, or if it has another form."""
    with suppress(DatasetError, AttributeError, TypeError, ValueError):
        measured = read_json(folder / "metrics.json").get("measured", {})
        return {str(what): str(value) for what, value in measured.items()}
    return {}


def detector_sentence(settings: DetectorRecord, folder: Path) -> str:
    """Return the name of the detector with its measured AUC and false-positive rate."""
    name, measured = f"{settings.name} {settings.version}", measurements(folder)
    told = [f"{what} {value}" for what, value in measured.items() if what.endswith("AUC")]
    accused = [f"{what} {value}" for what, value in measured.items() if "REAL called FAKE" in what]
    if not told:
        return f"{name}: it comes without measurements on other people's clips."
    return (
        f"{name} was measured, with 95 % intervals: {'; '.join(told[:2] + accused[:1])}. "
        "AUC is how often a FAKE scores above a REAL one: 0.5 is a coin toss, 1 perfect."
    )


def weaknesses(folder: Path) -> list[str]:
    """Return the section 'Where it fails' of the model card, one item per point; empty without a card."""
    card = folder / "MODEL_CARD.md"
    if not card.is_file():
        return []
    _, _, rest = card.read_text(encoding="utf-8", errors="replace").partition("## Where it fails")
    section = rest.partition("\n## ")[0]
    return [" ".join(point.split()) for point in re.split(r"^\* ", section, flags=re.MULTILINE)[1:]]
