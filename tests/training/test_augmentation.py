"""Augmentations on made-up texture: each does what its name says, the same for all frames if a camera would."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textures import textured

from dfutils.errors import DfutilsError
from dfutils.training.augmentation import AugmentationSettings, augment_clip

PROBABILITIES = sorted(name for name in AugmentationSettings.model_fields if name.endswith("_probability"))
SHAPES = [(1, 96, 96), (3, 96, 96), (2, 75, 75), (1, 40, 64), (1, 9, 9)]
NOISE = "noise_probability"


def augment(clip, seed=0, **changes):
    how = AugmentationSettings.only(**changes)
    return augment_clip(clip, rng=np.random.default_rng(seed), settings=how)


def fine_detail(clip):
    """Energy of what a small blur takes away."""
    floats = clip.astype(np.float32)
    return float(np.mean([np.square(frame - cv2.GaussianBlur(frame, (0, 0), 1.5)).mean() for frame in floats]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", PROBABILITIES)
def test_shape_dtype_and_the_input_are_kept(name, shape):
    clip = textured(*shape)
    before = clip.copy()
    changed = augment(clip, **{name: 1})
    assert changed.shape == clip.shape and changed.dtype == np.uint8 and changed.flags.c_contiguous
    assert np.array_equal(clip, before)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_each_augmentation_changes_the_clip(name):
    clip = textured(2)
    assert not np.array_equal(augment(clip, **{name: 1}), clip)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_probability_zero_changes_nothing(seed):
    clip = textured(2)
    assert np.array_equal(augment(clip, seed), clip)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_same_stream_gives_the_same_clip(seed):
    clip = textured(2)
    once, twice = (augment_clip(clip, rng=np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(once, twice)


@pytest.mark.parametrize("name", [name for name in PROBABILITIES if name != NOISE])
@pytest.mark.parametrize("seed", range(4))
def test_changes_of_a_whole_shot_are_the_same_in_all_frames(name, seed):
    # Three equal frames must stay equal; and a frame must not depend on those beside it.
    clip = np.repeat(textured(seed=seed), 3, axis=0)
    changed = augment(clip, seed, **{name: 1})
    assert (changed == changed[0]).all()


def test_geometry_is_the_same_for_all_frames_whatever_their_content():
    # x and y of every pixel as colours: equal colours show that equal pixels were taken.
    clip = textured(3)
    clip[..., 0], clip[..., 1] = 2 * np.arange(96), 2 * np.arange(96)[:, None]
    for seed in range(10):
        changed = augment(clip, seed, flip_probability=0.5, crop_probability=1)
        assert (changed[..., :2] == changed[:1, ..., :2]).all()
        assert (changed[0, ..., 2] != changed[1, ..., 2]).any()


def test_noise_differs_in_each_frame():
    clip = np.full((2, 64, 64, 3), 128, np.uint8)
    changed = augment(clip, noise_probability=1, noise_levels=(4, 4)).astype(float)
    assert np.corrcoef(changed[0].ravel(), changed[1].ravel())[0, 1] == pytest.approx(0, abs=0.05)
    assert changed.std() == pytest.approx(4, rel=0.05) and changed.mean() == pytest.approx(128, abs=0.2)


def test_noise_does_not_wrap_around_at_black_and_white():
    clip = np.zeros((1, 64, 64, 3), np.uint8)
    clip[:, 32:] = 255
    changed = augment(clip, noise_probability=1)
    assert changed[:, :32].max() < 60 and changed[:, 32:].min() > 195


def test_flip_mirrors_left_and_right():
    clip = textured(2)
    assert np.array_equal(augment(clip, flip_probability=1), clip[:, :, ::-1])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_crop_keeps_the_promised_share_of_both_sides(seed):
    clip = np.zeros((1, 100, 100, 3), np.uint8)
    clip[..., 0], clip[..., 1] = 2 * np.arange(100), 2 * np.arange(100)[:, None]
    changed = augment(clip, seed, crop_probability=1)
    for channel in (0, 1):
        assert np.ptp(changed[..., channel]) >= 2 * (0.86 * 100 - 1.5)


@given(seed=st.integers(0, 10_000), share=st.floats(0.005, 0.5), shape=st.sampled_from(SHAPES))
@settings(max_examples=60, deadline=None)
def test_a_cutout_covers_at_most_the_promised_share(seed, share, shape):
    clip = textured(*shape)
    changed = augment(clip, seed, cutout_probability=1, cutout_share=(share, share))
    covered = (changed != clip).any(axis=(0, 3))
    assert covered.mean() <= share
    if covered.sum() > 30:
        rows, columns = np.nonzero(covered)
        inside = changed[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (inside == inside[0, 0, 0]).all(), "no rectangle of one colour"


def test_a_large_cutout_covers_about_what_it_should():
    covered = [
        (augment(textured(), n, cutout_probability=1, cutout_share=(0.1, 0.1)) != textured()).any(3).mean()
        for n in range(20)
    ]
    assert np.mean(covered) == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(
    ("weak", "strong"),
    [
        pytest.param(
            {"gaussian_blur_sigma": (0.005, 0.005)}, {"gaussian_blur_sigma": (0.02, 0.02)}, id="gaussian_blur"
        ),
        pytest.param({"motion_blur_length": (0.03, 0.03)}, {"motion_blur_length": (0.1, 0.1)}, id="motion_blur"),
        pytest.param({"rescale_factor": (0.9, 0.9)}, {"rescale_factor": (0.4, 0.4)}, id="rescale"),
        pytest.param({"video_crf": (28, 28)}, {"video_crf": (40, 40)}, id="video"),
        pytest.param({"jpeg_quality": (60, 60)}, {"jpeg_quality": (20, 20)}, id="jpeg"),
    ],
)
def test_blur_size_and_coding_take_away_fine_detail(request, weak, strong):
    name = {f"{request.node.callspec.id}_probability": 1}
    clip = textured(2)
    details = [fine_detail(augment(clip, **name, **much)) for much in (weak, strong)]
    assert details[1] < details[0] < fine_detail(clip)
    assert details[1] < 0.6 * fine_detail(clip)


def test_blur_and_coding_keep_place_and_brightness():
    clip = textured(1, 128, 128)
    for name in ("gaussian_blur", "motion_blur", "rescale", "video", "jpeg"):
        changed = augment(clip, **{f"{name}_probability": 1})
        coarse, expected = (cv2.GaussianBlur(one[0].astype(np.float32), (0, 0), 4) for one in (changed, clip))
        assert np.abs(coarse - expected).mean() < 3, name


def test_video_coding_does_not_stretch_images_of_odd_size():
    clip = np.full((1, 75, 75, 3), 80, np.uint8)
    clip[:, :, np.arange(75) % 8 < 4] = 180
    changed = augment(clip, video_probability=1, video_crf=(10, 10)).astype(int)
    assert np.abs(changed - clip).mean() < 4


@pytest.mark.parametrize("name", ["video_probability", "jpeg_probability"])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_coding_keeps_red_red_and_blue_blue(name, channel):
    clip = np.full((1, 64, 64, 3), 60, np.uint8)
    clip[..., channel] = 200
    changed = augment(clip, **{name: 1}).astype(float)
    assert changed.mean(axis=(0, 1, 2)) == pytest.approx(clip[0, 0, 0].astype(float), abs=8)


def test_jpeg_subsamples_colours_and_not_brightness():
    # A fine pattern of equal luma: JPEG's 4:2:0 blurs it, unless red and blue were exchanged before.
    clip = np.full((1, 64, 64, 3), 100, np.uint8)
    clip[:, ::2, :, 2] = 220
    changed = augment(clip, jpeg_probability=1, jpeg_quality=(95, 95)).astype(float)
    assert np.ptp(changed[0, 16:48, 32, 2]) < 60


def test_colours_stay_within_the_settings():
    clip = textured()
    for seed in range(10):
        how = {"color_probability": 1, "contrast": 0, "saturation": 0, "hue_degrees": 0, "brightness": 0.1}
        change = augment(clip, seed, **how).astype(int) - clip
        assert np.abs(change).max() <= 26


def test_a_grey_image_stays_grey_under_saturation_and_hue():
    clip = np.repeat(textured()[..., :1], 3, axis=-1)
    changed = augment(clip, color_probability=1, saturation=1.0, hue_degrees=90, brightness=0, contrast=0).astype(int)
    assert np.abs(changed - clip).max() <= 1


def test_impossible_settings_are_refused():
    for wrong in ({"jpeg_quality": [90, 40]}, {"flip_probability": 1.2}, {"crop_share": [0.0, 1.0]}, {"flips": 1}):
        with pytest.raises(DfutilsError, match=next(iter(wrong))):
            AugmentationSettings.parse(wrong, source="test")
    with pytest.raises(ValueError, match="frozen"):
        AugmentationSettings().flip_probability = 0


@pytest.mark.parametrize(
    "clip",
    [textured()[0], textured().astype(np.float32), textured()[..., :1], textured()[:0]],
    ids=["an image", "floats", "grey", "no frame"],
)
def test_anything_but_a_uint8_clip_is_refused(clip):
    with pytest.raises(ValueError, match="clip must be"):
        augment_clip(clip, rng=np.random.default_rng(0))
