"""The face detector comes with the package; if its file is broken, nothing replaces it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import dfutils
from dfutils.cli import main
from dfutils.extraction import faces, isolation
from dfutils.extraction.crops import crop_square, framed, square_around
from dfutils.extraction.faces import YUNET_FILE, YunetDetector, detect_faces, face_detector
from dfutils.extraction.video import iter_frames


def change_one_byte(path):
    content = bytearray(path.read_bytes())
    content[100_000] ^= 1
    path.write_bytes(content)


BREAKAGES = {
    "missing": (Path.unlink, "cannot be read (No such file or directory)"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:1000]), "is damaged (1,000 bytes"),
    "one byte changed": (change_one_byte, "is damaged (232,589 bytes"),
}


@pytest.mark.parametrize("kind", BREAKAGES)
def test_a_broken_file_ends_an_extraction_before_it_begins(demo_labels, tmp_path, monkeypatch, capsys, kind):
    breakage, reason = BREAKAGES[kind]
    path = Path(shutil.copy(YUNET_FILE, tmp_path / YUNET_FILE.name))
    breakage(path)
    monkeypatch.setattr(faces, "YUNET_FILE", path)
    face_detector.cache_clear()
    assert main(["extract", str(demo_labels.parent), "--labels", str(demo_labels), "--out", str(tmp_path / "out")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{path}: {reason}" in last
    assert "reinstall the package" in last
    assert not (tmp_path / "out").exists()


def test_a_broken_file_that_the_decoder_process_finds_ends_the_command_too(demo_videos, tmp_path, monkeypatch, capsys):
    """That process imports a copy of the package, whose weight file has one wrong byte."""
    package = Path(dfutils.__file__).parent
    shutil.copytree(package, tmp_path / "dfutils", ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    broken = tmp_path / "dfutils" / YUNET_FILE.relative_to(package)
    change_one_byte(broken)
    isolation.close_children()
    monkeypatch.setattr(isolation, "_environment", lambda: {**os.environ, "PYTHONPATH": str(tmp_path)})
    assert main(["predict", str(demo_videos[0])]) == 1
    shown = capsys.readouterr()
    assert f"{broken}: is damaged" in shown.err.splitlines()[-1]
    assert not shown.out
    isolation.close_children()


def test_a_face_has_a_score_and_five_landmarks_inside_its_box(demo_videos):
    image = next(iter_frames(demo_videos[0])).image()
    (face,) = YunetDetector(min_score=0.6).detect(image)
    assert 0.6 <= face.score <= 1
    assert len(face.landmarks) == 5
    assert all(face.box.left < x < face.box.right and face.box.top < y < face.box.bottom for x, y in face.landmarks)


@pytest.mark.parametrize("room", [0.0, 0.3])
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
