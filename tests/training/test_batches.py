"""A step of training is decided by its number and the seed alone."""

import dataclasses

import numpy as np
import pytest

from dfutils.errors import DatasetError, RunError, SplitError
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.records import ClipRow
from dfutils.settings import ExtractionSettings, FinetuneSettings
from dfutils.training.batches import BatchLoader, BatchPlan, Pair, PairLoader
from dfutils.training.input_pipeline import BatchSource, training_batches


def make_rows(real, fake):
    def row(index, is_fake):
        return ClipRow(f"c{index}", f"v{index}", is_fake, "d", f"g{index}", None, 0, 10, 1, 1, 1.0, 1.0, 1, "")

    return [*(row(k, False) for k in range(real)), *(row(real + k, True) for k in range(fake))]


def plan(real=6, fake=10, *, rows=None, batch_size=4, seed=0, **settings):
    rows = make_rows(real, fake) if rows is None else rows
    return BatchPlan(rows, batch_size=batch_size, settings=FinetuneSettings(**settings), seed=seed)


def pairs_of(steps, count):
    return [pair for step in range(count) for pair in steps.pairs(step)]


def test_every_pair_is_a_real_clip_and_a_fake():
    rows = make_rows(6, 10)
    for pair in pairs_of(plan(), 20):
        assert not rows[pair.real].is_fake
        assert rows[pair.forged].is_fake
        assert pair.kind == "forged"


def test_every_clip_is_seen_once_per_pass():
    assert sorted(pair.real for pair in pairs_of(plan(), 3)) == list(range(6))
    assert sorted(pair.forged for pair in pairs_of(plan(), 5)) == list(range(6, 16))


def test_a_step_depends_on_its_number_and_the_seed_alone():
    assert plan().pairs(17) == plan().pairs(17)
    assert plan().pairs(17) != plan().pairs(18)
    assert plan().pairs(17) != plan(seed=1).pairs(17)


def test_blended_fakes_come_from_the_real_clip_of_their_pair_in_the_requested_shares():
    pairs = pairs_of(plan(self_blended=0.5, donor_share=0.4, batch_size=8), 100)
    assert all(pair.forged == pair.real for pair in pairs if pair.kind != "forged")
    assert np.mean([pair.kind == "forged" for pair in pairs]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([pair.kind == "donor_blended" for pair in pairs]) == pytest.approx(0.2, abs=0.08)


def test_pairs_share_their_group_or_else_their_dataset():
    rows = [dataclasses.replace(row, group=f"g{index % 3}") for index, row in enumerate(make_rows(6, 10))]
    rows[5] = dataclasses.replace(rows[5], group="without fakes")
    rows.append(dataclasses.replace(rows[6], group="elsewhere", dataset="another"))
    pairs = [(rows[pair.real], rows[pair.forged]) for pair in pairs_of(plan(rows=rows, paired=True), 30)]
    assert {real.group == fake.group for real, fake in pairs if real.group != "without fakes"} == {True}
    assert all(fake.is_fake and fake.dataset == real.dataset for real, fake in pairs)
    assert {real.group for real, _ in pairs} == {"g0", "g1", "g2", "without fakes"}


def test_balanced_datasets_are_weighted_by_the_square_root_of_their_clips_and_people_equally():
    small = [dataclasses.replace(row, dataset="small") for row in make_rows(4, 0)]
    large = [dataclasses.replace(row, dataset="large", group=f"p{min(n, 1)}") for n, row in enumerate(make_rows(64, 4))]
    rows = [*small, *large]
    pairs = pairs_of(plan(rows=rows, balance_datasets=True, batch_size=32), 60)
    drawn = [rows[pair.real] for pair in pairs]
    assert np.mean([row.dataset == "small" for row in drawn]) == pytest.approx(2 / (2 + 8), abs=0.04)
    people = [row.group for row in drawn if row.dataset == "large"]
    assert people.count("p0") / len(people) == pytest.approx(0.5, abs=0.06)  # p0 has one clip of 64
    assert {pair.kind for pair in pairs if rows[pair.real].dataset == "small"} == {"self_blended"}


def test_real_clips_alone_are_enough_with_self_blending_only():
    assert plan(fake=0, self_blended=1.0).pairs(0)[1].kind == "self_blended"
    with pytest.raises(SplitError, match="0 FAKE"):
        plan(fake=0, self_blended=0.5)


@pytest.fixture(scope="module")
def dataset(demo_faces):
    return read_face_dataset(demo_faces)


def batches(dataset, *, start, stop, frames=2, size=96, **settings):
    own = FinetuneSettings(**{"self_blended": 0.5, **settings})
    steps = BatchPlan(dataset.rows, batch_size=4, settings=own, seed=3)
    loader = BatchLoader(steps, PairLoader(dataset, dataset.rows, frames=frames, settings=own))
    with BatchSource(loader) as source:
        return list(training_batches(source, start=start, stop=stop, frames=frames, size=size).as_numpy_iterator())


def test_batches_have_the_promised_shapes(dataset):
    for crops, targets in batches(dataset, start=0, stop=3):
        assert (crops.shape, crops.dtype) == ((4, 2, 96, 96, 3), np.uint8)
        assert targets.tolist() == [[0.0], [1.0], [0.0], [1.0]]


def test_batches_of_the_pipeline_equal_the_same_step_run_alone(dataset):
    together = batches(dataset, start=0, stop=4)
    alone = [batches(dataset, start=step, stop=step + 1)[0] for step in range(4)]
    for (crops, _), (again, _) in zip(together, alone, strict=True):
        assert np.array_equal(crops, again)


def test_a_patch_is_one_square_of_all_frames_at_full_resolution(dataset):
    row = next(index for index, row in enumerate(dataset.rows) if not row.is_fake)
    own = FinetuneSettings(augment=0, patch=64)
    loader = PairLoader(dataset, dataset.rows, frames=10, settings=own)
    crops, places = dataset.load_clip(dataset.rows[row]), set()
    for seed in range(4):
        patch, _ = loader.load(Pair(row, "self_blended", row, seed))
        found = [
            (top, left)
            for top in range(96 - 64 + 1)
            for left in range(96 - 64 + 1)
            if is_same_or_mirrored(patch, crops[:, top : top + 64, left : left + 64])
        ]
        places.update(found)
    assert len(places) > 1  # where the base of the pair was left as it is


def test_a_patch_larger_than_the_crop_is_refused(dataset):
    with pytest.raises(RunError, match="97 pixels cannot be cut out of crops of 96"):
        PairLoader(dataset, dataset.rows, frames=1, settings=FinetuneSettings(patch=97))


def is_same_or_mirrored(crops, stored):
    return np.array_equal(crops, stored) or np.array_equal(crops[:, :, ::-1], stored)


def test_without_augmentation_crops_are_mirrored_at_most(dataset):
    steps = BatchPlan(dataset.rows, batch_size=4, settings=FinetuneSettings(), seed=3)
    (crops, _), *_ = batches(dataset, start=0, stop=1, augment=0, self_blended=0.0, frames=10)
    places = [place for pair in steps.pairs(0) for place in (pair.real, pair.forged)]
    for crop, place in zip(crops, places, strict=True):
        assert is_same_or_mirrored(crop, dataset.load_clip(dataset.rows[place]))


def test_the_share_of_augmented_pairs_is_as_set(dataset):
    real = next(index for index, row in enumerate(dataset.rows) if not row.is_fake)
    loader = PairLoader(dataset, dataset.rows, frames=1, settings=FinetuneSettings(augment=0.5))
    stored = [dataset.load_frames(dataset.rows[real], [index]) for index in range(10)]
    augmented, mirrored = 0, 0
    for seed in range(60):
        crops, other = loader.load(Pair(real, "forged", real, seed))
        assert np.array_equal(crops, other)
        augmented += not any(is_same_or_mirrored(crops, frame) for frame in stored)
        mirrored += any(np.array_equal(crops[:, :, ::-1], frame) for frame in stored)
    assert 18 <= augmented <= 42  # 60 draws at one half: three standard deviations
    assert 4 <= mirrored <= 26  # 60 draws at a quarter


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_both_of_a_pair_get_the_same_augmentation(dataset, share):
    real = next(index for index, row in enumerate(dataset.rows) if not row.is_fake)
    loader = PairLoader(dataset, dataset.rows, frames=1, settings=FinetuneSettings(augment=share))
    for seed in range(6):
        first, second = loader.load(Pair(real, "forged", real, seed))  # the same clip on both sides of the pair
        assert np.array_equal(first, second)


def test_a_smaller_margin_is_cut_from_the_stored_crops_as_extraction_would_cut_it(demo_labels, tmp_path):
    for name, how in (("wide", {"size": 160, "margin": 0.3}), ("tight", {"size": 100, "margin": 0.0})):
        settings = ExtractionSettings(**how)
        extract_dataset(read_catalogue(demo_labels.parent, demo_labels), tmp_path / name, settings=settings)
    tight = read_face_dataset(tmp_path / "tight")
    shown = read_face_dataset(tmp_path / "wide").reframed(size=100, margin=0.0)
    assert (shown.settings.size, shown.settings.margin) == (100, 0.0)
    for row, known in zip(shown.rows, tight.rows, strict=True):
        difference = np.abs(shown.load_clip(row).astype(int) - tight.load_clip(known))
        assert difference.mean() < 6  # resized twice instead of once; a shift by 2 % of the side gives 9
        assert shown.checksum(row) != read_face_dataset(tmp_path / "wide").checksum(row)


def test_a_margin_that_was_not_stored_is_refused(dataset):
    with pytest.raises(DatasetError, match=r"face margin of 0, but 0\.2 is needed"):
        dataset.reframed(size=None, margin=0.2)


def test_framing_jitter_varies_the_size_of_the_face_about_the_right_one(dataset):
    stored = dataset.reframed(size=64, margin=-0.1).stored_crops(dataset.rows[0])
    whole, landmarks = stored.load([0])
    assert whole.shape == (1, 64, 64, 3)
    _, moved = stored.load([0], jitter=(-0.1, 0.0, 0.0))
    eyes, moved_eyes = (np.diff(points[0, :2], axis=0)[0, 0] for points in (landmarks, moved))
    assert moved_eyes / eyes == pytest.approx(1 / 0.9, rel=0.03)


def test_a_reframing_that_the_stored_crops_cannot_give_is_refused(dataset):
    ready_made = dataclasses.replace(dataset, settings=dataset.settings.model_copy(update={"crop": "none"}))
    with pytest.raises(DatasetError, match="ready-made crops"):
        ready_made.reframed(size=None, margin=-0.1)
    with pytest.raises(DatasetError, match=r"at a face margin of -0\.1, its crops have 77 pixels, but 96 are needed"):
        dataset.reframed(size=96, margin=-0.1)
