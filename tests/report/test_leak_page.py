"""The page of leaks: who and what was trained on, whatever it is called now."""

from dataclasses import replace

import pytest

from dfutils.evaluation.scoring import RunSplits
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv, write_csv
from dfutils.records import ClipRow
from dfutils.report.leak_page import leak_section


def clip(video, content, group="g", track=0):
    return ClipRow(f"{video}-{track}", video, True, "d", group, None, track, 10, 1, 1, 1.0, 1.0, 1, content)


def section_of(rows, *, files, groups=frozenset()):
    return leak_section(None, [], training_groups=set(groups), training_files=files, rows=rows)


def renamed_row(section):
    (row,) = (row for row in section.tables[0].rows if "another name" in row["what"])
    return row


def test_a_file_that_comes_back_under_another_name_is_counted_clip_by_clip():
    rows = [
        clip("new.mp4", "aa"),
        clip("new.mp4", "aa", track=1),
        clip("old.mp4", "aa"),  # known by its name: no other name
        clip("other.mp4", "bb"),
        clip("crops", ""),  # no file, no content to compare
    ]
    section = section_of(rows, files={"aa": {"old.mp4", "older.mp4"}})
    row = renamed_row(section)
    assert (row["count"], row["of"]) == (2, "5 clips")
    assert row["examples"] == "new.mp4 is old.mp4; new.mp4 is old.mp4"
    assert section.document["trained_under_another_name"] == 2
    assert section.flag == (
        "2 of the measured clips are of files that were trained or tuned on under another name: these numbers flatter."
    )


def test_nothing_is_flagged_where_all_is_new():
    section = section_of([clip("new.mp4", "bb")], files={"aa": {"old.mp4"}})
    assert (renamed_row(section)["count"], section.flag) == (0, "")


def test_known_groups_and_renamed_files_are_both_flagged():
    section = section_of([clip("new.mp4", "aa")], files={"aa": {"old.mp4"}}, groups={"g"})
    assert section.flag.startswith("1 of the measured groups")
    assert section.flag.count("these numbers flatter") == 2


def test_a_run_that_did_not_note_its_files_says_so_and_does_not_say_none():
    section = section_of([clip("new.mp4", "aa")], files=None)
    row = renamed_row(section)
    assert (row["count"], section.document["trained_under_another_name"], section.flag) == (None, None, "")
    assert "not known" in row["examples"]


@pytest.fixture(scope="module")
def rows(demo_faces):
    return read_face_dataset(demo_faces).rows


def test_a_run_knows_the_files_that_it_was_trained_and_tuned_on_and_no_others(demo_run, rows):
    sides = RunSplits(demo_run, is_ensemble=False)
    by_side = {row.video: sides.of(row.video, row.group) for row in rows}
    strangers = [replace(row, video=f"new {row.video}", group=f"new {row.group}") for row in rows]
    assert {sides.of(row.video, row.group) for row in strangers} == {"test"}
    section = section_of(strangers, files=sides.trained_files)
    trained = sum(side != "test" for side in by_side.values())
    assert 0 < trained < len(rows)
    assert section.document["trained_under_another_name"] == trained
    assert section_of(rows, files=sides.trained_files).document["trained_under_another_name"] == 0


def test_a_run_of_an_earlier_version_does_not_know_its_files(demo_run, tmp_path):
    old = ("video", "group", "is_fake", "split")
    table = read_csv(demo_run / "splits.csv", old)
    write_csv(tmp_path / "splits.csv", old, ({name: row[name] for name in old} for row in table))
    assert RunSplits(tmp_path, is_ensemble=False).trained_files is None
