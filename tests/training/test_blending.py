"""Self-blended clips on made-up texture: where a forgery may be, and that it is nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textures import textured

from dfutils.errors import DfutilsError
from dfutils.training.blending import (
    EYE_GAP,
    EYE_TO_MOUTH,
    MEAN_LANDMARKS,
    OUTLINES,
    BlendingSettings,
    Donor,
    blend_clip,
)

SIZE = 96
STEADY = BlendingSettings(jitter_probability=0, strengths=(1.0,), base_probability=0)
JITTERING = BlendingSettings(jitter_probability=1, strengths=(1.0,), base_probability=0)
SMALL_FACE = np.asarray(MEAN_LANDMARKS) * 40 + (20, 30)
"""A face 40 pixels large, its crop's corner at (20, 30): room all round in an image of 96 pixels."""


def blend(clip, seed, *, landmarks=None, how=STEADY):
    _, fake, masks = blend_clip(clip, landmarks=landmarks, rng=np.random.default_rng(seed), settings=how)
    return fake, masks


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(1, 96, 96), (3, 96, 96), (1, 299, 299), (2, 40, 40), (1, 90, 120)]
)
def test_shape_and_dtype_are_kept_and_masks_are_shares(frames, height, width):
    clip = textured(frames, height, width)
    _, fakes, masks = blend_clip(clip, landmarks=None, rng=np.random.default_rng(1))
    assert fakes.shape == clip.shape and fakes.dtype == np.uint8
    assert masks.shape == clip.shape[:3] and masks.dtype == np.float32
    assert masks.min() == 0 and 0.2 < masks.max() <= 1


@given(seed=st.integers(0, 10_000), jittering=st.booleans())
@settings(max_examples=40, deadline=None)
def test_pixels_outside_the_mask_are_untouched_to_the_bit(seed, jittering):
    clip = textured(2, seed=seed)
    before = clip.copy()
    fakes, masks = blend(clip, seed, how=JITTERING if jittering else STEADY)
    assert np.array_equal(clip, before), "the input was written to"
    assert np.array_equal(fakes[masks == 0], clip[masks == 0])
    assert (masks == 0).mean() > 0.1
    assert (fakes != clip)[masks > 0.9].mean() > 0.5, "nothing was forged"


def test_white_and_black_outside_the_mask_stay_white_and_black():
    for level in (0, 1, 254, 255):
        fakes, masks = blend(np.full((1, SIZE, SIZE, 3), level, np.uint8), 3)
        assert (fakes[masks == 0] == level).all()


@given(seed=st.integers(0, 10_000), margin=st.sampled_from([-0.2, 0.0, 0.3]), side=st.sampled_from([33, 96, 224]))
@settings(max_examples=40, deadline=None)
def test_masks_are_zero_on_the_outermost_pixels(seed, margin, side):
    _, masks = blend(textured(2, side, side), seed, how=JITTERING.model_copy(update={"face_margin": margin}))
    edges = [masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]]
    assert all((edge == 0).all() for edge in edges)
    assert (masks > 0.5).any()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_masks_stay_inside_the_face_that_the_landmarks_show(seed):
    _, masks = blend(textured(2), seed, landmarks=np.stack([SMALL_FACE] * 2), how=JITTERING)
    # The widest outline, grown by the 5 % that outlines vary and the 5 % of the face's size that they are bent by.
    widest = np.asarray(OUTLINES["face"])
    reach = 1.05 * widest[:, 0].max() * EYE_GAP * 40 + 0.05 * 40 + 1
    top = 0.285 * 40 + 30 + (widest[:, 1].min() - 0.1) * EYE_TO_MOUTH * 40 - 0.05 * 40 - 1
    bottom = 0.285 * 40 + 30 + (1.56 + 0.1) * EYE_TO_MOUTH * 40 + 0.05 * 40 + 1
    _, rows, columns = np.nonzero(masks)
    assert rows.min() > top and rows.max() < bottom
    assert np.abs(columns + 0.5 - (0.505 * 40 + 20)).max() < reach


def test_masks_follow_the_face_from_frame_to_frame():
    moved = np.stack([SMALL_FACE, np.add(SMALL_FACE, (16, 8))])
    _, masks = blend(textured(2), 4, landmarks=moved)
    assert np.allclose(masks[0, :-8, :-16], masks[1, 8:, 16:], atol=0.2)
    centers = [np.average(np.argwhere(mask > 0), axis=0, weights=mask[mask > 0]) for mask in masks]
    assert centers[1] - centers[0] == pytest.approx([8, 16], abs=0.5)


def test_masks_turn_with_a_tilted_face():
    middle = SMALL_FACE.mean(axis=0)
    turned = (SMALL_FACE - middle) @ np.asarray(
        [[0, 1], [-1, 0]]
    ) + middle  # a quarter turn: the eyes above one another
    areas = [blend(textured(), seed, landmarks=turned[None])[1][0] > 0 for seed in range(20)]
    tall = [np.ptp(np.argwhere(area), axis=0) for area in areas]
    upright = [
        np.ptp(np.argwhere(blend(textured(), seed, landmarks=SMALL_FACE[None])[1][0] > 0), axis=0) for seed in range(20)
    ]
    assert np.mean(tall, axis=0) == pytest.approx(np.mean(upright, axis=0)[::-1], abs=2)


def test_a_steady_clip_has_the_same_forgery_in_all_frames():
    clip = np.repeat(textured(), 4, axis=0)
    fakes, masks = blend(clip, 6)
    assert (masks == masks[0]).all() and (fakes == fakes[0]).all()


def test_a_jittering_clip_has_another_forgery_in_each_frame():
    clip = np.repeat(textured(), 4, axis=0)
    fakes, masks = blend(clip, 6, how=JITTERING)
    assert all((masks[i] != masks[i + 1]).any() and (fakes[i] != fakes[i + 1]).any() for i in range(3))
    overlap = np.minimum(masks[0], masks[1]).sum() / np.maximum(masks[0], masks[1]).sum()
    assert overlap > 0.7, "jitter is a small change, not another mask"


def test_about_half_of_the_clips_jitter_by_default():
    clip = np.repeat(textured(), 2, axis=0)
    steady = [
        np.ptp(blend_clip(clip, landmarks=None, rng=np.random.default_rng(n)).masks, axis=0).max() == 0
        for n in range(60)
    ]
    assert 15 < sum(steady) < 45


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_random_stream_decides_the_forgery(seed):
    clip = textured(2)
    once, twice, other = (blend(clip, n, how=BlendingSettings()) for n in (seed, seed, seed + 1))
    assert np.array_equal(once[0], twice[0]) and np.array_equal(once[1], twice[1])
    assert not np.array_equal(once[0], other[0])


def test_half_of_the_pairs_change_the_image_around_the_face_and_the_real_clip_with_it():
    clip = textured()
    pairs = [blend_clip(clip, landmarks=None, rng=np.random.default_rng(seed)) for seed in range(80)]
    is_base_changed = [not np.array_equal(pair.real, clip) for pair in pairs]
    assert 25 < sum(is_base_changed) < 55
    for pair in pairs:
        assert np.array_equal(pair.fake[pair.masks == 0], pair.real[pair.masks == 0])
        assert (pair.fake != pair.real).any()


def test_if_the_base_is_changed_the_blended_face_is_the_original():
    still = {"shift": 0, "scale": 0, "turn_degrees": 0, "quality_probability": 0}
    how = BlendingSettings(base_probability=1, jitter_probability=0, strengths=(1.0,), brightness=0.4, **still)
    clip = textured()
    pair = blend_clip(clip, landmarks=None, rng=np.random.default_rng(1), settings=how)
    inside = pair.masks > 0.999
    assert np.abs(pair.fake[inside].astype(int) - clip[inside]).max() <= 1
    assert np.abs(pair.real[inside].astype(int) - clip[inside]).mean() > 2


def test_a_donors_face_is_aligned_to_the_landmarks_in_the_clips_own_colours():
    donor = Donor(np.full((80, 80, 3), 40, np.uint8), np.asarray(MEAN_LANDMARKS, np.float32) * 60 + 10)
    x, y = (donor.landmarks.mean(axis=0)).round().astype(int)
    donor.image[y - 3 : y + 4, x - 3 : x + 4] = 250  # a bright spot in the middle of the donor's face
    clip = np.full((1, SIZE, SIZE, 3), 120, np.uint8)
    clip[:, ::2] = 136
    landmarks = SMALL_FACE[None].astype(np.float32)
    still = {"shift": 0, "scale": 0, "turn_degrees": 0, "quality_probability": 0, "brightness": 0, "contrast": 0}
    how = STEADY.model_copy(update={**still, "saturation": 0, "hue_degrees": 0, "color_cast": 0})
    pair = blend_clip(clip, landmarks=landmarks, rng=np.random.default_rng(3), donor=donor, settings=how)
    spot = pair.fake[0, ..., 0].astype(int) > 160
    center = np.argwhere(spot).mean(axis=0)
    assert center + 0.5 == pytest.approx(landmarks[0].mean(axis=0)[::-1], abs=2.5)  # of a face of 40 pixels
    assert np.array_equal(pair.real, clip)
    assert abs(float(pair.fake[pair.masks > 0.9].mean()) - float(clip.mean())) < 15


def test_strength_is_the_highest_share_of_the_mask():
    for strength in (0.25, 0.5, 1.0):
        _, masks = blend(textured(), 2, how=BlendingSettings(strengths=(strength,)))
        assert masks.max() == pytest.approx(strength, abs=0.02)


def test_without_misfit_a_forgery_equals_its_original():
    nothing = {"shift": 0, "scale": 0, "turn_degrees": 0, "quality_probability": 0}
    colours = {"brightness": 0, "contrast": 0, "saturation": 0, "hue_degrees": 0, "color_cast": 0}
    clip = textured(2)
    how = STEADY.model_copy(update={**nothing, **colours})
    assert np.array_equal(blend(clip, 1, how=how)[0], clip)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_face_is_never_misplaced_by_more_than_the_settings_say(seed):
    colours = {"brightness": 0, "contrast": 0, "saturation": 0, "hue_degrees": 0, "color_cast": 0}
    how = JITTERING.model_copy(
        update={**colours, "scale": 0.0, "turn_degrees": 0.0, "quality_probability": 0.0, "jitter": 1.0}
    )
    # x and y of every pixel as colours: what is blended in says from where it was taken.
    ramp = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = 2 * np.arange(SIZE), 2 * np.arange(SIZE)[:, None]
    fakes, masks = blend(ramp, seed, how=how)
    moved = np.abs(fakes.astype(int) - ramp)[masks > 0.99] / 2
    assert moved.max() <= 0.03 * SIZE + 0.5


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(np.full((1, 5, 2), np.nan), id="no landmarks"),
        pytest.param(np.zeros((1, 5, 2)), id="all in one point"),
        pytest.param(SMALL_FACE[None] + 500, id="outside the image"),
    ],
)
def test_unusable_landmarks_count_as_none(broken):
    clip = textured()
    assert np.array_equal(blend(clip, 5, landmarks=broken)[0], blend(clip, 5)[0])


def test_a_profile_keeps_a_mask_of_some_width():
    profile = SMALL_FACE.copy()
    profile[:, 0] = 40
    _, masks = blend(textured(), 1, landmarks=profile[None])
    assert np.ptp(np.nonzero(masks[0])[1]) > 8


def test_a_face_margin_makes_the_mask_smaller_if_landmarks_are_missing():
    areas = [(blend(textured(), 3, how=STEADY.model_copy(update={"face_margin": m}))[1] > 0).mean() for m in (0.0, 0.5)]
    assert areas[1] == pytest.approx(areas[0] / 4, rel=0.2)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        blend(textured().astype(np.float32), 0)
    with pytest.raises(ValueError, match=r"landmarks must be \(2, 5, 2\)"):
        blend(textured(2), 0, landmarks=SMALL_FACE[None])
    with pytest.raises(DfutilsError, match="strengths"):
        BlendingSettings.parse({"strengths": [0.5, 1.5]}, source="test")
    with pytest.raises(DfutilsError, match="sharpening"):
        BlendingSettings.parse({"sharpening": [2.0, 1.0]}, source="test")
