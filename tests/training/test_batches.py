"""A step of training is decided by its number and the seed alone."""

import dataclasses

import numpy as np
import pytest

from dfutils.errors import RunError, SplitError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.records import ClipRow
from dfutils.training.batches import BatchLoader, BatchPlan, Sample, SampleLoader
from dfutils.training.pipeline import training_batches
from dfutils.training.workers import BatchSource


def make_rows(real, fake):
    def row(index, is_fake):
        return ClipRow(f"c{index}", f"v{index}", is_fake, "d", f"g{index}", None, 0, 10, 1, 1, 1.0, 1.0, 1, "")

    return [*(row(k, False) for k in range(real)), *(row(real + k, True) for k in range(fake))]


def plan(real=6, fake=10, **kwargs):
    return BatchPlan(make_rows(real, fake), **{"batch_size": 4, "self_blended": 0.0, "seed": 0, **kwargs})


def test_every_step_is_balanced_whatever_the_data_set_is():
    for step in range(20):
        assert [sample.is_fake for sample in plan(real=3, fake=30).samples(step)] == [False, True, False, True]


def test_samples_have_the_labels_of_their_rows():
    rows = make_rows(6, 10)
    for step in range(20):
        assert all(rows[sample.row].is_fake == sample.is_fake for sample in plan().samples(step))


def test_every_clip_is_seen_once_a_pass():
    seen = [sample.row for step in range(3) for sample in plan().samples(step) if not sample.is_fake]
    assert sorted(seen) == list(range(6))
    fakes = [sample.row for step in range(5) for sample in plan().samples(step) if sample.is_fake]
    assert sorted(fakes) == list(range(6, 16))


def test_a_step_is_the_same_however_training_came_to_it():
    assert plan().samples(17) == plan().samples(17)
    assert plan().samples(17) != plan().samples(18)
    assert plan().samples(17) != plan(seed=1).samples(17)


def test_self_blended_fakes_are_made_from_the_real_clips_of_their_batch():
    samples = [sample for step in range(50) for sample in plan(self_blended=0.5, batch_size=8).samples(step)]
    for real, fake in zip(samples[::2], samples[1::2], strict=True):
        assert not fake.blend or fake.row == real.row
    share = np.mean([sample.blend for sample in samples if sample.is_fake])
    assert 0.4 < share < 0.6


def test_pairs_share_their_group_where_it_has_a_fake():
    rows = [dataclasses.replace(row, group=f"g{index % 3}") for index, row in enumerate(make_rows(6, 10))]
    rows[5] = dataclasses.replace(rows[5], group="without fakes")
    steps = BatchPlan(rows, batch_size=4, self_blended=0.0, seed=0, paired=True)
    samples = [sample for step in range(30) for sample in steps.samples(step)]
    pairs = [(rows[real.row], rows[fake.row]) for real, fake in zip(samples[::2], samples[1::2], strict=True)]
    assert {real.group == fake.group for real, fake in pairs if real.group != "without fakes"} == {True}
    assert all(fake.is_fake for _, fake in pairs)
    assert {real.group for real, _ in pairs} == {"g0", "g1", "g2", "without fakes"}
    assert len({fake.video for _, fake in pairs}) == 10


def test_real_clips_alone_are_enough_with_self_blending_only():
    assert plan(fake=0, self_blended=1.0).samples(0)[1].blend
    with pytest.raises(SplitError, match="0 FAKE"):
        plan(fake=0, self_blended=0.5)


@pytest.fixture(scope="module")
def dataset(demo_faces):
    return read_face_dataset(demo_faces)


def batches(dataset, *, start, stop, augment=True, self_blended=0.5, frames=2):
    steps = BatchPlan(dataset.rows, batch_size=4, self_blended=self_blended, seed=3)
    loader = BatchLoader(steps, SampleLoader(dataset, dataset.rows, frames=frames, augment=augment))
    with BatchSource(loader) as source:
        return list(training_batches(source, start=start, stop=stop, frames=frames, size=96).as_numpy_iterator())


def test_batches_have_the_promised_shapes(dataset):
    for crops, targets in batches(dataset, start=0, stop=3):
        assert (crops.shape, crops.dtype) == ((4, 2, 96, 96, 3), np.uint8)
        assert targets.tolist() == [[0.0], [1.0], [0.0], [1.0]]


def test_batches_in_the_pipeline_equal_the_same_step_run_alone(dataset):
    together = batches(dataset, start=0, stop=4)
    alone = [batches(dataset, start=step, stop=step + 1)[0] for step in range(4)]
    for (crops, _), (again, _) in zip(together, alone, strict=True):
        assert np.array_equal(crops, again)


def test_a_patch_is_one_square_of_all_frames_at_full_resolution(dataset):
    row = next(index for index, row in enumerate(dataset.rows) if not row.is_fake)
    loader = SampleLoader(dataset, dataset.rows, frames=10, augment=False, patch=64)
    crops, places = dataset.load_clip(dataset.rows[row]), set()
    for seed in range(4):
        patch = loader.load(Sample(row, False, False, seed))
        found = [
            (top, left)
            for top in range(96 - 64 + 1)
            for left in range(96 - 64 + 1)
            if np.array_equal(crops[:, top : top + 64, left : left + 64], patch)
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 1


def test_a_patch_larger_than_the_crop_is_refused(dataset):
    with pytest.raises(RunError, match="97 pixels cannot be cut out of crops of 96"):
        SampleLoader(dataset, dataset.rows, frames=1, augment=False, patch=97)


def test_without_augmentation_real_crops_come_as_they_are(dataset):
    steps = BatchPlan(dataset.rows, batch_size=4, self_blended=0.0, seed=3)
    (crops, _), *_ = batches(dataset, start=0, stop=1, augment=False, self_blended=0.0, frames=10)
    for crop, sample in zip(crops, steps.samples(0), strict=True):
        assert np.array_equal(crop, dataset.load_clip(dataset.rows[sample.row]))
