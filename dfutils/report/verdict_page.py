"""A verdict as HTML: its parts, which the web page shows too, and a page of its own. Everything is escaped."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

import dfutils
from dfutils.extraction.dataset import encode_image
from dfutils.files import sha256_of
from dfutils.prediction.detector import Detector, verdict_document
from dfutils.prediction.outputs import credentials_sentence, printable
from dfutils.records import Extraction, FaceClip, Image, Label, TrackScore, Verdict
from dfutils.report import verdict_words as words
from dfutils.report.timeline import timeline
from dfutils.statistics.formatting import rate_text

TEMPLATES = Path(__file__).parent / "templates"

MOST_PEOPLE = 5
"""People whose faces are shown on a page of its own."""

MOST_PRINTED = 2
"""People whose faces are printed, the first one with heat maps: then the page fits on two sheets."""


def verdict_page(
    verdict: Verdict,
    extraction: Extraction | None,
    detector: Detector,
    *,
    file: Path,
    maps: Mapping[int, Mapping[int, Image]] | None = None,
) -> str:
    """Return one self-contained page about a verdict, for reading offline and for printing.

    Args:
        verdict: The verdict.
        extraction: Faces and motion behind it.
        detector: Detector that gave it.
        file: The file, of which size and checksum are told.
        maps: `dfutils.prediction.explanation.heat_images` of people, by the person's number from 0.
    """
    document = json.dumps(verdict_document(detector, [verdict]), indent=2)
    body = "".join(
        [
            verdict_html(verdict, extraction, detector, people=MOST_PEOPLE),
            heat_html(maps) if maps else "",
            file_html(verdict, extraction, file),
            credentials_html(verdict),
            f"<section><h3>What was not examined</h3><p>{escape(words.not_examined(extraction))}</p>"
            f"<p>{escape(words.SECOND_OPINION)}</p></section>",
            f'<section class="df-long"><h3>The detector</h3>{detector_html(detector, folded=False)}'
            f'<p class="df-small">Checksum of its weights: {escape(detector.settings.weights_sha256)}</p></section>',
        ]
    )
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("verdict_page.css", "verdict.css"))
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
    title = escape(printable(Path(verdict.input).name))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{verdict.label}: {title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<main class="df-answer"><h1>{title}</h1>{body}'
        f"<footer>Made by dfutils {dfutils.__version__} on {now} UTC.</footer></main>\n"
        f'<script type="application/json" id="verdict">{document.replace("<", chr(92) + "u003c")}</script>\n'
        "</body>\n</html>\n"
    )


def verdict_html(
    verdict: Verdict,
    extraction: Extraction | None,
    detector: Detector,
    *,
    people: int,
    is_fake: bool | None = None,
    player: str = "",
) -> str:
    """Return the answer, what speaks against it, its timeline and the faces that it rests on.

    Args:
        verdict: The verdict.
        extraction: Faces and motion behind it.
        detector: Detector that gave it.
        people: Largest number of people whose faces are shown.
        is_fake: Ground truth, if known.
        player: HTML above the timeline.
    """
    name = str(verdict.label).lower()
    head = f'<h2 class="df-{name}">{escape(words.HEADLINES[verdict.label])}</h2>'
    if verdict.fake_probability is not None and words.has_meaningful_probability(verdict):
        (real_up_to, fake_from), score = detector.answer_range, verdict.fake_probability
        head += (
            f'<p class="df-number"><b>{words.of_a_hundred(score)} %</b> probability of FAKE</p>'
            f'<div class="df-meter" role="img" aria-label="Probability of FAKE {rate_text(score)}; REAL up to '
            f'{rate_text(real_up_to)}, FAKE from {rate_text(fake_from)} on"><i style="width:{score:.1%}"></i>'
            f'<s style="left:{real_up_to:.1%}"></s><s style="left:{fake_from:.1%}"></s></div>'
        )
    head += "".join(f"<p>{escape(line)}</p>" for line in words.meaning(verdict, detector))
    if is_fake is not None:
        head += f"<p><b>{escape(words.truth(verdict, is_fake=is_fake))}</b></p>"
    parts = [f'<section class="df-verdict df-edge-{name}">{head}</section>']
    if doubts := words.doubts(verdict, extraction, detector):
        title = "What makes this uncertain" if verdict.label == Label.UNDECIDED else "What speaks against it"
        parts.append(f"<section><h3>{title}</h3>{_points(doubts)}</section>")
    elif verdict.label != Label.UNDECIDED:
        parts.append(f"<section><h3>What speaks against it</h3><p>{escape(words.NO_DOUBTS)}</p></section>")
    if extraction is not None:
        parts.append(player)
        counting = people_who_count(verdict)
        parts.append(timeline(verdict, extraction, thresholds=detector.answer_range, people=counting[:people]))
        for place, number in enumerate(counting[:people]):
            clip, track = extraction.clips[number], verdict.tracks[number]
            shown = _person(number, clip, track, detector, of=len(verdict.tracks))
            parts.append(shown if place < MOST_PRINTED else f'<div class="df-screen">{shown}</div>')
        if len(counting[:people]) > MOST_PRINTED:
            parts.append('<p class="df-paper">The page on the screen shows the other people too.</p>')
        if hidden := len(counting[people:]):
            whose = "1 more person was" if hidden == 1 else f"{hidden} more people were"
            parts.append(f"<p>{whose} scored but not shown; the JSON has the scores.</p>")
        if small := len(verdict.tracks) - len(counting):
            whose = "1 more person has a face that is" if small == 1 else f"{small} more people have faces that are"
            parts.append(f"<p>{whose} too small to count; the JSON has the scores.</p>")
    return "".join(parts)


def credentials_html(verdict: Verdict) -> str:
    """Return what the file says about its own origin, apart from the answer."""
    note = "Content credentials are statements that a program signed into the file. They do not change the answer."
    sentence = escape(credentials_sentence(verdict.credentials))
    return f'<section><h3>Content credentials</h3><p>{sentence}</p><p class="df-small">{note}</p></section>'


def people_who_count(verdict: Verdict) -> list[int]:
    """Return the people whose faces are large enough to count, or all if nobody's is; whoever decides comes first."""
    everybody = sorted(range(len(verdict.tracks)), key=lambda number: (number != verdict.person, number))
    return [number for number in everybody if verdict.tracks[number].counts] or everybody


def file_html(verdict: Verdict, extraction: Extraction | None, file: Path) -> str:
    """Return the facts of the file: its size and checksum, and what its stream says."""
    facts = {"Name": printable(Path(verdict.input).name)}
    with suppress(OSError):  # a file that is missing or cannot be opened has no facts
        facts |= {"Size": f"{file.stat().st_size:,} bytes", "SHA-256": sha256_of(file)}
    if extraction is not None:
        info = extraction.info
        facts["Picture"] = f"{info.width} × {info.height} pixels"
        if info.duration_seconds:
            facts["Length"] = f"{info.duration_seconds:.1f} s, {info.fps:.5g} frames per second"
    rows = "".join(f"<tr><th scope=row>{name}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return f'<section><h3>The file</h3><table class="df-facts">{rows}</table></section>'


def detector_html(detector: Detector, *, folded: bool = True) -> str:
    """Return the detector's name, measurements and limits, folded away or in full."""
    measured = _record(words.measurements(detector.folder))
    fails = words.weaknesses(detector.folder)
    if not folded and measured:  # what is folded away is not printed
        name = f"{detector.settings.name} {detector.settings.version}"
        auc = "AUC is how often a FAKE scores above a REAL one: 0.5 is a coin toss, 1 perfect."
        failures = f"<h4>Where it fails</h4>{_points(fails)}" if fails else ""
        return f"<p>{escape(name)} was measured, with 95 % intervals. {auc}</p>{measured}{failures}"
    parts = [f"<p>{escape(words.detector_sentence(detector.settings, detector.folder))}</p>"]
    for title, content in (("All measurements", measured), ("Where it fails", _points(fails) if fails else "")):
        if content:
            parts.append(f"<details><summary>{title}</summary>{content}</details>")
    return "".join(parts)


def _record(measured: Mapping[str, str]) -> str:
    """Return measurements as a table, or nothing if there are none; no line ends between a number and its %."""
    rows = "".join(
        f"<tr><th scope=row>{escape(what)}</th><td>{escape(value.replace(' %', chr(0xA0) + '%'))}</td></tr>"
        for what, value in measured.items()
    )
    return f'<table class="df-record">{rows}</table>' if rows else ""


def _points(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def heat_html(maps: Mapping[int, Mapping[int, Image]]) -> str:
    """Return `dfutils.prediction.explanation.heat_images` of people, by their numbers from 0, one row per person."""
    rows = []
    for place, (person, images) in enumerate(maps.items()):
        number = person + 1
        figures = "".join(
            f'<li><img src="{_data(image)}" alt="Heat map over face {index} of person {number}"></li>'
            for index, image in enumerate(images.values(), start=1)
        )
        title = "" if list(maps) == [0] else f"<h4>Person {number}</h4>"
        row = f'{title}<ul class="df-faces">{figures}</ul>'
        rows.append(f'<div class="df-screen">{row}</div>' if place else row)  # on paper there is room for one
    note = (
        "The same faces in the same order: bright and orange areas raised the score most (Grad-CAM). The maps "
        "are coarse, and every face has one, REAL faces too: they hint at where to look and are not evidence."
    )
    if len(maps) > 1:
        rows.append('<p class="df-paper">The page on the screen has those of the other people too.</p>')
    heading = f"<h3>Heat maps</h3><p>{note}</p>"
    return f'<section class="df-answer df-long" aria-label="Heat maps">{heading}{"".join(rows)}</section>'


def _person(number: int, clip: FaceClip, track: TrackScore, detector: Detector, *, of: int) -> str:
    label = detector.label_of_person(track)
    title = f"Person {number + 1}" if of > 1 else "The faces that were scored"
    weight = f"which on its own would be {label}" if track.counts else "but the face is too small to count"
    score = f"{words.of_a_hundred(track.fake_probability)} % probability of FAKE, {weight}"
    items, seen = [], set[int]()
    for image, crop, frame in zip(clip.images, clip.crops, track.frames, strict=True):
        if crop.frame_index in seen:
            continue  # a short track repeats some frames
        seen.add(crop.frame_index)
        at = f"{frame.time_seconds:.1f} s" if len(clip.crops) > 1 else ""  # an image has no time
        share = frame.fake_probability
        score_of_frame = "" if share is None else f"{words.of_a_hundred(share, short=True)} %"
        text = " · ".join(filter(None, (at, score_of_frame)))
        alt = f"Face of person {number + 1}{f' at {at}' if at else ''}"
        items.append(f'<li><img src="{_data(image)}" alt="{alt}"><span>{escape(text)}</span></li>')
    note = "" if detector.has_frame_head else "<p>This detector scores a person's faces together, not one by one.</p>"
    return (
        f"<section><h3>{title}</h3><p>{score if of > 1 or not track.counts else 'Time and score of each face.'}"
        f'</p><ul class="df-faces">{"".join(items)}</ul>{note}</section>'
    )


def _data(image: Image) -> str:
    content = encode_image(image, image_format="jpg")
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
