"""Parts of the page that need no server: words, uploads, examples."""

import io
import os
import threading
import time

import pytest
from earlier_versions import OLD_DETECTOR

pytest.importorskip("gradio", reason="the web page needs pip install '.[app]'")

from dfutils.app.examples import EXAMPLES, ExampleFolder
from dfutils.app.uploads import Uploads, UploadsFullError
from dfutils.files import write_json
from dfutils.prediction.detector import Detector
from dfutils.pretrained import DEFAULT, FOLDER
from dfutils.records import Label, Reason, Verdict
from dfutils.report import verdict_words as words
from dfutils.runs.record import AnswerCosts, DetectorRecord, Rate
from dfutils.statistics.formatting import rate_text

SHIPPED = FOLDER / DEFAULT


@pytest.fixture
def uploads():
    uploads = Uploads(most=2, keep_seconds=60)
    yield uploads
    uploads.close()


@pytest.fixture(scope="module")
def settings():
    return DetectorRecord.read(SHIPPED / "detector.json")


def meaning(verdict, settings):
    return words.meaning(verdict, Detector(settings, [], SHIPPED))


def test_two_visitors_get_the_same_example_at_once():
    examples, got = ExampleFolder(), []
    threads = [threading.Thread(target=lambda: got.append(examples.path(EXAMPLES[-1]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.stat().st_size > 1000 for path in got] == [True, True]
    examples.close()


def test_equal_uploads_are_separate_and_deleted_separately(uploads):
    first, second = (uploads.store(io.BytesIO(b"same"), "a.mp4") for _ in range(2))
    with uploads.taken(first) as path:
        assert path.read_bytes() == b"same"
        with uploads.taken(first) as again:
            assert again is None
    with uploads.taken(second) as path:
        assert path.read_bytes() == b"same"
    assert list(uploads.folder.iterdir()) == []


def test_an_upload_without_a_request_is_deleted_after_a_while(uploads):
    tokens = [uploads.store(io.BytesIO(b"x"), "a.mp4") for _ in range(2)]
    with pytest.raises(UploadsFullError):
        uploads.store(io.BytesIO(b"x"), "a.mp4")
    os.utime(uploads.folder / tokens[0], (time.time() - 61,) * 2)
    uploads.store(io.BytesIO(b"x"), "a.mp4")
    assert not (uploads.folder / tokens[0]).exists()


def test_only_a_known_suffix_of_a_file_name_is_kept():
    names = {"a.MOV": ".mov", "a.php": ".mp4", "../../b.png": ".png", "a.mp4/../c": ".mp4", "": ".mp4"}
    uploads = Uploads(most=len(names), keep_seconds=60)
    for name, suffix in names.items():
        token = uploads.store(io.BytesIO(b"x"), name)
        assert (len(token), token[43:]) == (43 + len(suffix), suffix)
    uploads.close()
    assert not uploads.folder.exists()


def test_the_sentence_about_the_detector_agrees_with_its_files(settings):
    said, measured = words.detector_sentence(settings, SHIPPED), words.measurements(SHIPPED)
    assert f"DFDC: AUC {measured['DFDC: AUC']}" in said
    assert f"DFDC: REAL called FAKE {measured['DFDC: REAL called FAKE']}" in said
    assert f"{settings.name} {settings.version}" in said
    assert len(words.weaknesses(SHIPPED)) >= 3


def test_the_rate_in_the_words_of_an_earlier_detector_is_found(settings, tmp_path):
    measured = {"DFDC: AUC": "0.78", "REAL called FAKE, DFDC face crops of new people": "0.04"}
    write_json(tmp_path / "metrics.json", {"measured": measured})
    assert "AUC 0.78; REAL called FAKE, DFDC face crops of new people 0.04." in words.detector_sentence(
        settings, tmp_path
    )


def test_a_detector_without_measurements_says_so(settings, tmp_path):
    assert "without measurements" in words.detector_sentence(settings, tmp_path)
    assert words.weaknesses(tmp_path) == []


def test_every_reason_has_a_sentence(settings):
    for reason in set(Reason) - {Reason.OK}:
        probability = 0.5 if reason == Reason.LOW_CONFIDENCE else None
        (first, *_) = meaning(Verdict("a", probability, Label.UNDECIDED, reason), settings)
        assert first.endswith("."), reason


def test_a_file_above_a_limit_is_told_the_limit(settings):
    detail = "is longer than 300 s. Cut it, or raise max_seconds."
    (said,) = meaning(Verdict("a", None, Label.UNDECIDED, Reason.TOO_LARGE, detail), settings)
    assert said == "The file is too long or too large: longer than 300 s. Cut it, or scale it down."


def test_a_verdict_says_for_which_mix_its_probability_is_and_where_the_answers_begin(settings):
    known = settings.model_copy(update={"real_up_to": 0.31, "fake_from": 0.84, "answer_costs": COSTS})
    said = " ".join(meaning(Verdict("a", 0.17, Label.REAL, Reason.OK), known))
    assert "If half of all clips were fake, about 17 of 100 clips with such a score would be fake." in said
    assert "The detector says REAL up to 31\xa0%, FAKE from 84\xa0% on, and UNDECIDED between." in said
    assert "it called 2 of 100 REAL ones FAKE and 9 of 100 FAKE ones REAL; for new people" in said
    assert "(80 with REAL clips, 70 with FAKE ones), expect up to 3 of 100 and 10 of 100." in said
    assert "REAL is not proof" in said
    assert "These rates" not in said
    rare = Detector(known, [], SHIPPED).for_prior(0.01)
    said = " ".join(words.meaning(Verdict("a", 0.01, Label.REAL, Reason.OK), rare))
    assert "These rates were measured at a prior of 50\xa0%; at this one it answers less often." in said
    sure = known.model_copy(update={"real_up_to": 0.5, "fake_from": 0.5})
    said = " ".join(meaning(Verdict("a", 0.17, Label.REAL, Reason.OK), sure))
    assert "REAL up to 50\xa0%, FAKE from 50\xa0% on. On" in said


COSTS = AnswerCosts(
    max_false_positive_rate=0.03,
    max_false_negative_rate=0.1,
    false_positive_bound=0.03,
    false_negative_bound=0.1,
    false_positive_rate=Rate(value=0.02),
    false_negative_rate=Rate(value=0.09),
    undecided=Rate(value=0.3),
    real_groups=80,
    fake_groups=70,
)


def test_a_detector_of_an_earlier_version_says_that_it_always_answers():
    settings = DetectorRecord.parse(OLD_DETECTOR, source="")
    older = settings.model_copy(update={"real_up_to": None, "fake_from": None})
    said = " ".join(meaning(Verdict("a", 0.57, Label.REAL, Reason.OK), older))
    assert f"of an earlier version always answers: FAKE from {settings.threshold:.2f} on, else REAL." in said
    assert "If 62\xa0% of all clips were fake, about 57 of 100 clips with such a score would be fake." in said
    point = next(point for point in settings.operating_points if point.rule == settings.operating_point)
    assert f"it called {point.false_positive_rate * 100:.0f} of 100 REAL ones FAKE" in said


def test_the_included_detector_never_says_real_above_one_half(settings):
    real_up_to, fake_from = settings.answer_range
    assert real_up_to <= 0.5 <= fake_from
    assert [settings.label(value) for value in (real_up_to, real_up_to + 0.01, fake_from - 0.01, fake_from)] == [
        *(Label.REAL, Label.UNDECIDED, Label.UNDECIDED, Label.FAKE)
    ]
    said = " ".join(meaning(Verdict("a", 0.9, Label.FAKE, Reason.OK), settings))
    assert f"REAL up to {rate_text(real_up_to)}, FAKE from {rate_text(fake_from)} on, and UNDECIDED between." in said


def test_the_error_rates_say_on_which_clips_they_were_measured(settings):
    for fitted_on, clips in (
        ("validation", "On clips that it was not trained on"),
        ("out_of_fold", "On clips new to networks that were trained in the same way"),
    ):
        known = settings.model_copy(update={"fitted_on": fitted_on})
        said = " ".join(meaning(Verdict("a", 0.9, Label.FAKE, Reason.OK), known))
        assert f" {clips} it called " in said


@pytest.mark.parametrize(
    ("label", "is_fake", "end"),
    [
        (Label.FAKE, True, "forged, as the detector says."),
        (Label.REAL, False, "not forged, as the detector says."),
        (Label.REAL, True, "The detector missed it."),
        (Label.FAKE, False, "The detector is wrong."),
        (Label.UNDECIDED, True, "The detector does not decide."),
    ],
)
def test_an_example_shows_the_ground_truth(label, is_fake, end):
    assert words.truth(Verdict("a", 0.5, label, Reason.OK), is_fake=is_fake).endswith(end)


def test_a_face_too_small_to_decide_is_explained_with_its_size(settings):
    verdict = Verdict("a", 0.9, Label.UNDECIDED, Reason.LOW_CONFIDENCE, "the largest face is 30 pixels wide or high")
    assert "REAL or FAKE here. The largest face is 30 pixels wide or high." in meaning(verdict, settings)[0]
