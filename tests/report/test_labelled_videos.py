"""Labelled videos are evaluated in one step; what is wrong with them is said before their faces are extracted."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from dfutils.cli import main
from dfutils.errors import ReportError
from dfutils.evaluation.scoring import RunSplits, videos_of_split
from dfutils.extraction.catalogue import Catalogue
from dfutils.records import Video


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("{faces} {tmp} --labels folders", "is not a face dataset. A folder of videos is measured by itself"),
        ("{tmp}", "is not a face dataset. If it holds videos, give their labels, as --labels folders or"),
        ("{faces} --labels folders", "--labels CSV needs --slice COLUMN"),
        ("{tmp} --labels folders --slice age", "there is no file folders"),
    ],
)
def test_wrong_use_is_named(tmp_path, demo_faces, capsys, arguments, reason):
    given = [one.format(faces=demo_faces, tmp=tmp_path) for one in arguments.split()]
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "run", *given, "--out", str(tmp_path / "report")])
    assert reason in capsys.readouterr().err


def test_labelled_videos_of_the_wanted_split_are_measured(tmp_path):
    """The run knows a and b; c to e are new, and the labels of d and e name splits."""
    (tmp_path / "splits.csv").write_text("video,group,split\na.mp4,a,train\nb.mp4,b,test\n")
    splits = RunSplits(tmp_path, is_ensemble=False)
    videos = tuple(
        Video(Path(f"{name}.mp4"), f"{name}.mp4", False, name, "", split)
        for name, split in (("a", "test"), ("b", None), ("c", None), ("d", "validation"), ("e", "test"))
    )

    def measured(split):
        return "".join(video.group for video in videos_of_split(Catalogue(videos, ()), splits, split).videos)

    assert {split: measured(split) for split in ("train", "test", "all")} == {
        "train": "a",
        "test": "bce",
        "all": "abcde",
    }
    (warning,) = videos_of_split(Catalogue(videos, ()), splits, "test").warnings
    assert warning.startswith("2 of 5 videos are not in the split 'test'")
    with pytest.raises(ReportError, match=r"has none of the 5 videos \(first: a.mp4, which is in train\)"):
        videos_of_split(Catalogue(videos, ()), splits, "validation")


def test_images_among_labelled_videos_are_refused_before_anything_is_extracted(tmp_path, demo_run, demo_videos, capsys):
    for label in ("real", "fake"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        shutil.copy(demo_videos[0], tmp_path / "videos" / label / f"{label}.mp4")
    Image.new("RGB", (90, 90)).save(tmp_path / "videos" / "real" / "still.png")
    command = ["evaluate", str(demo_run), str(tmp_path / "videos"), "--labels", "folders"]
    assert main([*command, "--out", str(tmp_path / "report")]) == 1
    assert "still.png: is an image among videos" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
