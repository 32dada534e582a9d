"""The page about a verdict is self-contained, says what the verdict says, and fits on two sheets of paper."""

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dfutils.cli import main
from dfutils.demo.examples import make_two_people_video
from dfutils.files import sha256_of
from dfutils.prediction.detector import load_detector, verdict_document
from dfutils.records import Label, Reason
from dfutils.report.timeline import timeline
from dfutils.report.verdict_page import MOST_PEOPLE, people_who_count, verdict_html, verdict_page
from dfutils.report.verdict_words import NO_DOUBTS, doubts, not_examined

HOSTILE = "<img src=x onerror=alert(1)>.mp4"


@pytest.fixture(scope="module")
def detector(demo_run):
    return load_detector(demo_run)


@pytest.fixture(scope="module")
def examined(detector, demo_videos, tmp_path_factory):
    video = shutil.copy(demo_videos[0], tmp_path_factory.mktemp("videos") / HOSTILE)
    return detector.examine(video)


@pytest.fixture(scope="module")
def two_people(tmp_path_factory):
    return make_two_people_video(tmp_path_factory.mktemp("two") / "two.mp4")


@pytest.fixture(scope="module")
def page(detector, examined, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "verdict.html"
    verdict, extraction = examined
    path.parent.mkdir(exist_ok=True)
    path.write_text(verdict_page(verdict, extraction, detector, file=Path(verdict.input)), encoding="utf-8")
    return path


def test_the_page_has_the_answer_the_facts_of_the_file_and_the_whole_verdict(page, examined, detector):
    html, verdict = page.read_text(), examined[0]
    assert f'<h2 class="df-{str(verdict.label).lower()}">{verdict.label}: ' in html
    assert sha256_of(Path(verdict.input)) in html
    assert detector.settings.weights_sha256 in html
    assert html.count("<img ") == len({crop.frame_index for crop in examined[1].clips[0].crops})
    (document,) = re.findall(r'<script type="application/json" id="verdict">(.*?)</script>', html, re.DOTALL)
    assert json.loads(document) == verdict_document(detector, [verdict])


def test_a_name_from_outside_is_escaped_everywhere(page):
    assert "<img src=x" not in page.read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;.mp4" in page.read_text()


def test_the_page_is_whole_in_a_browser_without_the_network(page, browser_page):
    shown = browser_page.open(page).page
    for width, scheme in ((390, "light"), (1280, "dark")):
        shown.set_viewport_size({"width": width, "height": 900})
        shown.emulate_media(color_scheme=scheme)
        assert browser_page.broken_images() == []
        assert shown.evaluate("() => document.documentElement.scrollWidth") <= width
    assert (browser_page.errors, browser_page.external, browser_page.failures) == ([], [], [])


def test_the_page_of_the_included_detector_is_printed_on_two_sheets_with_heat_maps(two_people, browser_page, tmp_path):
    people, detector = MOST_PEOPLE + 1, load_detector()
    verdict, extraction = detector.examine(two_people)
    verdict = replace(verdict, tracks=verdict.tracks[:1] * people, person=0, input=f"{'W' * 240}.mp4")
    extraction = replace(extraction, clips=extraction.clips[:1] * people)
    maps = {number: dict(enumerate(extraction.clips[0].images)) for number in range(MOST_PEOPLE)}
    page = tmp_path / "verdict.html"
    html = verdict_page(verdict, extraction, detector, file=two_people, maps=maps)
    page.write_text(html, encoding="utf-8")
    assert html.count("<img ") == 2 * sum(map(len, maps.values()))
    assert html.count("<tr>") > 15  # the detector's record
    printed = browser_page.open(page).page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) in (1, 2)


def test_without_a_face_the_page_says_why(detector, tmp_path):
    video = tmp_path / "notes.mp4"
    video.write_text("no video")
    html = verdict_page(*detector.examine(video), detector, file=video)
    assert "UNDECIDED: no verdict" in html
    assert "could not be read as a video or image: " in html
    assert sha256_of(video) in html


def answering(detector, *, real_up_to, fake_from):
    """The same detector with other thresholds."""
    other = copy.copy(detector)
    other.settings = detector.settings.model_copy(update={"real_up_to": real_up_to, "fake_from": fake_from})
    return other


def with_scores(verdict, scores, label=Label.FAKE):
    track = verdict.tracks[0]
    frames = tuple(replace(frame, fake_probability=score) for frame, score in zip(track.frames, scores, strict=True))
    track = replace(track, frames=frames, fake_probability=0.8)
    return replace(verdict, label=label, fake_probability=0.8, tracks=(track,), person=0)


def test_what_speaks_against_an_answer_is_said_or_that_nothing_was_found(detector, examined):
    verdict, extraction = examined
    strict, mild = (answering(detector, real_up_to=0.3, fake_from=end) for end in (0.78, 0.6))
    said = " ".join(doubts(with_scores(verdict, [0.9] * 7 + [0.1] * 3), extraction, strict))
    assert "3 of 10 faces that were scored would be called REAL on their own." in said
    assert "The faces disagree: their probabilities of FAKE go from 10 to 90 %." in said
    assert "The probability is close to the threshold for FAKE." in said
    sure = with_scores(verdict, [0.8] * 10)
    info = replace(extraction.info, is_truncated=True, declared_seconds=4.0, duration_seconds=1.6)
    cut_off = replace(extraction, info=info)
    assert doubts(sure, cut_off, mild) == ["The file is incomplete: the file ends after 1.6 of 4.0 s."]
    assert doubts(sure, extraction, mild) == []
    assert NO_DOUBTS in verdict_html(sure, extraction, mild, people=5)
    assert not_examined(cut_off).startswith("The part that exists (1.6 s) was searched")
    assert not_examined(extraction).startswith("The whole length (2.0 s) was searched")


def test_a_score_near_its_threshold_is_so_at_any_prior(detector, examined):
    verdict, extraction = examined
    known = answering(detector, real_up_to=0.3, fake_from=0.7)
    said = "The probability is close to the threshold for REAL."
    for prior in (0.5, 0.001, 1e-6):
        judge = known.for_prior(prior)
        for calibrated, is_near in ((0.05, False), (0.29, True)):
            score = judge.at_prior(calibrated)
            track = replace(verdict.tracks[0], fake_probability=score)
            real = replace(verdict, label=Label.REAL, fake_probability=score, tracks=(track,), person=0)
            assert (said in doubts(real, extraction, judge)) == is_near


def test_a_face_that_is_too_small_to_decide_has_no_large_number(detector, examined):
    verdict, extraction = examined
    tracks = tuple(replace(track, counts=False) for track in verdict.tracks)
    small = replace(verdict, label=Label.UNDECIDED, reason=Reason.LOW_CONFIDENCE, detail="too small", tracks=tracks)
    shown, hidden = (verdict_html(one, extraction, detector, people=5) for one in (verdict, small))
    assert ("df-number" in shown, "df-number" in hidden) == (True, False)
    assert "with such a score would be fake" not in hidden


def test_each_person_has_a_line_of_its_own_in_the_timeline(detector, examined):
    verdict, extraction = examined
    four = replace(verdict, tracks=verdict.tracks[:1] * 4)
    drawn = timeline(four, extraction, thresholds=(0.2, 0.8), people=[0, 2, 3])
    assert drawn.count('class="df-scores"') == 3
    assert "(person 1 solid, person 3 dashed, person 4 dotted)" in drawn
    six = replace(verdict, tracks=verdict.tracks[:1] * 6)
    drawn = timeline(six, extraction, thresholds=(0.2, 0.8), people=range(6))
    assert drawn.count('class="df-scores"') == 5
    assert "person 5 long dashes; others are left out)" in drawn


def test_the_rates_of_one_person_are_not_promised_for_several(detector, examined):
    verdict, extraction = examined
    one = with_scores(verdict, [0.8] * 10)
    two, twice = replace(one, tracks=one.tracks * 2), replace(extraction, clips=extraction.clips * 2)
    assert detector.settings.answer_costs is not None
    assert "These rates are for one person." not in verdict_html(one, extraction, detector, people=5)
    assert "Here the highest score of 2 people decides" in verdict_html(two, twice, detector, people=5)


def test_only_people_who_count_are_shown_unless_nobody_does_and_whoever_decides_is_first(detector, two_people):
    verdict, extraction = detector.examine(two_people)
    assert people_who_count(replace(verdict, person=1)) == [1, 0]
    verdict = replace(verdict, person=0)
    assert people_who_count(verdict) == [0, 1]
    first, second = verdict.tracks
    nobody = replace(verdict, tracks=(replace(first, counts=False), replace(second, counts=False)))
    assert people_who_count(nobody) == [0, 1]
    tracks = (replace(first, fake_probability=0.1), replace(second, fake_probability=0.99, counts=False))
    small = replace(verdict, label=Label.REAL, fake_probability=0.1, tracks=tracks, person=0)
    assert people_who_count(small) == [0]
    html = verdict_html(small, extraction, detector, people=5)
    assert "1 more person has a face that is too small to count" in html
    assert "A face that is too small to count has a probability of FAKE of 99 %." in doubts(small, extraction, detector)


def test_repeated_frames_of_a_short_track_count_once(detector, examined):
    verdict, extraction = examined
    clip = extraction.clips[0]
    crops = tuple(replace(crop, frame_index=number // 5) for number, crop in enumerate(clip.crops))
    short = replace(extraction, clips=(replace(clip, crops=crops),))
    said = doubts(with_scores(verdict, [0.9] * 5 + [0.1] * 5), short, detector)
    assert "Only 2 different frames of 10 show the face." in said
    assert "1 of 2 face that was scored would be called REAL on its own." in said


def test_the_input_is_not_overwritten_by_its_page(demo_run, demo_videos, tmp_path, capsys):
    video = shutil.copy(demo_videos[0], tmp_path / "a.mp4")
    before, same = video.read_bytes(), str(tmp_path / "same.html")
    for given, outputs, message in (
        (video, ["--report", str(video)], "--report: "),
        (tmp_path, ["--csv", str(video)], "--csv: "),  # the folder holds it alone
        (tmp_path, ["--report", same, "--csv", same], "--report and --csv name the same path"),
    ):
        with pytest.raises(SystemExit):
            main(["predict", str(given), "--model", str(demo_run), *outputs])
        said = capsys.readouterr().err
        assert message in said
        assert ("is an input. Choose another path" in said) == message.endswith(": ")
    assert video.read_bytes() == before
    assert list(tmp_path.iterdir()) == [video]


def test_a_page_that_cannot_be_written_is_noticed_before_any_work(demo_run, demo_videos, tmp_path, capsys):
    (tmp_path / "page").mkdir()
    for page, message in (
        (tmp_path / "page", "page: is a folder. Give a file name."),
        (demo_videos[0] / "v.html", "cannot be written (Not a directory)"),
    ):
        outputs = ["--report", str(page), "--frames-dir", str(tmp_path / "faces")]
        assert main(["predict", str(demo_videos[0]), "--model", str(demo_run), *outputs]) == 1
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_a_page_is_about_one_input(demo_run, demo_videos, tmp_path, capsys):
    for inputs in (demo_videos[:2], [demo_videos[0].parent]):
        with pytest.raises(SystemExit, match="2"):
            main(["predict", *map(str, inputs), "--model", str(demo_run), "--report", str(tmp_path / "v.html")])
        assert "--report writes a page about one input" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
