"""The data card says what is in the dataset, and the check finds what would embarrass."""

import shutil

import pytest

from dfutils.errors import DatasetError, PublishError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.publishing.card import check_integrity, data_card


def crops(folder):
    return sorted(folder.glob("real/*/*.png")), sorted(folder.glob("fake/*/*.png"))


def test_the_card_describes_the_dataset_and_counts_videos_without_a_clip(faces):
    (faces / "skipped.csv").write_text(
        "video,reason,detail,is_fake,dataset,group,split\na.mp4,no_face,x,true,demo,g,\nb.mp4,no_face,x,true,demo,h,\n"
    )
    card = data_card(read_face_dataset(faces), about="Made up.")
    assert card.startswith("Made up.\n\n")
    assert "120 face crops in 12 clips: 6 REAL and 6 FAKE, from 6 groups" in card
    assert "96 × 96 pixels, PNG" in card
    assert "demo (12 clips)" in card
    assert "**Videos without a clip:** 2 `no_face`;" in card
    assert 'class_names=["real", "fake"]' in card
    assert "The terms of the source videos apply" in card


def test_a_whole_dataset_passes_and_surplus_files_and_duplicates_are_counted(faces):
    before = check_integrity(read_face_dataset(faces))
    assert before["crops that open and have the right size"] == "120 of 120"
    assert before["groups with REAL and FAKE"] == "6 of 6"
    assert before["files that no table names and that are not sent"] == "none"
    (faces / "notes.txt").write_text("mine")
    first = crops(faces)[0][0]
    shutil.copy(first, max(first.parent.glob("*.png")))
    after = check_integrity(read_face_dataset(faces))
    assert after["files that no table names and that are not sent"] == "1"
    duplicates = "duplicate crops (short tracks repeat theirs)"
    assert int(after[duplicates]) == int(before[duplicates].replace("none", "0")) + 1


def test_a_broken_crop_is_found(faces):
    crops(faces)[0][3].write_bytes(b"no image")
    with pytest.raises(DatasetError, match="is not a crop of 96"):
        check_integrity(read_face_dataset(faces))


def test_an_image_with_both_labels_is_found(faces):
    reals, fakes = crops(faces)
    shutil.copy(reals[0], fakes[0])
    with pytest.raises(PublishError, match="also has the other label"):
        check_integrity(read_face_dataset(faces))
