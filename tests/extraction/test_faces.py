"""The face detector comes with the package; if its file is broken, nothing replaces it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dfutils
from dfutils.errors import WeightsError
from dfutils.extraction import faces
from dfutils.extraction.crops import crop_square, framed, square_around
from dfutils.extraction.faces import YUNET_FILE, YunetDetector, detect_faces
from dfutils.extraction.video import iter_frames

PACKAGE = Path(dfutils.__file__).parent


def change_one_byte(path):
    content = bytearray(path.read_bytes())
    content[100_000] ^= 1
    path.write_bytes(content)


def put_a_folder(path):
    path.unlink()
    path.mkdir()


def put_a_link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


BREAKAGES = {
    "missing": (Path.unlink, "cannot be read (No such file or directory)"),
    "a folder": (put_a_folder, "cannot be read (Is a directory)"),
    "unreadable": (put_a_link_to_itself, "cannot be read (Too many levels of symbolic links)"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged (0 bytes"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:1000]), "is damaged (1,000 bytes"),
    "one byte changed": (change_one_byte, "is damaged (232,589 bytes"),
}


@pytest.mark.parametrize(("breakage", "reason"), BREAKAGES.values(), ids=BREAKAGES.keys())
def test_a_broken_file_is_named_with_what_to_do(tmp_path, monkeypatch, breakage, reason):
    path = shutil.copy(YUNET_FILE, tmp_path / YUNET_FILE.name)
    breakage(path)
    monkeypatch.setattr(faces, "YUNET_FILE", path)
    with pytest.raises(WeightsError) as raised:
        YunetDetector(min_score=0.6)
    assert str(raised.value).startswith(f"{path}: {reason}")
    assert "reinstall the package" in str(raised.value)


def test_a_face_has_a_score_and_five_landmarks_inside_its_box(demo_videos):
    image = next(iter_frames(demo_videos[0])).image()
    (face,) = YunetDetector(min_score=0.6).detect(image)
    assert 0.6 <= face.score <= 1
    assert len(face.landmarks) == 5
    assert all(face.box.left < x < face.box.right and face.box.top < y < face.box.bottom for x, y in face.landmarks)


@pytest.mark.parametrize("room", [0.0, 0.1, 0.3])
def test_a_crop_of_a_face_is_framed_as_the_face_was_in_the_whole_image(demo_videos, room):
    detector = YunetDetector(min_score=0.6)
    image = next(iter_frames(demo_videos[0])).image()
    frame_size = (image.shape[1], image.shape[0])
    whole = framed(detect_faces(detector, image)[0].box)
    cut = square_around(whole, margin=room, frame_size=frame_size)
    again = framed(detect_faces(detector, crop_square(image, cut, size=224))[0].box)
    # YuNet's own box would give 0.8 of the true side in a crop without room around the face.
    assert again.width * cut.width / 224 == pytest.approx(whole.width, rel=0.12)


def test_no_face_is_found_in_an_image_of_noise():
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    assert detect_faces(YunetDetector(min_score=0.6), noise) == []


def test_the_licence_lies_beside_the_file():
    assert "MIT License" in (YUNET_FILE.parent / "LICENSE").read_text()


@pytest.fixture(scope="module")
def broken_package(tmp_path_factory):
    """A folder with the package, whose YuNet file has one wrong byte."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(PACKAGE, folder / "dfutils", ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    shutil.copytree(PACKAGE / "pretrained", folder / "dfutils" / "pretrained", copy_function=os.symlink)
    change_one_byte(folder / "dfutils" / YUNET_FILE.relative_to(PACKAGE))
    return folder


@pytest.mark.parametrize("command", [["extract", "faces-of", "--out", "faces"], ["predict", "clip.mp4"]])
def test_a_broken_file_ends_the_command_with_one_line(broken_package, demo_videos, command):
    (broken_package / "faces-of" / "real").mkdir(parents=True, exist_ok=True)
    for name in ("clip.mp4", "faces-of/real/clip.mp4"):
        shutil.copy(demo_videos[0], broken_package / name)
    done = subprocess.run(
        [sys.executable, "-m", "dfutils", *command],
        cwd=broken_package,
        env={**os.environ, "PYTHONPATH": str(broken_package)},
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = done.stderr.splitlines()
    assert done.returncode == 1
    assert f"{broken_package / 'dfutils' / YUNET_FILE.relative_to(PACKAGE)}: is damaged" in last
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert not (broken_package / "faces").exists()
