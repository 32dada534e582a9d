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


def changed_run(demo_run, run, change, columns=COLUMNS):
    """Copy the demo's run and change its splits row by row."""
    shutil.copytree(demo_run, run)
    rows = [change(row) for row in read_csv(run / "splits.csv", COLUMNS)]
    write_csv(run / "splits.csv", columns, ({name: row[name] for name in columns} for row in rows))
    RunFolder(run).refresh_checksums(["splits.csv"])
    return run


def renamed(row, **values):
    return {**row, "video": f"old {row['video']}", "group": f"old {row['group']}", **values}


def compared(runs, faces, report):
    found = compare_runs(runs, faces, report, resamples=20, progress=False)
    return found, sorted(read_predictions(report / "predictions.csv")["video"])


@pytest.fixture(scope="module")
def new_videos(demo_run):
    """Both videos of each of two people, on whom no run was trained."""
    return sorted(row["video"] for row in read_csv(demo_run / "splits.csv", COLUMNS) if row["split"] == "test")


@pytest.fixture(scope="module")
def person(demo_faces, new_videos):
    """The group of the first of them."""
    return next(row.group for row in read_face_dataset(demo_faces).rows if row.video == new_videos[0])


@pytest.fixture(scope="module")
def comparison(demo_run, demo_faces, new_videos, person, tmp_path_factory):
    """The demo's run and four others, each of which knows some of the new videos or does not say which."""
    folder = tmp_path_factory.mktemp("runs")

    def trained_on_a_file(row):
        return renamed(row, split="train") if row["video"] == new_videos[0] else row

    def validated_on_a_person(row):  # it knows the videos as those of a stranger, and the person from other videos
        if row["group"] == person:
            return {**row, "group": "stranger"}
        return {**row, "group": person, "split": "validation"} if row["split"] == "validation" else row

    packed = folder / "packed"
    packed.mkdir()
    for name in ("detector.json", "model.weights.h5"):
        shutil.copy(demo_run / name, packed / name)
    runs = [
        demo_run,
        changed_run(demo_run, folder / "file", trained_on_a_file),
        changed_run(demo_run, folder / "person", validated_on_a_person),
        changed_run(demo_run, folder / "unrecorded", lambda row: row, COLUMNS[:-1]),
        packed,
    ]
    return *compared(runs, demo_faces, folder / "report"), folder / "report"


def test_what_one_detector_was_trained_on_is_left_out_for_all(comparison, demo_run, demo_faces, new_videos, person):
    found, videos, report = comparison
    of_person = {row.video for row in read_face_dataset(demo_faces).rows if row.group == person}
    assert (len(new_videos), len(of_person)) == (4, 2)
    assert videos == [video for video in new_videos if video not in of_person]
    # Eight videos are in the runs' own splits; all twelve are new to the detector that records nothing.
    left_out = {demo_run.name: 8, "file": 8 + 1, "person": 8 + 2, "unrecorded": 8, "packed": 0}
    assert found.document["left_out"] == left_out
    assert json.loads((report / "metrics.json").read_text())["comparison"]["left_out"] == left_out


def test_the_report_says_which_detector_knows_what_and_which_does_not_say_so(comparison, new_videos):
    found, _, report = comparison
    leaky = new_videos[0]
    summary, _, of_file, of_person, _, unrecorded, packed, *_ = found.lines
    assert summary == "2 of 12 test videos are compared; the others are left out for all."
    assert of_file == (
        "file was trained or validated on 9 of them, or on others of their groups; 1 under another name "
        f"(first: {leaky} is old {leaky})."
    )
    assert of_person == "person was trained or validated on 10 of them, or on others of their groups."
    assert unrecorded.startswith("unrecorded does not record its files, so it may have been trained on these videos")
    assert packed.startswith("packed does not record its training data, so it may")
    html = (report / "report.html").read_text()
    assert html.count(of_file) == 2  # beside the tables, and under leaks
    assert "without a leak report" not in html


def test_runs_with_the_same_splits_are_compared_on_all_new_videos_without_a_remark(
    demo_run, demo_faces, new_videos, tmp_path
):
    other = changed_run(demo_run, tmp_path / "other", lambda row: row)
    found, videos = compared([demo_run, other], demo_faces, tmp_path / "report")
    assert videos == new_videos
    assert len(found.lines) == 1
    assert NO_LEAK in (tmp_path / "report" / "report.html").read_text()


def test_when_every_video_was_used_by_a_run_the_error_says_by_which(demo_run, demo_faces, tmp_path):
    other = changed_run(demo_run, tmp_path / "other", lambda row: renamed(row, split="train"))
    with pytest.raises(ReportError, match=r"none of its 12 videos is left to compare on, .* other: 12\)\. Train the"):
        compare_runs([demo_run, other], demo_faces, tmp_path / "report", progress=False)
    assert not (tmp_path / "report").exists()
