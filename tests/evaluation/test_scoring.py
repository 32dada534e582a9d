"""A video has the same score in a report as in prediction."""

from collections import Counter
from dataclasses import replace

import pytest

from dfutils.errors import ReportError
from dfutils.evaluation.scoring import Measured, RunSplits, rows_of_split, splits_of_skipped, video_predictions
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.extraction.tables import SKIPPED_COLUMNS
from dfutils.files import write_csv
from dfutils.prediction.detector import Detector, face_pixels
from dfutils.prediction.members import ClipScore
from dfutils.records import ClipRow
from dfutils.report.examples import error_gallery
from dfutils.runs.record import DetectorRecord
from dfutils.settings import ExtractionSettings


@pytest.fixture(scope="module")
def dataset(demo_faces):
    return read_face_dataset(demo_faces)


@pytest.fixture(scope="module")
def people(dataset):
    """A clip with a large and one with a smaller face, as two people in one REAL video."""
    by_size = sorted(dataset.rows, key=lambda row: face_pixels(dataset.boxes[row.clip_id]))
    return [
        replace(row, video="two.mp4", is_fake=False, track=track)
        for track, row in enumerate((by_size[-1], by_size[0]))
    ]  # fmt: skip


def detector(demo_run, **values):
    settings = DetectorRecord.read(demo_run / "detector.json")
    return Detector(settings.model_copy(update={"threshold": 0.5, **values}), [], demo_run)


LARGE, SMALL = ClipScore(0.2, 0.2, None), ClipScore(0.9, 0.9, None)


def test_a_face_that_is_too_small_does_not_decide_in_a_report(demo_run, dataset, people):
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
    assert (mistake.image == dataset.load_clip(people[1])[people[1].frames // 2]).all()
    assert mistake.reason.endswith("2 people, the highest score counts")


def clip(number, *, group):
    return ClipRow(
        f"c{number}", f"{number}.mp4", number % 2 == 0, "d", group, None, 0, 1, 9, 9, 1.0, 1.0, 9, f"{number}"
    )  # fmt: skip


@pytest.fixture
def partly_assigned(tmp_path):
    """Five groups with clips, split 3:1:1; skipped are a sixth video of group_0 and videos of 1,000 other groups."""
    assigned = ["train", "train", "train", "validation", "test"]
    splits = [{"video": f"{n}.mp4", "group": f"group_{n}", "split": split} for n, split in enumerate(assigned)]
    write_csv(tmp_path / "splits.csv", ("video", "group", "split"), splits)
    skipped = [("5.mp4", "group_0"), *((f"skipped_{n}.mp4", f"skipped_{n}") for n in range(1000))]
    about = {"reason": "no_face", "detail": "", "is_fake": "false", "dataset": "d", "split": ""}
    rows = [{**about, "video": video, "group": group} for video, group in skipped]
    write_csv(tmp_path / "skipped.csv", SKIPPED_COLUMNS, rows)
    clips = tuple(clip(n, group=f"group_{n}") for n in range(5))
    return FaceDataset(tmp_path, clips, ExtractionSettings(), {}), RunSplits(tmp_path, is_ensemble=False)


def test_videos_without_a_clip_follow_their_group_or_are_spread_over_the_splits(partly_assigned):
    found = [split for _, split in splits_of_skipped(*partly_assigned)]
    assert found[0] == "train"
    assert Counter(found[1:]) == {
        "train": pytest.approx(600, abs=50),
        "validation": pytest.approx(200, abs=40),
        "test": pytest.approx(200, abs=40),
    }
    assert found == [split for _, split in splits_of_skipped(*partly_assigned)]


def test_videos_without_a_clip_of_an_unknown_dataset_are_test(partly_assigned):
    dataset, splits = partly_assigned
    foreign = replace(dataset, rows=(clip(6, group="elsewhere"),))
    assert {split for row, split in splits_of_skipped(foreign, splits) if row["video"] != "5.mp4"} == {"test"}


def test_a_split_without_a_clip_is_an_error(demo_run, demo_faces, tmp_path):
    run, splits = tmp_path / "run", (demo_run / "splits.csv").read_text()
    run.mkdir()
    (run / "splits.csv").write_text(splits.replace(",validation", ",test"))
    known, settings = RunSplits(run, is_ensemble=False), detector(demo_run).settings
    with pytest.raises(ReportError, match=r"no clip is in the split 'validation' of .*/run\. Choose another --split"):
        rows_of_split(run, demo_faces, settings, known, "validation")
    assert len(rows_of_split(run, demo_faces, settings, known, "all")[1]) == 12
