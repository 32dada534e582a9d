"""Lists of DeepfakeBench are read with labels, splits and groups, and folders of frames are read as videos."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dfutils.cli import main
from dfutils.errors import CatalogueError, UnreadableError
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.extraction.faces import face_detector
from dfutils.extraction.video import iter_frames, probe_video
from dfutils.files import read_csv
from dfutils.pretrained import DEFAULT as DETECTOR
from dfutils.pretrained import resolve_detector
from dfutils.runs.folder import RunFolder
from dfutils.settings import ExtractionSettings

ROOT = "D:\\data\\rgb\\FaceForensics++"
"""Where the machine that wrote the list had its files."""

SETTINGS = ExtractionSettings(size=96, sampling="uniform")

REAL, DEEPFAKES = "original_sequences\\youtube", "manipulated_sequences\\Deepfakes"


def entry(label, method, name, frames=("000", "012", "9")):
    """An entry as rearrange.py writes it: in the order of the file system, with masks for fakes."""
    listed = [f"{ROOT}\\{method}\\c23\\frames\\{name}\\{frame}.png" for frame in reversed(frames)]
    return {name: {"label": label, "frames": listed, **({"masks": []} if method == DEEPFAKES else {})}}


def faceforensics():
    """Two pairs, (033, 097) for training and (071, 054) for testing; nothing in c40."""
    empty = {"c23": {}, "c40": {}}
    real, fake = (dict.fromkeys(("train", "val", "test"), empty) for _ in range(2))
    real["train"] = {"c23": entry("FF-real", REAL, "033") | entry("FF-real", REAL, "097"), "c40": {}}
    real["test"] = {"c23": entry("FF-real", REAL, "071"), "c40": {}}
    fake["train"] = {"c23": entry("FF-DF", DEEPFAKES, "033_097"), "c40": {}}
    fake["test"] = {"c23": entry("FF-DF", DEEPFAKES, "071_054"), "c40": {}}
    return {"FF-DF": {"FF-real": real, "FF-DF": fake}}


def write(tmp_path, document):
    path = tmp_path / "list.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return f"deepfakebench:{path}"


def touch(source, document):
    """Make the listed files below ``source`` in a folder of the data set, without the root of the list."""
    for part in document.values():
        if isinstance(part, dict) and "frames" in part:
            for frame in part["frames"]:
                path = source / frame.removeprefix("D:\\data\\rgb\\").replace("\\", "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"frame")
        elif isinstance(part, dict):
            touch(source, part)
    return source


def described(catalogue):
    return {video.name.rsplit("/")[-1]: (video.is_fake, video.group, video.split) for video in catalogue.videos}


def test_labels_splits_and_groups_of_a_list_are_kept(tmp_path):
    source = touch(tmp_path / "rgb", faceforensics())
    catalogue = read_catalogue(source, write(tmp_path, faceforensics()))
    assert described(catalogue) == {
        "033": (False, "faceforensics_033", "train"),
        "097": (False, "faceforensics_033", "train"),
        "033_097": (True, "faceforensics_033", "train"),
        "071": (False, "faceforensics_054", "test"),
        "071_054": (True, "faceforensics_054", "test"),
    }
    assert catalogue.warnings == ()
    fake = next(video for video in catalogue.videos if video.name.endswith("033_097"))
    assert fake.name == "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/033_097"
    assert [frame.name for frame in fake.frames] == ["000.png", "9.png", "012.png"]
    assert {video.dataset for video in catalogue.videos} == {
        "faceforensics_c23_youtube",
        "faceforensics_c23_deepfakes",
    }


def test_the_test_split_can_be_read_alone(tmp_path):
    source = touch(tmp_path / "rgb", faceforensics())
    labels = write(tmp_path, faceforensics()).replace("deepfakebench:", "deepfakebench-test:")
    assert set(described(read_catalogue(source, labels))) == {"071", "071_054"}
    document = faceforensics()
    del document["FF-DF"]["FF-real"]["test"], document["FF-DF"]["FF-DF"]["test"]
    write(tmp_path, document)
    with pytest.raises(CatalogueError, match="has no video in the split 'test'"):
        read_catalogue(source, labels)


def test_files_are_found_from_any_folder_above_them_and_with_posix_paths(tmp_path):
    source = touch(tmp_path / "rgb", faceforensics())
    labels = write(tmp_path, faceforensics())
    assert len(read_catalogue(source / "FaceForensics++", labels).videos) == 5
    labels = write(tmp_path, json.dumps(faceforensics()).replace("D:\\\\data", "./datasets").replace("\\\\", "/"))
    assert len(read_catalogue(source, labels).videos) == 5


def test_videos_in_several_splits_belong_to_the_test_split(tmp_path):
    folder = "Celeb-DF-v2/{}/frames/{}/{}.png"
    names = {"CelebDFv2_real": ("Celeb-real", "id0_0000"), "CelebDFv2_fake": ("Celeb-synthesis", "id0_id1_0000")}
    document = {}
    for label, (place, name) in names.items():
        one = {name: {"label": label, "frames": [folder.format(place, name, number) for number in (0, 1)]}}
        document[label] = {"train": one, "val": one, "test": one if "real" in label else {}}
    source = touch(tmp_path / "rgb", document)
    catalogue = read_catalogue(source, write(tmp_path, {"Celeb-DF-v2": document}))
    assert described(catalogue) == {
        "id0_0000": (False, "celebdf_id0", "test"),
        "id0_id1_0000": (True, "celebdf_id0", "validation"),
    }
    assert "2 of 2 videos are in several splits" in catalogue.warnings[0]


def test_absent_frames_and_videos_are_counted(tmp_path):
    source = touch(tmp_path / "rgb", faceforensics())
    videos = source / "FaceForensics++"
    shutil.rmtree(videos / "original_sequences/youtube/c23/frames/033")
    (videos / "original_sequences/youtube/c23/frames/097/012.png").unlink()
    shutil.rmtree(videos / "manipulated_sequences/Deepfakes/c23/frames/071_054")
    (videos / "manipulated_sequences/Deepfakes/c23/videos").mkdir()
    (videos / "manipulated_sequences/Deepfakes/c23/videos/071_054.mp4").write_bytes(b"video")
    catalogue = read_catalogue(source, write(tmp_path, faceforensics()))
    assert set(described(catalogue)) == {"097", "033_097", "071", "071_054.mp4"}
    assert catalogue.warnings == (
        "missing: 1 of 5 listed videos (first: FF-real/c23/033)",
        "without some of their frames: 1 of 5 listed videos (first: FF-real/c23/097)",
        "read from the video itself, because the frames are absent: 1 of 5 listed videos (first: FF-DF/c23/071_054)",
    )
    assert {len(video.frames) for video in catalogue.videos} == {0, 2, 3}


def test_an_entry_may_be_a_video(tmp_path):
    entry = {"label": "UADFV_Fake", "frames": ["D:\\data\\rgb\\UADFV\\fake\\0001.mp4"]}
    document = {"UADFV": {"UADFV_Fake": {"test": {"0001": entry}}}}
    source = touch(tmp_path / "rgb", document)
    (video,) = read_catalogue(source, write(tmp_path, document)).videos
    assert (video.path, video.frames, video.is_fake) == (source / "UADFV/fake/0001.mp4", (), True)


def test_a_video_of_the_lists_of_dfdc_without_a_name_is_left_out(tmp_path):
    frames = ["DFDC/test/frames/abc/0.png"]
    entry = {"label": "DFDC_Real", "frames": frames}
    document = {"DFDC": {"DFDC_Real": {"test": {"abc": entry}, "val": entry, "train": {}}}}
    source = touch(tmp_path / "rgb", document)
    catalogue = read_catalogue(source, write(tmp_path, document))
    assert described(catalogue) == {"abc": (False, "dfdc_DFDC_Real_abc", "test")}
    assert "left out a video without a name (DFDC/DFDC_Real/val)" in catalogue.warnings[0]


def test_a_frame_that_is_a_video_is_refused(frames, demo_videos, tmp_path):
    path = shutil.copy(demo_videos[0], tmp_path / "1.png")
    with pytest.raises(UnreadableError, match=r"1\.png: is not an image, but listed as a frame"):
        probe_video(tmp_path, SETTINGS, [frames[0], path])


def listed_twice():
    document = faceforensics()
    document["FF-DF"]["FF-real"]["test"]["c23"] = entry("FF-real", "original_sequences\\elsewhere", "033")
    return document


def changed(**values):
    document = faceforensics()
    document["FF-DF"]["FF-real"]["train"]["c23"]["033"] |= values
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is not valid JSON"),
        ([], "is not a data-set list of DeepfakeBench"),
        ({}, "is not a data-set list"),
        ({"real.mp4": {"label": "REAL"}}, r"is not a data-set list of DeepfakeBench \(see real.mp4/label\)"),
        ({"a": {"b": {"elsewhere": {"c": {"label": "FF-real", "frames": ["a.png"]}}}}}, r"\(see a/b/elsewhere/c\)"),
        (changed(label="FF-XX"), "has the label 'FF-XX', which is unknown. Write one of FF-real, FF-DF"),
        (changed(frames=[]), "033' has an empty list of frames"),
        (changed(frames="a.png"), "033' has no list of frames"),
        (changed(frames=["x\\1\\0.png", "x\\2\\0.png"]), "frames in several folders, or above their folder"),
        (changed(frames=["..\\..\\x\\0.png"]), "or above their folder"),
        (changed(frames=["x\\0.mp4", "x\\1.mp4"]), "lists files that are not images"),
        (changed(frames=[f"{ROOT}\\{REAL}\\c23\\frames\\097\\000.png"]), "has the files of another video"),
        (listed_twice(), "'FF-real/c23/033' is listed twice, with other frames"),
        (
            {"FF-real": {"FF-real": {"test": {"c23": entry("FF-real", REAL, "person")}}}},
            "FF-real/c23/person: its name has no source ids",
        ),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, document, message):
    source = touch(tmp_path / "rgb", faceforensics())
    with pytest.raises(CatalogueError, match=message):
        read_catalogue(source, write(tmp_path, document))


def test_a_list_of_other_files_or_of_none_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogueError, match=r"none of its 5 videos is below .*empty \(first: D:/data/rgb"):
        read_catalogue(tmp_path / "empty", write(tmp_path, faceforensics()))
    with pytest.raises(CatalogueError, match="nowhere.json: cannot be read"):
        read_catalogue(tmp_path, f"deepfakebench:{tmp_path / 'nowhere.json'}")


@pytest.fixture(scope="module")
def frames(demo_videos, tmp_path_factory):
    """All frames of a demo clip as PNG files, numbered from 0."""
    folder = tmp_path_factory.mktemp("frames") / "033"
    folder.mkdir()
    for frame in iter_frames(demo_videos[0]):
        Image.fromarray(frame.image()).save(folder / f"{frame.index:03}.png", compress_level=1)
    return sorted(folder.iterdir())


def test_frames_give_the_crops_of_their_video(demo_videos, frames, monkeypatch):
    monkeypatch.setattr("dfutils.extraction.video.FRAME_LIST_FPS", probe_video(demo_videos[0], SETTINGS).fps)
    whole = SETTINGS.model_copy(update={"crop": "none"})  # a face's box depends on how an image is reduced
    of_video = extract_clips(demo_videos[0], whole, face_detector(0.7))
    of_frames = extract_clips(frames[0].parent, whole, face_detector(0.7), frames=frames)
    assert of_frames.info.times_seconds == pytest.approx(of_video.info.times_seconds)
    assert of_frames.info.duration_seconds == pytest.approx(of_video.info.duration_seconds)
    assert of_frames.clips[0].times_seconds == pytest.approx(of_video.clips[0].times_seconds)
    assert np.array_equal(of_frames.clips[0].images, of_video.clips[0].images)


def test_the_times_of_frames_are_those_of_their_numbers(frames):
    assert probe_video(frames[0].parent, SETTINGS, frames[5:30:5]).times_seconds == (0, 0.2, 0.4, 0.6, 0.8)
    assert probe_video(frames[0].parent, SETTINGS, frames[5:0:-1]).times_seconds == (0, 0.04, 0.08, 0.12, 0.16)
    single = extract_clips(frames[0].parent, SETTINGS, face_detector(0.7), frames=frames[:1])
    assert single.clips[0].images.shape == (1, 96, 96, 3)


@pytest.fixture
def listed(tmp_path, frames):
    """The folder with the videos of a list, of three frames each, and the list."""
    source, document = touch(tmp_path / "rgb", faceforensics()), faceforensics()
    for folder in (source / "FaceForensics++").glob("*/*/c23/frames/*"):
        for path, frame in zip(sorted(folder.iterdir()), frames[::15], strict=True):
            shutil.copy(frame, path)
    return source, write(tmp_path, document)


def test_a_list_is_extracted_with_one_command_and_not_twice(tmp_path, frames, listed, caplog):
    source, labels = listed
    real = source / "FaceForensics++/original_sequences/youtube/c23/frames"
    (real / "097/012.png").write_bytes((real / "097/012.png").read_bytes()[:500])
    assert main(["extract", str(source), "--labels", labels, "--size", "96", "--out", str(tmp_path / "faces")]) == 0
    dataset = read_face_dataset(tmp_path / "faces")
    assert {(row.video.rsplit("/")[-1], row.split, row.frames) for row in dataset.rows} == {
        ("033", "train", 10),
        ("033_097", "train", 10),
        ("071", "test", 10),
        ("071_054", "test", 10),
    }
    assert len({row.sha256 for row in dataset.rows}) == 1  # made of the same frames
    (skipped,) = read_csv(tmp_path / "faces" / "skipped.csv", ("video", "reason", "detail"))
    assert skipped["reason"] == "unreadable"
    assert skipped["detail"].startswith("FaceForensics++/original_sequences/youtube/c23/frames/097/012.png: ")
    shutil.copy(frames[1], real / "071/000.png")
    with caplog.at_level("INFO"):
        extract_dataset(
            read_catalogue(source, labels),
            tmp_path / "faces",
            settings=dataset.settings,
            trusted=True,
            progress=False,
        )
    assert "4 of 5 videos are already finished" in caplog.text


def test_a_list_is_measured_with_one_command(tmp_path, listed, capsys, caplog):
    caplog.set_level("INFO")
    source, labels = listed
    report = tmp_path / "report"
    command = ["evaluate", DETECTOR, str(source), "--labels", labels, "--out", str(report), "--engine", "openvino"]
    assert main([*command, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["real"], metrics["fake"], set(metrics["papers"])) == (1, 1, {"video", "frame"})
    dataset = read_face_dataset(report / "face-crops")
    assert dataset.settings == RunFolder(resolve_detector(DETECTOR)).detector().extraction.model_copy(
        update={"tracks": "all"}
    )
    assert [row.video.rsplit("/")[-1] for row in dataset.rows] == ["071_054", "071"]  # the test split of the list
    assert "3 of 5 videos are not in the split 'test'" in caplog.text
    assert "in train by its labels" in caplog.text
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == metrics
    assert "2 of 2 videos are already finished" in caplog.text
