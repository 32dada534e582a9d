"""Input folders of notebooks: local, or at either place where Kaggle mounts inputs."""

import json
import shutil

import pytest

from dfutils.demo.examples import demo_extraction
from dfutils.notebook import attached, competition_videos, open_videos, suggested_extraction, unseen_videos
from dfutils.settings import ExtractionSettings

DATASET = {"with the owner": "datasets/some-one/{}", "without": "{}"}
OUTPUT = {"with the owner": "notebooks/some-one/{}", "without": "{}"}


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """An empty input folder, and an empty folder to work in."""
    root, working = tmp_path / "input", tmp_path / "working"
    root.mkdir()
    working.mkdir()
    monkeypatch.setenv("DFUTILS_KAGGLE_INPUT", str(root))
    monkeypatch.chdir(working)
    return root


def holding(folder, *files):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("form", DATASET)
def test_a_dataset_is_identified_by_its_content(kaggle, form):
    place = holding(kaggle / DATASET[form].format("any-name"), "manifest.csv", "real/a/00.png")
    holding(kaggle / DATASET[form].format("other"), "notes.csv")
    assert attached("output/faces") == place


@pytest.mark.parametrize("form", OUTPUT)
def test_the_output_of_a_notebook_keeps_its_folders(kaggle, form):
    output = kaggle / OUTPUT[form].format("deepfakes-3-train-a-detector")
    run = holding(output / "output" / "run", "detector.json")
    assert attached("output/run") == run


def test_a_model_is_found_as_deep_as_kaggle_puts_it(kaggle):
    place = holding(kaggle / "models/some-one/deepfake-detector/keras/inception-gru/3", "detector.json")
    assert attached("output/run") == place


def test_a_local_folder_is_preferred_to_an_attached_one(kaggle):
    holding(kaggle / "faces", "manifest.csv")
    holding(kaggle.parent / "working" / "output" / "faces", "manifest.csv")
    assert attached("output/faces").as_posix() == "output/faces"


def test_a_folder_of_the_same_name_is_preferred_and_then_the_highest(kaggle):
    near = holding(kaggle / "datasets/some-one/faces", "manifest.csv")
    holding(kaggle / "notebooks/some-one/deepfakes-2/output/staging", "manifest.csv")
    assert attached("output/faces") == near
    named = holding(kaggle / "notebooks/some-one/deepfakes-1/output/faces", "manifest.csv")
    assert attached("output/faces") == named


def test_a_found_folder_is_not_searched_and_a_missing_one_is_returned_unchanged(kaggle):
    assert attached("output/run").as_posix() == "output/run"
    holding(kaggle / "a", "detector.json", "fold-0/detector.json")
    assert attached("output/run") == kaggle / "a"


@pytest.fixture
def dfdc(kaggle, demo_videos):
    """The competition with one pair of clips in its sample and two test videos."""
    sample = kaggle / "competitions/deepfake-detection-challenge/train_sample_videos"
    holding(sample.parent / "test_videos", "b.mp4", "a.mp4", "notes.txt")
    sample.mkdir(parents=True)
    fake, real = demo_videos[:2]
    for video in (fake, real):
        shutil.copy(video, sample)
    listed = {fake.name: {"label": "FAKE", "original": real.name}, real.name: {"label": "REAL"}}
    (sample / "metadata.json").write_text(json.dumps(listed))
    return sample


def test_the_attached_dfdc_sample_is_read_with_default_crops_and_its_test_videos_are_listed(dfdc, tmp_path):
    catalogue = open_videos(tmp_path / "source")
    assert [(video.dataset, video.is_fake) for video in catalogue.videos] == [("dfdc", True), ("dfdc", False)]
    assert len({video.group for video in catalogue.videos}) == 1
    assert not (tmp_path / "source").exists()
    assert suggested_extraction() == ExtractionSettings()
    assert [path.name for path in competition_videos()] == ["a.mp4", "b.mp4"]


def test_without_the_competition_clips_are_drawn_two_of_them_without_a_usable_face(kaggle, tmp_path):
    catalogue = open_videos(tmp_path / "drawn", people=2)
    names = [video.name for video in catalogue.videos]
    assert names[-2:] == ["videos/room_without_anybody.mp4", "videos/unfinished.mp4"]
    assert (len(names), len({video.group for video in catalogue.videos})) == (6, 4)
    assert competition_videos() == []
    assert suggested_extraction() == demo_extraction()  # crops for the included backbone
    (tmp_path / "splits.csv").write_text(
        "video,split\nvideos/person_00_real.mp4,test\nvideos/person_00_fake.mp4,train\n"
    )
    assert [path.name for path in unseen_videos(tmp_path, catalogue)] == ["person_00_real.mp4"]
