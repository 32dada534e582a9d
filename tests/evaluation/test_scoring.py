"""A video's score in a report is the one that prediction gives it."""

from dataclasses import replace

import pytest

from dfutils.evaluation.gallery import error_gallery
from dfutils.evaluation.scoring import Measured, video_predictions
from dfutils.extraction.dataset import read_face_dataset
from dfutils.prediction.detector import ClipScore, Detector, face_pixels
from dfutils.settings import DetectorSettings


@pytest.fixture(scope="module")
def dataset(demo_faces):
    return read_face_dataset(demo_faces)


@pytest.fixture(scope="module")
def people(dataset):
    """A clip with a large face and one with a smaller face, entered as two people of one REAL video."""
    by_size = sorted(dataset.rows, key=lambda row: face_pixels(dataset.boxes[row.clip_id]))
    return [
        replace(row, video="two.mp4", is_fake=False, track=track)
        for track, row in enumerate((by_size[-1], by_size[0]))
    ]  # fmt: skip


def detector(demo_run, **values):
    settings = DetectorSettings.read(demo_run / "detector.json")
    return Detector(settings.model_copy(update={"threshold": 0.5, **values}), [], demo_run)


LARGE, SMALL = ClipScore(0.2, 0.2, None), ClipScore(0.9, 0.9, None)


def test_a_face_that_is_too_small_to_decide_does_not_decide_in_a_report(demo_run, dataset, people):
    large, small = (face_pixels(dataset.boxes[row.clip_id]) for row in people)
    found = {}
    for least in (0, int(small) + 1, int(large) + 1):
        judge = detector(demo_run, min_face_pixels=least)
        (row,) = video_predictions(judge, dataset, people, [LARGE, SMALL], []).to_dict("records")
        found[least] = (row["fake_probability"], row["label"], row["reason"])
    assert list(found.values()) == [
        (0.9, "FAKE", "ok"),
        (0.2, "REAL", "ok"),
        (0.9, "UNDECIDED", "low_confidence"),
    ]


def test_the_gallery_shows_the_person_whose_score_counts(demo_run, dataset, people):
    scores = (LARGE, SMALL)
    predictions = video_predictions(detector(demo_run), dataset, people, scores, [])
    measured = Measured(dataset, tuple(people), scores, {}, predictions)
    (mistake,) = error_gallery([measured], threshold=0.5)
    assert (mistake.picture == dataset.load_clip(people[1])[people[1].frames // 2]).all()
    assert mistake.reason.endswith("2 people, the highest score counts")
