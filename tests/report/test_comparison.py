"""A comparison leaves out, for all detectors, what one of them was trained on, and says so."""

import json
import shutil

import pytest

from dfutils.errors import ReportError
from dfutils.evaluation.predictions import read_predictions
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv, write_csv
from dfutils.report.comparison import NO_LEAK, compare_runs
from dfutils.runs.folder import RunFolder

COLUMNS = ("video", "group", "is_fake", "split", "sha256")


@pytest.fixture
def other_run(demo_run, tmp_path):
    """Return a copy of the demo's run whose splits are changed row by row."""

    def make(change, columns=COLUMNS):
        run = shutil.copytree(demo_run, tmp_path / "other")
        rows = read_csv(run / "splits.csv", COLUMNS)
        write_csv(run / "splits.csv", columns, ({name: change(row)[name] for name in columns} for row in rows))
        RunFolder(run).refresh_checksums(["splits.csv"])
        return run

    return make


@pytest.fixture
def new_videos(demo_run):
    return sorted(row["video"] for row in read_csv(demo_run / "splits.csv", COLUMNS) if row["split"] == "test")


def renamed(row, **values):
    return {**row, "video": f"old {row['video']}", "group": f"old {row['group']}", **values}


def compared(runs, faces, report):
    found = compare_runs(runs, faces, report, resamples=20, progress=False)
    return found, sorted(read_predictions(report / "predictions.csv")["video"])


def test_files_that_one_run_was_trained_on_under_other_names_are_left_out_for_all(
    demo_run, demo_faces, other_run, new_videos, tmp_path
):
    leaky = new_videos[0]
    run = other_run(lambda row: renamed(row, split="train") if row["video"] == leaky else row)
    found, videos = compared([demo_run, run], demo_faces, tmp_path / "report")
    said, count = found.lines, len(new_videos)
    assert said[0] == f"{count - 1} of {count} test videos are compared; the others are left out for all."
    assert said[1] == (
        "other was trained or validated on 1 of them, or on others of their groups; 1 under another name "
        f"(first: {leaky} is old {leaky})."
    )
    assert videos == new_videos[1:]
    html = (tmp_path / "report" / "report.html").read_text()
    assert html.count(said[1]) == 2  # beside the tables, and under leaks
    assert "without a leak report" not in html
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["comparison"]["left_out"] == {demo_run.name: 0, "other": 1}


def test_people_that_one_run_was_validated_on_in_other_videos_are_left_out(
    demo_run, demo_faces, other_run, new_videos, tmp_path
):
    groups = {row.video: row.group for row in read_face_dataset(demo_faces).rows}
    person = groups[new_videos[0]]
    of_person = [video for video in new_videos if groups[video] == person]

    def change(row):  # it knows the videos as those of a stranger, and the person from other videos
        if row["group"] == person:
            return {**row, "group": "stranger"}
        return {**row, "group": person, "split": "validation"} if row["split"] == "validation" else row

    found, videos = compared([demo_run, other_run(change)], demo_faces, tmp_path / "report")
    assert 0 < len(of_person) < len(new_videos)
    assert videos == [video for video in new_videos if video not in of_person]
    assert found.document["left_out"]["other"] == len(of_person)


def test_a_file_that_both_runs_were_trained_on_under_another_name_is_left_out(
    demo_run, demo_faces, other_run, new_videos, tmp_path
):
    one = other_run(lambda row: renamed(row, split="train") if row["video"] == new_videos[0] else row)
    two = shutil.copytree(one, tmp_path / "two")
    found, videos = compared([one, two], demo_faces, tmp_path / "report")
    assert videos == new_videos[1:]
    assert found.document["left_out"] == {"other": 1, "two": 1}


def test_runs_with_the_same_splits_are_compared_on_all_new_videos_without_a_remark(
    demo_run, demo_faces, other_run, new_videos, tmp_path
):
    found, videos = compared([demo_run, other_run(lambda row: row)], demo_faces, tmp_path / "report")
    assert videos == new_videos
    assert len(found.lines) == 1
    assert NO_LEAK in (tmp_path / "report" / "report.html").read_text()


def test_a_run_that_did_not_record_its_files_is_named(demo_run, demo_faces, other_run, tmp_path):
    found, _ = compared([demo_run, other_run(lambda row: row, COLUMNS[:-1])], demo_faces, tmp_path / "report")
    assert found.lines[0].startswith("other does not record its files, so it may have been trained on these videos")


def test_a_detector_that_records_nothing_is_named(demo_run, demo_faces, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("detector.json", "model.weights.h5"):
        shutil.copy(demo_run / name, packed / name)
    found, _ = compared([packed, demo_run], demo_faces, tmp_path / "report")
    assert any(line.startswith("packed does not record its training data, so it may") for line in found.lines)


def test_when_every_video_was_used_by_a_run_the_error_says_by_which(demo_run, demo_faces, other_run, tmp_path):
    run = other_run(lambda row: renamed(row, split="train"))
    with pytest.raises(ReportError, match=r"none of its 12 videos is left to compare on, .* other: 12\)\. Train the"):
        compare_runs([demo_run, run], demo_faces, tmp_path / "report", progress=False)
    assert not (tmp_path / "report").exists()
