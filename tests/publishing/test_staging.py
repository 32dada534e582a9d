"""Staging: what would be sent is whole, described as Kaggle wants it, and nothing else is touched."""

import json

import pytest
from stub import files_of

from dfutils.errors import DfutilsError, PublishError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.publishing.metadata import DATASET_FILE
from dfutils.publishing.staging import lay_out, stage_dataset

NAMES = {"owner": "some-one", "slug": "demo-faces", "title": "Demo faces"}


def crop(faces):
    return next(faces.glob("fake/*/03.png"))


def name_in_table(faces, place):
    table, file = faces / "frames.csv", read_face_dataset(faces).frame_rows[0]["file"]
    table.write_text(table.read_text().replace(file, place))


def test_the_staged_folder_is_the_dataset_and_its_metadata(faces, tmp_path):
    (faces / "notes.txt").write_text("not of the dataset")
    staged = stage_dataset(faces, tmp_path / "staging", **NAMES)
    names = set(files_of(staged.folder, but=[DATASET_FILE]))
    assert names == set(files_of(faces, but=[".journal.jsonl", "notes.txt"]))
    assert read_face_dataset(staged.folder).rows == read_face_dataset(faces).rows
    assert staged.files == {name: (staged.folder / name).stat().st_size for name in names}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    metadata = json.loads((staged.folder / DATASET_FILE).read_text())
    assert metadata == staged.metadata
    assert (metadata["id"], metadata["title"]) == ("some-one/demo-faces", "Demo faces")
    assert (metadata["licenses"], metadata["isPrivate"]) == ([{"name": "other"}], True)


@pytest.mark.parametrize(
    ("damage", "names", "reason"),
    [
        (lambda _: None, {"title": "Other title"}, "becomes 'other-title' on Kaggle, not 'demo-faces'"),
        (lambda faces: (faces / "manifest.csv").unlink(), {}, "not a finished face dataset"),
        (lambda faces: crop(faces).write_bytes(b""), {}, r"03\.png: is empty"),
        (lambda faces: crop(faces).unlink(), {}, r"03\.png: cannot be read \(No such file or directory\)"),
        (lambda faces: name_in_table(faces, "../secret.png"), {}, "outside the folder"),
        (lambda faces: name_in_table(faces, "/etc/hostname"), {}, "outside the folder"),
    ],
    ids=["refused name", "unfinished", "empty crop", "missing crop", "file above", "file elsewhere"],
)
def test_a_dataset_that_cannot_be_sent_stages_nothing(*, faces, tmp_path, damage, names, reason):
    (tmp_path / "secret.png").write_text("private")
    damage(faces)
    with pytest.raises(DfutilsError, match=reason):
        stage_dataset(faces, tmp_path / "staging", **{**NAMES, **names})
    assert not (tmp_path / "staging").exists()


def test_more_than_kaggle_takes_is_refused(tmp_path):
    (tmp_path / "small.txt").write_text("text")
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(201 * 10**9)  # a sparse file: no disk is filled
    for files, message in (
        ({"huge.bin": tmp_path / "huge.bin"}, "201 GB are more than Kaggle's limit of 200 GB"),
        ({f"{n}.txt": tmp_path / "small.txt" for n in range(51)}, "more than 50 files and folders at the top"),
    ):
        with pytest.raises(PublishError, match=message):
            lay_out(tmp_path / "staging", files, {DATASET_FILE: {"id": "a/b"}}, source=tmp_path / "source")


def test_staging_again_replaces_what_was_staged(faces, tmp_path):
    first = stage_dataset(faces, tmp_path / "staging", **NAMES)
    (first.folder / "left-over.txt").write_text("of an older version")
    again = stage_dataset(faces, tmp_path / "staging", **{**NAMES, "title": "Demo Faces!"})
    assert not (again.folder / "left-over.txt").exists()
    assert json.loads((again.folder / DATASET_FILE).read_text())["title"] == "Demo Faces!"
    assert read_face_dataset(faces).rows  # the source is still there


@pytest.mark.parametrize("content", ["thesis.txt", DATASET_FILE])
def test_a_folder_of_something_else_is_left_alone(faces, tmp_path, content):
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / content).write_text('{"id": "some-one/other-faces"}')
    with pytest.raises(PublishError, match=r"other than a staged some-one/demo-faces\. .*--staging"):
        stage_dataset(faces, staging, **NAMES)
    assert set(files_of(staging)) == {content}


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_the_dataset_itself_is_never_the_staging_folder(faces, place):
    before = files_of(faces)
    with pytest.raises(PublishError, match=f"lies in {faces}, or around it.*--staging"):
        stage_dataset(faces, faces / place, **NAMES)
    assert files_of(faces) == before
