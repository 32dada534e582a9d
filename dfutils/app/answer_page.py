"""An answer as HTML: everything is inside it, so that the server needs to serve no file; everything is escaped."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from dfutils.app import words
from dfutils.app.service import Answer
from dfutils.app.timeline import timeline
from dfutils.extraction.dataset import encode_image
from dfutils.prediction.detector import Detector, face_pixels, verdict_document
from dfutils.records import FaceClip, Image, Label, TrackScore

STYLE = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")


def status_html(text: str, *, busy: bool) -> str:
    """What happens now, read aloud by screen readers."""
    spinner = '<span class="df-spinner" aria-hidden="true"></span>' if busy else ""
    return f'<p class="df-status" role="status" aria-live="polite">{spinner}{escape(text)}</p>'


def answer_html(answer: Answer, detector: Detector, *, people: int, is_fake: bool | None = None) -> str:
    """The whole answer.

    Args:
        answer: Of the service.
        detector: Which gave it.
        people: Of whom faces are shown, at most.
        is_fake: The truth, where it is known.
    """
    known = "" if is_fake is None else words.truth(answer.verdict, is_fake=is_fake)
    parts = [_verdict(answer, detector, known)]
    if answer.extraction is not None:
        parts += [timeline(answer.verdict, answer.extraction, threshold=detector.settings.threshold)]
        shown = list(zip(answer.extraction.clips, answer.verdict.tracks, strict=True))[:people]
        parts += [_person(number, clip, track, detector, of=len(shown)) for number, (clip, track) in enumerate(shown)]
        if hidden := len(answer.verdict.tracks) - len(shown):
            parts.append(f"<p>{hidden} more people were scored and are not shown; the JSON has them.</p>")
    parts.append(_around(answer, detector))
    return f'<article class="df-answer" aria-label="Verdict">{"".join(parts)}</article>'


def detector_html(detector: Detector) -> str:
    """Name, measurements and limits."""
    sentence = words.detector_sentence(detector.settings, detector.folder)
    points = "".join(f"<li>{escape(point)}</li>" for point in words.weaknesses(detector.folder))
    measured = "".join(
        f"<li>{escape(what)}: {escape(value)}</li>" for what, value in words.measurements(detector.folder).items()
    )
    return f"<p>{escape(sentence)}</p>{_details('All that was measured', measured)}{_details('Where it fails', points)}"


def _details(summary: str, items: str) -> str:
    return f"<details><summary>{summary}</summary><ul>{items}</ul></details>" if items else ""


def heat_html(maps: Sequence[Sequence[Image]]) -> str:
    """Faces with heat maps over them, a row a person."""
    rows = []
    for number, images in enumerate(maps, start=1):
        figures = "".join(
            f'<li><img src="{_data(image)}" alt="Heat map over face {index} of person {number}"></li>'
            for index, image in enumerate(images, start=1)
        )
        title = f"<h4>Person {number}</h4>" if len(maps) > 1 else ""
        rows.append(f'{title}<ul class="df-faces">{figures}</ul>')
    note = (
        "Bright and orange is where the network found what raised its score most in that image (Grad-CAM). The maps "
        "are coarse, and every face has one, REAL ones too: a hint where to look, and no evidence."
    )
    return f'<section class="df-answer" aria-label="Heat maps"><h3>Heat maps</h3><p>{note}</p>{"".join(rows)}</section>'


def _verdict(answer: Answer, detector: Detector, known: str) -> str:
    verdict = answer.verdict
    lines = "".join(f"<p>{escape(line)}</p>" for line in words.meaning(verdict, detector.settings))
    lines += f"<p><b>{escape(known)}</b></p>" if known else ""
    meter = ""
    if verdict.fake_probability is not None:
        percent, threshold = verdict.fake_probability * 100, detector.settings.threshold * 100
        number = words.of_a_hundred(verdict.fake_probability)
        meter = (
            f'<p class="df-number"><b>{number} %</b> probability of FAKE, calibrated</p>'
            f'<div class="df-meter" role="img" aria-label="Probability of FAKE {percent:.0f} of 100; FAKE from '
            f'{threshold:.0f} on"><i style="width:{percent:.1f}%"></i><s style="left:{threshold:.1f}%"></s></div>'
        )
    name = str(verdict.label).lower()
    head = f'<h2 class="df-{name}">{escape(words.headline(verdict))}</h2>'
    return f'<section class="df-verdict df-edge-{name}">{head}{meter}{lines}</section>'


def _person(number: int, clip: FaceClip, track: TrackScore, detector: Detector, *, of: int) -> str:
    is_small = face_pixels([frame.box for frame in track.frames]) < detector.settings.min_face_pixels
    label = Label.UNDECIDED if is_small else detector.label(track.fake_probability)
    title = f"Person {number + 1}" if of > 1 else "The faces that were scored"
    weight = "from a face too small to decide anything" if is_small else f"which alone would be {label}"
    score = f"{words.of_a_hundred(track.fake_probability)} % probability of FAKE, {weight}"
    items, seen = [], set[int]()
    for image, crop, frame in zip(clip.images, clip.crops, track.frames, strict=True):
        if crop.frame_index in seen:
            continue  # a short track has some frames twice
        seen.add(crop.frame_index)
        at = f"{frame.time_seconds:.1f} s"
        text = (
            at
            if frame.fake_probability is None
            else f"{at} · {words.of_a_hundred(frame.fake_probability, short=True)} %"
        )
        alt = f"Face of person {number + 1} at {at}"
        items.append(f'<li><img src="{_data(image)}" alt="{alt}"><span>{escape(text)}</span></li>')
    note = "" if detector.has_frame_head else "<p>This detector scores a person's faces together, not one by one.</p>"
    return (
        f"<section><h3>{title}</h3><p>{score if of > 1 or label == Label.UNDECIDED else 'Time and score of each face.'}"
        f'</p><ul class="df-faces">{"".join(items)}</ul>{note}</section>'
    )


def _around(answer: Answer, detector: Detector) -> str:
    document: dict[str, Any] = verdict_document(detector, [answer.verdict])
    content = base64.b64encode(json.dumps(document, indent=2).encode()).decode()
    return (
        f"<section><h3>What was not looked at</h3><p>{escape(words.not_looked_at(answer.extraction))}</p>"
        f"<h3>Who says so</h3>{detector_html(detector)}"
        f"<p>It is a second opinion, no evidence about anybody. Answered in {answer.seconds:.1f} s; an "
        "upload is deleted by now.</p>"
        f'<p><a class="df-download" download="verdict.json" href="data:application/json;base64,{content}">'
        "Download the verdict as JSON</a></p></section>"
    )


def _data(image: Image) -> str:
    content = encode_image(image, image_format="jpg")
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
