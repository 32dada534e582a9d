"""Leaks between splits are found, and so is metadata that tells the label without any content."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfutils.records import ClipRow
from dfutils.training import leaks
from dfutils.training.leaks import difference_hashes, find_leaks


def make_row(video, *, is_fake=False, group=None, sha256="", size_bytes=1_000_000, **shape):
    values = {"width": 640, "height": 360, "fps": 25.0, "duration_seconds": 10.0, **shape}
    return ClipRow(
        clip_id=f"clip_{video}",
        video=video,
        is_fake=is_fake,
        dataset="videos",
        group=group or video,
        split=None,
        track=0,
        frames=10,
        size_bytes=size_bytes,
        sha256=sha256,
        **values,
    )


def make_image(seed, *, size=48, noise=0.0):
    """A smooth random image; the same seed with other ``noise`` is a near-duplicate."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, size=(6, 6, 3))
    image = np.kron(coarse, np.ones((size // 6, size // 6, 1)))
    image += np.random.default_rng(seed + 1).normal(0, noise or 1e-9, image.shape)
    return image.clip(0, 255).astype(np.uint8)


PAIR = [make_row("a"), make_row("b", is_fake=True)]
APART = {"a": "train", "b": "test"}


class TestBetweenSplits:
    def test_a_clean_split_has_no_leaks(self):
        rows = [make_row("a", group="g1", sha256="s1"), make_row("b", group="g2", sha256="s2")]
        report = find_leaks(rows, APART, lambda row: make_image(ord(row.video)))
        assert (report.shared_groups.count, report.same_files.count, report.near_duplicates.count) == (0, 0, 0)
        assert report.lines()[:3] == [
            "No groups have videos in several splits.",
            "No files have identical content in several splits.",
            "No clips have a near-duplicate in another split; 2 clips compared.",
        ]

    def test_a_group_in_two_splits_is_found(self):
        rows = [make_row("a", group="g"), make_row("b", group="g"), make_row("c", group="h"), make_row("d", group="h")]
        report = find_leaks(rows, {**APART, "c": "test", "d": "test"}, None)
        assert report.shared_groups == leaks.Finding(1, ("g (test), g (train)",))
        assert report.lines()[0] == "1 groups have videos in several splits (first: g (test), g (train))."

    def test_the_same_file_in_two_splits_is_found(self):
        rows = [make_row("a", sha256="s"), make_row("b", sha256="s"), make_row("c"), make_row("d")]
        rows += [make_row("e", sha256="in one split"), make_row("f", sha256="in one split")]
        report = find_leaks(rows, {**APART, "c": "train", "d": "test", "e": "test", "f": "test"}, None)
        assert report.same_files == leaks.Finding(1, ("b (test), a (train)",))

    @pytest.mark.parametrize(
        ("assignment", "count"), [(APART, 2), ({"a": "test", "b": "test"}, 0)], ids=["two splits", "one split"]
    )
    def test_near_duplicates_count_between_splits_only(self, assignment, count):
        images = {"a": make_image(1), "b": make_image(1, size=96, noise=4)}
        report = find_leaks(PAIR, assignment, lambda row: images[row.video])
        assert report.near_duplicates.count == count
        assert all("clip_b (test) ~ clip_a (train)" in example for example in report.near_duplicates.examples)

    def test_uniform_images_are_not_compared_but_counted(self):
        report = find_leaks(PAIR, APART, lambda _: np.full((32, 32, 3), 7, np.uint8))
        assert (report.near_duplicates.count, report.flat_clips) == (0, 2)
        assert "0 clips compared, 2 too uniform to compare" in report.lines()[2]

    def test_without_images_near_duplicates_are_not_searched(self):
        report = find_leaks(PAIR, APART, None)
        assert report.near_duplicates is None
        assert report.lines()[2] == "Near-duplicate crops were not searched."

    def test_a_video_without_a_split_is_an_error(self):
        with pytest.raises(ValueError, match="b: has no split"):
            find_leaks(PAIR, {"a": "train"}, None)

    def test_the_report_is_plain_json(self):
        images = {"a": make_image(1), "b": make_image(1)}
        report = find_leaks(PAIR, APART, lambda row: images[row.video])
        document = json.loads(json.dumps(report.as_document(), allow_nan=False))
        assert document["near_duplicates"]["count"] == 2
        assert document["shortcut"] is None


@pytest.mark.parametrize("down", [False, True], ids=["across", "down"])
def test_the_hash_counts_cells_brighter_than_their_neighbour(down):
    image = np.zeros((90, 90, 3), np.uint8)
    image[:, 10:20] = 200  # the second of nine columns: up once and down once in each of eight rows
    (across, below), _ = difference_hashes(image.transpose(1, 0, 2) if down else image)
    assert (below if down else across) == int("1" * 8 + "0" * 56 if down else "10000000" * 8, 2)
    assert (across if down else below) == 0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 2**11 - 1), st.sampled_from("abc")), max_size=30))
def test_blockwise_pairs_are_those_of_two_plain_loops(clips):
    hashes = np.array([(across, down) for across, down, _ in clips], np.uint64).reshape(-1, 2)
    splits = np.array([split for *_, split in clips], dtype=np.str_)
    expected = {
        (min(i, j), max(i, j), (a ^ c).bit_count() + (b ^ d).bit_count())
        for i, (a, b, split) in enumerate(clips)
        for j, (c, d, other) in enumerate(clips)
        if split != other and (a ^ c).bit_count() <= 4 and (b ^ d).bit_count() <= 8
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaks, "_BLOCK", 4)
        found = [
            (min(i, j), max(i, j), bits)
            for block in leaks.near_pairs(hashes, splits)
            for i, j, bits in zip(*(part.tolist() for part in block), strict=True)
        ]
    assert len(found) == len(set(found))
    assert set(found) == expected


class TestShortcut:
    def rows(self, *, fake_bytes, groups=30):
        random = np.random.default_rng(5)
        return [
            make_row(
                f"{group}_{is_fake}",
                is_fake=is_fake,
                group=f"g{group}",
                size_bytes=int((fake_bytes if is_fake else 1_000_000) * random.uniform(0.9, 1.1)),
            )
            for group in range(groups)
            for is_fake in (False, True)
        ]

    def measure(self, rows):
        return find_leaks(rows, {row.video: "train" for row in rows}, None)

    def test_a_bit_rate_that_tells_the_label_is_found(self):
        report = self.measure(self.rows(fake_bytes=500_000))
        assert (report.shortcut.auc, report.shortcut.low, report.shortcut.groups) == (1.0, 1.0, 30)
        assert report.lines()[3].startswith(
            "Size, frame rate, duration and bit rate alone tell FAKE from REAL (AUC 1.00"
        )

    def test_similar_files_tell_nothing(self):
        report = self.measure(self.rows(fake_bytes=1_000_000))
        assert report.shortcut.low < 0.5 < report.shortcut.high
        assert report.lines()[3].startswith("No sign that size")

    def test_identical_features_are_chance(self):
        rows = [make_row(f"{n}_{fake}", is_fake=fake, group=f"g{n}") for n in range(10) for fake in (False, True)]
        shortcut = self.measure(rows).shortcut
        assert (shortcut.auc, shortcut.low, shortcut.high) == (0.5, 0.5, 0.5)

    def test_images_without_time_are_measured_by_their_size(self):
        rows = [
            make_row(f"{n}_{fake}", is_fake=fake, fps=0.0, duration_seconds=0.0, size_bytes=9_000 if fake else 30_000)
            for n in range(10)
            for fake in (False, True)
        ]
        assert self.measure(rows).shortcut.auc == 1.0

    def test_groups_are_not_memorised(self):
        # Each of 12 groups has a label and a shape of its own, at random; a plain cross-validation says AUC 0.89.
        random = np.random.default_rng(2)
        rows = []
        for group in range(12):
            width, fps, duration, size = random.uniform(0.5, 2, 4).tolist()
            shape = {"width": int(640 * width), "fps": 25 * fps, "duration_seconds": 10 * duration}
            rows += [
                make_row(
                    f"{group}_{n}", is_fake=bool(group % 2), group=f"g{group:02d}", size_bytes=int(1e6 * size), **shape
                )
                for n in range(20)
            ]
        shortcut = self.measure(rows).shortcut
        assert shortcut.auc < 0.6
        assert shortcut.high - shortcut.low > 0.4  # as uncertain as 12 groups are, not 240 videos

    def test_too_few_groups_are_reported(self):
        report = self.measure(self.rows(fake_bytes=500_000, groups=4))
        assert report.shortcut is None
        assert report.lines()[3].startswith("Not enough groups")
