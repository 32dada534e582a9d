"""Staging: what would be sent is whole, described as Kaggle wants it, and nothing else is touched."""

import json

import pytest

from dfutils.errors import DatasetError, PublishError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.publishing.metadata import DATASET_FILE
from dfutils.publishing.staging import lay_out, stage_dataset

NAMES = {"owner": "some-one", "slug": "demo-faces", "title": "Demo faces"}


def visible_files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_staged_folder_is_the_dataset_and_its_metadata(faces, tmp_path):
    (faces / "notes.txt").write_text("not of the dataset")
    staged = stage_dataset(faces, tmp_path / "staging", **NAMES)
    assert visible_files(staged.folder) == visible_files(faces) - {".journal.jsonl", "notes.txt"} | {DATASET_FILE}
    assert read_face_dataset(staged.folder).rows == read_face_dataset(faces).rows
    names = visible_files(staged.folder) - {DATASET_FILE}
    assert staged.files == {name: (staged.folder / name).stat().st_size for name in names}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    metadata = json.loads((staged.folder / DATASET_FILE).read_text())
    assert metadata == staged.metadata
    assert (metadata["id"], metadata["title"]) == ("some-one/demo-faces", "Demo faces")
    assert (metadata["licenses"], metadata["isPrivate"]) == ([{"name": "other"}], True)


def test_the_commands_can_be_pasted_into_a_shell(faces, tmp_path):
    commands = stage_dataset(faces, tmp_path / "to send", **NAMES).shell_commands()
    assert commands == [
        ("create the dataset", f"kaggle datasets create -p '{tmp_path}/to send' --dir-mode zip"),
        ("check whether it is ready", "kaggle datasets status some-one/demo-faces"),
        ("list what arrived", "kaggle datasets files some-one/demo-faces --page-size 200"),
        ("send a new version", f"kaggle datasets version -p '{tmp_path}/to send' --dir-mode zip -m 'what changed'"),
    ]


def test_a_name_that_kaggle_refuses_stages_nothing(faces, tmp_path):
    with pytest.raises(PublishError, match="becomes 'other-title' on Kaggle, not 'demo-faces'"):
        stage_dataset(faces, tmp_path / "staging", **{**NAMES, "title": "Other title"})
    assert not (tmp_path / "staging").exists()


def test_a_missing_or_empty_crop_is_named(faces, tmp_path):
    crop = next(faces.glob("fake/*/03.png"))
    crop.write_bytes(b"")
    with pytest.raises(PublishError, match=f"{crop}: is empty"):
        stage_dataset(faces, tmp_path / "staging", **NAMES)
    crop.unlink()
    with pytest.raises(PublishError, match=rf"{crop}: cannot be read \(No such file or directory\)"):
        stage_dataset(faces, tmp_path / "staging", **NAMES)


@pytest.mark.parametrize("place", ["../secret.png", "/etc/hostname"])
def test_a_table_that_points_outside_stages_nothing(faces, tmp_path, place):
    (tmp_path / "secret.png").write_text("private")
    table = faces / "frames.csv"
    file = read_face_dataset(faces).frame_rows[0]["file"]
    table.write_text(table.read_text().replace(file, place))
    with pytest.raises(PublishError, match="outside the folder"):
        stage_dataset(faces, tmp_path / "staging", **NAMES)


def test_an_unfinished_dataset_is_refused(faces, tmp_path):
    (faces / "manifest.csv").unlink()
    with pytest.raises(DatasetError, match="not a finished face dataset"):
        stage_dataset(faces, tmp_path / "staging", **NAMES)


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
    assert visible_files(staging) == {content}


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_the_dataset_itself_is_never_the_staging_folder(faces, place):
    before = visible_files(faces)
    with pytest.raises(PublishError, match=f"lies in {faces}, or around it.*--staging"):
        stage_dataset(faces, faces / place, **NAMES)
    assert visible_files(faces) == before
