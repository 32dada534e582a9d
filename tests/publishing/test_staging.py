"""Staging: what would be sent is whole, described as Kaggle wants it, and nothing else is touched."""

import json
import shutil

import pytest

from dfutils.errors import DatasetError, PublishError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.publishing.rules import DATASET_FILE as METADATA_FILE
from dfutils.publishing.staging import stage_dataset

NAMES = {"owner": "some-one", "slug": "demo-faces", "title": "Demo faces"}


@pytest.fixture
def faces(demo_faces, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(demo_faces, tmp_path / "faces")


def visible_files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_staged_folder_is_the_dataset_and_its_metadata(faces, tmp_path):
    (faces / "notes.txt").write_text("not of the dataset")
    staged = stage_dataset(faces, tmp_path / "staging", **NAMES)
    assert visible_files(staged.folder) == visible_files(faces) - {".journal.jsonl", "notes.txt"} | {METADATA_FILE}
    assert read_face_dataset(staged.folder).rows == read_face_dataset(faces).rows
    assert staged.files == len(visible_files(staged.folder)) - 1
    sizes = [(staged.folder / file).stat().st_size for file in visible_files(staged.folder) - {METADATA_FILE}]
    assert staged.size_bytes == sum(sizes)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_metadata_is_what_the_client_asks_for(faces, tmp_path):
    staged = stage_dataset(faces, tmp_path / "staging", **NAMES)
    metadata = json.loads((staged.folder / METADATA_FILE).read_text())
    assert metadata == staged.metadata
    assert (metadata["id"], metadata["title"]) == ("some-one/demo-faces", "Demo faces")
    assert metadata["licenses"] == [{"name": "other"}]
    assert metadata["isPrivate"] is True


def test_the_commands_can_be_pasted_into_a_shell(faces, tmp_path):
    staged = stage_dataset(faces, tmp_path / "to send", **NAMES)
    assert staged.create_command == f"kaggle datasets create -p '{tmp_path}/to send' --dir-mode zip"
    assert staged.version_command.startswith(f"kaggle datasets version -p '{tmp_path}/to send' --dir-mode zip -m ")
    assert staged.status_command == "kaggle datasets status some-one/demo-faces"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"owner": ""}, "owner: ''"),
        ({"owner": "a/b"}, "owner: 'a/b'"),
        ({"slug": "Demo-Faces"}, "slug: 'Demo-Faces'"),
        ({"slug": "demo--faces"}, "single hyphens"),
        ({"slug": "demo faces"}, "slug: 'demo faces'"),
        ({"slug": "faces\n"}, "slug"),
        ({"slug": "faces"}, "5 characters. Kaggle takes 6 to 50"),
        ({"slug": "f" * 51}, "51 characters"),
        ({"title": "Faces "}, "5 characters"),
        ({"title": "Other title"}, "becomes .other-title. on Kaggle, not .demo-faces."),
        ({"title": "F" * 51}, "51 characters"),
    ],
)
def test_a_name_that_kaggle_refuses_is_refused_here(faces, tmp_path, changed, message):
    with pytest.raises(PublishError, match=message):
        stage_dataset(faces, tmp_path / "staging", **{**NAMES, **changed})
    assert not (tmp_path / "staging").exists()


def test_a_missing_crop_is_named(faces, tmp_path):
    missing = next(faces.glob("fake/*/03.png"))
    missing.unlink()
    with pytest.raises(PublishError, match=rf"{missing}: cannot be read \(No such file or directory\)"):
        stage_dataset(faces, tmp_path / "staging", **NAMES)


def test_an_empty_crop_is_named(faces, tmp_path):
    next(faces.glob("real/*/00.png")).write_bytes(b"")
    with pytest.raises(PublishError, match="00.png: is empty"):
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


def test_staging_again_replaces_what_was_staged(faces, tmp_path):
    first = stage_dataset(faces, tmp_path / "staging", **NAMES)
    (first.folder / "left-over.txt").write_text("of an older version")
    again = stage_dataset(faces, tmp_path / "staging", **{**NAMES, "title": "Demo Faces!"})
    assert not (again.folder / "left-over.txt").exists()
    assert json.loads((again.folder / METADATA_FILE).read_text())["title"] == "Demo Faces!"
    assert read_face_dataset(faces).rows  # the source is still there


@pytest.mark.parametrize("content", ["thesis.txt", METADATA_FILE])
def test_a_folder_of_something_else_is_left_alone(faces, tmp_path, content):
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / content).write_text('{"id": "some-one/other-faces"}')
    with pytest.raises(PublishError, match="holds something other than a staged some-one/demo-faces"):
        stage_dataset(faces, staging, **NAMES)
    assert visible_files(staging) == {content}


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_the_dataset_itself_is_never_the_staging_folder(faces, place):
    before = visible_files(faces)
    with pytest.raises(PublishError, match="lies in the face dataset, or around it"):
        stage_dataset(faces, faces / place, **NAMES)
    assert visible_files(faces) == before
