"""An answer as HTML. It is self-contained, so that the server need not serve files, and everything is escaped."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from dfutils.app import words
from dfutils.app.service import Answer
from dfutils.app.timeline import timeline
from dfutils.extraction.dataset import encode_image
from dfutils.prediction.detector import Detector, face_pixels, verdict_document
from dfutils.records import FaceClip, Image, Label, TrackScore

STYLE = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")


def status_html(text: str, *, busy: bool) -> str:
    """Return the current status, which screen readers read aloud."""
    spinner = '<span class="df-spinner" aria-hidden="true"></span>' if busy else ""
    return f'<p class="df-status" role="status" aria-live="polite">{spinner}{escape(text)}</p>'


def answer_html(answer: Answer, detector: Detector, *, people: int, is_fake: bool | None = None) -> str:
    """Return the whole answer.

    Args:
        answer: Answer of the service.
        detector: Detector that gave it.
        people: Largest number of people whose faces are shown.
        is_fake: Ground truth, if known.
    """
    verdict = answer.verdict
    name = str(verdict.label).lower()
    head = f'<h2 class="df-{name}">{escape(words.HEADLINES[verdict.label])}</h2>'
    if verdict.fake_probability is not None:
        percent = verdict.fake_probability * 100
        real_up_to, fake_from = (end * 100 for end in detector.settings.answer_range)
        head += (
            f'<p class="df-number"><b>{words.of_a_hundred(verdict.fake_probability)} %</b> probability of FAKE, '
            'calibrated</p><div class="df-meter" role="img" '
            f'aria-label="Probability of FAKE {percent:.0f} of 100; REAL up to {real_up_to:.0f}, FAKE from '
            f'{fake_from:.0f} on"><i style="width:{percent:.1f}%"></i><s style="left:{real_up_to:.1f}%"></s>'
            f'<s style="left:{fake_from:.1f}%"></s></div>'
        )
    head += "".join(f"<p>{escape(line)}</p>" for line in words.meaning(verdict, detector.settings))
    if is_fake is not None:
        head += f"<p><b>{escape(words.truth(verdict, is_fake=is_fake))}</b></p>"
    parts = [f'<section class="df-verdict df-edge-{name}">{head}</section>']
    if answer.extraction is not None:
        parts += [timeline(verdict, answer.extraction, thresholds=detector.settings.answer_range)]
        shown = list(zip(answer.extraction.clips, verdict.tracks, strict=True))[:people]
        parts += [_person(number, clip, track, detector, of=len(shown)) for number, (clip, track) in enumerate(shown)]
        if hidden := len(verdict.tracks) - len(shown):
            parts.append(f"<p>{hidden} more people were scored but are not shown; the JSON has them.</p>")
    document = json.dumps(verdict_document(detector, [verdict]), indent=2)
    parts.append(
        f"<section><h3>What was not examined</h3><p>{escape(words.not_examined(answer.extraction))}</p>"
        f"<h3>The detector</h3>{detector_html(detector)}"
        f"<p>Its verdict is a second opinion, not evidence about anybody. Answered in {answer.seconds:.1f} s; "
        "uploads have been deleted.</p>"
        '<p><a class="df-download" download="verdict.json" '
        f'href="data:application/json;base64,{base64.b64encode(document.encode()).decode()}">'
        "Download the verdict as JSON</a></p></section>"
    )
    return f'<article class="df-answer" aria-label="Verdict">{"".join(parts)}</article>'


def detector_html(detector: Detector) -> str:
    """Return the detector's name, measurements and limits."""
    sentence = words.detector_sentence(detector.settings, detector.folder)
    points = "".join(f"<li>{escape(point)}</li>" for point in words.weaknesses(detector.folder))
    measured = "".join(
        f"<li>{escape(what)}: {escape(value)}</li>" for what, value in words.measurements(detector.folder).items()
    )
    return f"<p>{escape(sentence)}</p>{_details('All measurements', measured)}{_details('Where it fails', points)}"


def _details(summary: str, items: str) -> str:
    return f"<details><summary>{summary}</summary><ul>{items}</ul></details>" if items else ""


def heat_html(maps: Sequence[Sequence[Image]]) -> str:
    """Return the faces with heat maps over them, one row per person."""
    rows = []
    for number, images in enumerate(maps, start=1):
        figures = "".join(
            f'<li><img src="{_data(image)}" alt="Heat map over face {index} of person {number}"></li>'
            for index, image in enumerate(images, start=1)
        )
        title = f"<h4>Person {number}</h4>" if len(maps) > 1 else ""
        rows.append(f'{title}<ul class="df-faces">{figures}</ul>')
    note = (
        "Bright and orange areas raised the network's score most in that image (Grad-CAM). The maps are coarse, "
        "and every face has one, REAL faces too: they hint at where to look and are not evidence."
    )
    return f'<section class="df-answer" aria-label="Heat maps"><h3>Heat maps</h3><p>{note}</p>{"".join(rows)}</section>'


def _person(number: int, clip: FaceClip, track: TrackScore, detector: Detector, *, of: int) -> str:
    is_small = face_pixels([frame.box for frame in track.frames]) < detector.settings.min_face_pixels
    label = Label.UNDECIDED if is_small else detector.settings.label(track.fake_probability)
    title = f"Person {number + 1}" if of > 1 else "The faces that were scored"
    weight = "but the face is too small to decide" if is_small else f"which on its own would be {label}"
    score = f"{words.of_a_hundred(track.fake_probability)} % probability of FAKE, {weight}"
    items, seen = [], set[int]()
    for image, crop, frame in zip(clip.images, clip.crops, track.frames, strict=True):
        if crop.frame_index in seen:
            continue  # a short track repeats some frames
        seen.add(crop.frame_index)
        at = f"{frame.time_seconds:.1f} s"
        score_of_frame = frame.fake_probability
        text = at if score_of_frame is None else f"{at} · {words.of_a_hundred(score_of_frame, short=True)} %"
        alt = f"Face of person {number + 1} at {at}"
        items.append(f'<li><img src="{_data(image)}" alt="{alt}"><span>{escape(text)}</span></li>')
    note = "" if detector.has_frame_head else "<p>This detector scores a person's faces together, not one by one.</p>"
    return (
        f"<section><h3>{title}</h3><p>{score if of > 1 or label == Label.UNDECIDED else 'Time and score of each face.'}"
        f'</p><ul class="df-faces">{"".join(items)}</ul>{note}</section>'
    )


def _data(image: Image) -> str:
    content = encode_image(image, image_format="jpg")
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
