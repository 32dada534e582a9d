"""The dataset that the report's speed is measured on is one like any other, only longer."""

from benchmarks.report import repeat_clips
from dfutils.extraction.dataset import read_face_dataset


def test_repeated_clips_are_other_videos_of_other_groups_with_the_same_images(demo_faces, tmp_path):
    known = read_face_dataset(demo_faces)
    longer = read_face_dataset(repeat_clips(demo_faces, tmp_path / "longer", clips=30))
    assert len(longer.rows) == len({row.video for row in longer.rows}) == 30
    assert len({row.group for row in longer.rows}) > len({row.group for row in known.rows})
    images = {known.checksum(row) for row in known.rows}
    assert {longer.checksum(row) for row in longer.rows} == images
    assert sum(row.is_fake for row in longer.rows) == 15
