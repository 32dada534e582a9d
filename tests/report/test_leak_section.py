"""The leak section finds people and files that were trained on, even under another name."""

from dataclasses import replace

from dfutils.evaluation.scoring import RunSplits
from dfutils.extraction.dataset import read_face_dataset
from dfutils.records import ClipRow
from dfutils.report.sections import leak_section


def clip(video, content, group="g", track=0):
    return ClipRow(f"{video}-{track}", video, True, "d", group, None, track, 10, 1, 1, 1.0, 1.0, 1, content)


def section_of(rows, *, files, groups=frozenset()):
    return leak_section(None, training_groups=set(groups), training_files=files, rows=rows)


def renamed_row(section):
    (row,) = (row for row in section.tables[0].rows if "another name" in row["what"])
    return row


def test_clips_of_a_known_file_under_another_name_are_counted():
    rows = [
        clip("new.mp4", "aa"),
        clip("new.mp4", "aa", track=1),
        clip("old.mp4", "aa"),  # known by this name
        clip("other.mp4", "bb"),
        clip("crops", ""),  # ready-made crops have no file checksum
    ]
    section = section_of(rows, files={"aa": {"old.mp4", "older.mp4"}})
    row = renamed_row(section)
    assert (row["count"], row["of"]) == (2, "5 clips")
    assert row["examples"] == "new.mp4 is old.mp4; new.mp4 is old.mp4"
    assert section.document["trained_under_another_name"] == 2
    assert section.flag == (
        "The files of 2 measured clips were used in training or validation under another name. "
        "The numbers in this report are too optimistic."
    )


def test_new_files_are_not_flagged_but_known_groups_are_too():
    section = section_of([clip("new.mp4", "bb")], files={"aa": {"old.mp4"}})
    assert (renamed_row(section)["count"], section.flag) == (0, "")
    section = section_of([clip("new.mp4", "aa")], files={"aa": {"old.mp4"}}, groups={"g"})
    assert section.flag.startswith("1 of the measured groups")
    assert "The files of 1 measured clips" in section.flag


def test_a_run_without_recorded_files_says_that_the_count_is_unknown():
    section = section_of([clip("new.mp4", "aa")], files=None)
    row = renamed_row(section)
    assert (row["count"], section.document["trained_under_another_name"], section.flag) == (None, None, "")
    assert "not known" in row["examples"]


def test_a_run_knows_exactly_the_files_used_in_training_and_validation(demo_run, demo_faces):
    splits, rows = RunSplits(demo_run, is_ensemble=False), read_face_dataset(demo_faces).rows
    trained = sum(splits.of(row.video, row.group) != "test" for row in rows)
    assert 0 < trained < len(rows)
    strangers = [replace(row, video=f"new {row.video}", group=f"new {row.group}") for row in rows]
    assert {splits.of(row.video, row.group) for row in strangers} == {"test"}
    for measured, count in ((strangers, trained), (rows, 0)):
        section = section_of(measured, files=splits.trained_files)
        assert section.document["trained_under_another_name"] == count
