"""No group is in two splits, the same seed gives the same split, and old groups stay where they were."""

import logging
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfutils.errors import DatasetError, SplitError
from dfutils.records import SPLIT_NAMES, ClipRow
from dfutils.settings import SplitSettings
from dfutils.training.splits import extend_split, fold_videos, group_videos, read_splits, split_videos, write_splits


def make_row(video, *, is_fake=False, group=None, **changes):
    """A clip of a video of 10 s; it is its own group unless told otherwise."""
    row = ClipRow(
        clip_id=video,
        video=video,
        is_fake=is_fake,
        dataset="videos",
        group=group or video,
        split=None,
        track=0,
        frames=10,
        width=640,
        height=360,
        fps=25.0,
        duration_seconds=10.0,
        size_bytes=1_000_000,
        sha256=f"sha of {video}",
    )
    return replace(row, **changes)


def make_pairs(count, *, fakes=1, start=0):
    """``count`` groups, each of one REAL and its fakes."""
    return [
        make_row(f"{number:03d}_{index}", is_fake=index > 0, group=f"g{number:03d}")
        for number in range(start, start + count)
        for index in range(1 + fakes)
    ]


def splits_of_groups(rows, assignment):
    splits = {}
    for group in group_videos(rows):
        splits[group.name] = {assignment[video] for video in group.videos}
    return splits


def shares(rows, assignment):
    """Share of the videos, and share of FAKE among them, by split."""
    labels = {row.video: row.is_fake for row in rows}
    sizes = Counter(assignment.values())
    fakes = Counter(split for video, split in assignment.items() if labels[video])
    return {name: (sizes[name] / len(labels), fakes[name] / sizes[name]) for name in SPLIT_NAMES}


@st.composite
def some_rows(draw):
    """Enough groups of both labels for any split, and random ones that may be chained by shared content."""
    many = draw(
        st.lists(st.tuples(st.integers(0, 15), st.booleans(), st.one_of(st.none(), st.integers(0, 20))), max_size=40)
    )
    return make_pairs(4, start=900) + [
        make_row(f"v{number}", is_fake=is_fake, group=f"g{group}", sha256="" if content is None else f"s{content}")
        for number, (group, is_fake, content) in enumerate(many)
    ]


@settings(deadline=None)
@given(some_rows(), st.integers(0, 3))
def test_no_group_is_in_two_splits(rows, seed):
    assignment = split_videos(rows, SplitSettings(seed=seed))
    assert assignment.keys() == {row.video for row in rows}
    for key in ("group", "video", "sha256"):
        found = {}
        for row in rows:
            found.setdefault(getattr(row, key), set()).add(assignment[row.video])
        assert all(len(splits) == 1 for value, splits in found.items() if value)
    for name in SPLIT_NAMES:
        assert {row.is_fake for row in rows if assignment[row.video] == name} == {False, True}


@settings(deadline=None)
@given(some_rows(), st.integers(0, 3), st.randoms())
def test_same_seed_gives_the_same_split_whatever_the_order_of_rows(rows, seed, random):
    shuffled = random.sample(rows, len(rows))
    assert split_videos(shuffled, SplitSettings(seed=seed)) == split_videos(rows, SplitSettings(seed=seed))
    assert fold_videos(shuffled, folds=3, seed=seed) == fold_videos(rows, folds=3, seed=seed)


def test_another_seed_gives_another_split():
    rows = make_pairs(40)
    assert split_videos(rows, SplitSettings(seed=1)) != split_videos(rows, SplitSettings(seed=2))


def test_the_split_of_a_seed_does_not_change_between_releases():
    tested = [video for video, split in split_videos(make_pairs(10), SplitSettings()).items() if split == "test"]
    assert tested == ["003_0", "003_1", "008_0", "008_1"]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(make_pairs(100), id="pairs"),
        pytest.param(make_pairs(100, fakes=4), id="four fakes each"),
        pytest.param(make_pairs(50, fakes=1) + make_pairs(50, fakes=9, start=50), id="small and large groups"),
        pytest.param(
            [make_row(f"r{n}") for n in range(80)] + [make_row(f"f{n}", is_fake=True) for n in range(240)],
            id="one label a group",
        ),
    ],
)
@pytest.mark.parametrize(("test", "validation"), [(0.2, 0.2), (0.1, 0.3)])
def test_sizes_and_shares_of_fake_are_near_the_request(rows, test, validation):
    found = shares(rows, split_videos(rows, SplitSettings(test_fraction=test, validation_fraction=validation)))
    of_all = sum(row.is_fake for row in rows) / len(rows)
    wanted = {"test": test, "validation": validation * (1 - test), "train": (1 - validation) * (1 - test)}
    for name, (size, fakes) in found.items():
        assert size == pytest.approx(wanted[name], abs=0.03)
        assert fakes == pytest.approx(of_all, abs=0.05)


def test_the_test_split_is_not_made_of_small_groups_only():
    rows = make_pairs(50, fakes=1) + make_pairs(50, fakes=9, start=50)
    assignment = split_videos(rows, SplitSettings())
    large = {row.group for row in rows if assignment[row.video] == "test" and row.group >= "g050"}
    assert len(large) == pytest.approx(10, abs=2)


def test_groups_are_joined_over_videos_and_content():
    rows = [
        make_row("a", group="g2", sha256="same"),
        make_row("b", group="g1", sha256="same", is_fake=True),
        make_row("b", group="g3", clip_id="b_track1", is_fake=True),
        make_row("c", group="g3"),
        make_row("d", group="g4", sha256=""),
        make_row("e", group="g5", sha256=""),
        make_row("0", group="g6"),
    ]
    groups = [(group.name, group.videos, group.reals, group.fakes) for group in group_videos(rows)]
    assert groups == [("g1", ("a", "b", "c"), 2, 1), ("g4", ("d",), 1, 0), ("g5", ("e",), 1, 0), ("g6", ("0",), 1, 0)]


def test_a_video_of_two_labels_is_an_error():
    with pytest.raises(SplitError, match="a: is REAL in one row and FAKE in another"):
        group_videos([make_row("a"), make_row("a", is_fake=True)])


class TestTooFewGroups:
    def test_three_groups_of_both_labels_are_just_enough(self):
        rows = make_pairs(3, fakes=7)
        assert {
            frozenset(splits) for splits in splits_of_groups(rows, split_videos(rows, SplitSettings())).values()
        } == {frozenset({name}) for name in SPLIT_NAMES}

    def test_single_labels_are_paired(self):
        rows = make_pairs(1) + [make_row(name, is_fake=name.startswith("f")) for name in ("r1", "r2", "f1", "f2")]
        assert shares(rows, split_videos(rows, SplitSettings())) == dict.fromkeys(SPLIT_NAMES, (1 / 3, 1 / 2))

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            pytest.param([], "There are 0 groups with REAL videos only, 0 with FAKE only and 0 with both", id="none"),
            pytest.param(make_pairs(2), "0 with FAKE only and 2 with both.*each of the 3 parts", id="two groups"),
            pytest.param([make_row(f"r{n}") for n in range(9)], "no FAKE video. There are 9 groups", id="real only"),
            pytest.param(
                make_pairs(1, fakes=9) + [make_row(f"y{n}") for n in range(5)],
                "5 groups with REAL videos only, 0 with FAKE only and 1 with both",
                id="one large group",
            ),
        ],
    )
    def test_the_error_says_how_many_there_are(self, rows, message):
        with pytest.raises(SplitError, match=message):
            split_videos(rows, SplitSettings())

    def test_folds_need_a_group_of_each_label_each(self):
        with pytest.raises(SplitError, match="each of the 5 parts needs both labels"):
            fold_videos(make_pairs(4), folds=5, seed=0)


class TestOfficialSplits:
    def test_they_are_followed_if_every_row_has_one(self):
        rows = [replace(row, split=SPLIT_NAMES[int(row.group[1:]) % 3]) for row in make_pairs(9) for _ in range(2)]
        assert split_videos(rows, SplitSettings()) == {row.video: row.split for row in rows}

    def test_a_missing_validation_split_is_cut_from_train_by_groups(self):
        rows = [replace(row, split="test" if row.group < "g010" else "train") for row in make_pairs(30)]
        assignment = split_videos(rows, SplitSettings(validation_fraction=0.25))
        assert all((assignment[row.video] == "test") == (row.split == "test") for row in rows)
        assert Counter(assignment.values()) == {"test": 20, "train": 30, "validation": 10}
        assert all(len(splits) == 1 for splits in splits_of_groups(rows, assignment).values())

    def test_a_group_in_two_official_splits_is_an_error(self):
        rows = [replace(row, split="test" if row.is_fake else "train") for row in make_pairs(5)]
        with pytest.raises(
            SplitError, match=r"'g000': its 2 videos have different splits .*\(test, train\), as in 5 of 5"
        ):
            split_videos(rows, SplitSettings())

    def test_a_video_in_two_official_splits_is_an_error(self):
        rows = [replace(row, split="train") for row in make_pairs(5)]
        with pytest.raises(SplitError, match="000_0: is in the official test and train splits"):
            split_videos([*rows, replace(rows[0], clip_id="x", split="test")], SplitSettings())

    def test_a_missing_official_test_split_is_an_error(self):
        with pytest.raises(SplitError, match=r"no video is in test\. Empty the column"):
            split_videos([replace(row, split="train") for row in make_pairs(5)], SplitSettings())

    def test_an_official_split_of_one_label_is_an_error(self):
        rows = [replace(row, split=SPLIT_NAMES[int(row.group[1:]) % 3]) for row in make_pairs(9)]
        with pytest.raises(SplitError, match="test split: would have no FAKE video"):
            split_videos([row for row in rows if row.split != "test" or not row.is_fake], SplitSettings())

    def test_they_are_ignored_with_a_warning_if_some_rows_have_none(self, caplog):
        rows = make_pairs(20)
        some = [replace(row, split="test") if row.group < "g005" else row for row in rows]
        with caplog.at_level(logging.WARNING):
            assert split_videos(some, SplitSettings()) == split_videos(rows, SplitSettings())
        assert "only 10 of 40 videos have one" in caplog.text


class TestFolds:
    def test_every_video_is_tested_once_and_every_fold_is_a_grouped_split(self):
        rows = make_pairs(20, fakes=2)
        folds = fold_videos(rows, folds=4, seed=0)
        tested = Counter(video for fold in folds for video, split in fold.items() if split == "test")
        assert tested == Counter({row.video: 1 for row in rows})
        for fold in folds:
            assert fold.keys() == {row.video for row in rows}
            assert all(len(splits) == 1 for splits in splits_of_groups(rows, fold).values())
            assert Counter(fold.values()) == {"train": 36, "validation": 9, "test": 15}

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            pytest.param({"folds": 1}, "at least 2. Received: 1", id="one fold"),
            pytest.param(
                {"folds": 3, "validation_fraction": 0.0}, "between 0 and 1. Received: 0.0", id="no validation"
            ),
        ],
    )
    def test_impossible_arguments_are_refused(self, values, message):
        with pytest.raises(ValueError, match=message):
            fold_videos(make_pairs(9), seed=0, **values)


class TestExtending:
    def test_old_groups_stay_and_new_ones_are_assigned(self):
        old_rows = make_pairs(20)
        old = split_videos(old_rows, SplitSettings(seed=1))
        late = [make_row(f"{number:03d}_late", is_fake=True, group=f"g{number:03d}") for number in range(20)]
        rows = make_pairs(40) + late
        extended = extend_split(old, rows, SplitSettings(seed=2))
        assert {video: extended[video] for video in old} == old
        assert all(len(splits) == 1 for splits in splits_of_groups(rows, extended).values())
        assert shares(rows, extended)["test"][0] == pytest.approx(0.2, abs=0.05)

    def test_nothing_new_is_the_old_split(self):
        rows = make_pairs(20)
        old = split_videos(rows, SplitSettings())
        assert extend_split(old, rows, SplitSettings(seed=9, test_fraction=0.5)) == old

    def test_nothing_old_is_a_fresh_split(self):
        rows = make_pairs(3)
        assert extend_split({"gone": "test"}, rows, SplitSettings()) == split_videos(rows, SplitSettings())

    def test_a_video_that_joins_two_splits_is_an_error(self):
        rows = make_pairs(20)
        old = split_videos(rows, SplitSettings())
        first = {split: next(row for row in rows if old[row.video] == split) for split in ("train", "test")}
        bridge = [
            make_row("new", group=first["train"].group),
            make_row("new", group=first["test"].group, clip_id="new_1"),
        ]
        with pytest.raises(
            SplitError, match=r"5 videos have different splits in the old split \(test, train\), as in 1 of 19"
        ):
            extend_split(old, rows + bridge, SplitSettings())


class TestFile:
    def test_a_table_that_is_no_splits_file_is_refused_with_the_name_of_one(self, tmp_path):
        (tmp_path / "manifest.csv").write_text("video\na.mp4\n")
        with pytest.raises(DatasetError, match=r"'split' is missing .*\. Name the splits\.csv of a run folder\.$"):
            read_splits(tmp_path / "manifest.csv")

    def test_what_is_written_is_read(self, tmp_path):
        rows = [*make_pairs(6), make_row("comma, and ü", group="g000")]
        rows[0] = replace(rows[0], sha256="5ad1")
        assignment = split_videos(rows, SplitSettings())
        write_splits(tmp_path / "splits.csv", rows, assignment)
        assert read_splits(tmp_path / "splits.csv") == assignment
        lines = (tmp_path / "splits.csv").read_text(encoding="utf-8").splitlines()
        assert lines[:3] == [
            "video,group,is_fake,split,sha256",
            f"000_0,g000,0,{assignment['000_0']},5ad1",
            f"000_1,g000,1,{assignment['000_1']},{rows[1].sha256}",
        ]

    def test_a_video_without_a_split_is_not_written(self, tmp_path):
        with pytest.raises(ValueError, match="000_0: has no split"):
            write_splits(tmp_path / "splits.csv", make_pairs(1), {"000_1": "test"})
        assert not (tmp_path / "splits.csv").exists()

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            pytest.param("a,g,0,dev\n", "a has split 'dev'", id="unknown split"),
            pytest.param("a,g,0,test\na,g,0,train\n", "a is listed twice", id="twice"),
        ],
    )
    def test_a_wrong_file_is_an_error(self, tmp_path, rows, message):
        (tmp_path / "splits.csv").write_text(f"video,group,is_fake,split\n{rows}")
        with pytest.raises(SplitError, match=message):
            read_splits(tmp_path / "splits.csv")
