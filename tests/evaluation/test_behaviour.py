"""Judgement of behaviour tests, without a detector."""

import cv2
import numpy as np
import pytest

from dfutils.evaluation.behaviour import (
    _IMAGES,
    NEAR,
    SAME,
    Expectation,
    Outcome,
    choose_other_people,
)
from dfutils.records import ClipRow
from dfutils.report.sections import behaviour_section

MIRRORED = Expectation("mirrored", "left and right swapped", "nothing")
REVERSED = Expectation("time reversed", "frames in reverse", "order")
FROZEN = Expectation("all frames the same", "the middle frame only", "content")


def section_of(expectation, before, after, *, threshold=0.5, is_recurrent=False):
    outcome = Outcome(expectation, np.array(before), np.array(after))
    return behaviour_section([outcome], threshold=threshold, is_recurrent=is_recurrent)


def row_of(*given, **settings):
    (row,) = section_of(*given, **settings).document
    return row


def test_a_clear_verdict_that_flips_is_flagged():
    section = section_of(MIRRORED, [0.9, 0.8, 0.2, 0.51], [0.9, 0.3, 0.2, 0.49])
    (row,) = section.document
    assert row["held"] == "no: 1 of 3 clear verdicts flipped"  # the one at 0.51 was near the threshold
    assert (row["clips"], row["turned"], row["moved"]) == (4, 0.5, pytest.approx((0.5 + 0.02) / 4))
    assert section.flag == "1 of 1 changes affected verdicts although they should not: mirrored."
    assert section.tables[0].rows == [row]


def test_only_violations_are_flagged():
    outcomes = [
        Outcome(MIRRORED, np.array([0.9, 0.1]), np.array([0.9, 0.1])),
        Outcome(REVERSED, np.array([0.9, 0.1]), np.array([0.8, 0.1])),
        Outcome(FROZEN, np.array([0.9, 0.1]), np.array([0.1, 0.9])),
    ]
    section = behaviour_section(outcomes, threshold=0.5, is_recurrent=False)
    assert [row["held"] for row in section.document] == ["yes", "no: the order mattered", "–"]
    assert section.flag == "1 of 3 changes affected verdicts although they should not: time reversed."


@pytest.mark.parametrize("side", [1, -1], ids=["above", "below"])
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_a_verdict_may_flip_near_the_threshold_only(threshold, side):
    far = threshold - side * 0.1
    section = section_of(MIRRORED, [threshold + side * NEAR * 0.99], [far], threshold=threshold)
    assert (section.document[0]["turned"], section.document[0]["held"], section.flag) == (1, "yes", "")
    row = row_of(MIRRORED, [threshold + side * NEAR * 1.01], [far], threshold=threshold)
    assert row["held"] == "no: 1 of 1 clear verdicts flipped"


@pytest.mark.parametrize(
    ("is_recurrent", "moved", "expected", "held"),
    [
        (True, 0.6, "may change: the model uses time", "as expected: the order matters"),
        (True, SAME / 2, "may change: the model uses time", "the order does not matter to this model"),
        (False, SAME * 2, "no change at all", "no: the order mattered"),
        (False, SAME / 2, "no change at all", "yes"),  # the last bits are no change
    ],
)
def test_order_may_matter_to_a_recurrent_model_only(is_recurrent, moved, expected, held):
    section = section_of(REVERSED, [0.9, 0.2], [0.9 - moved, 0.2], is_recurrent=is_recurrent)
    (row,) = section.document
    assert (row["expected"], row["held"]) == (expected, held)
    assert row["turned"] == (0.5 if moved == 0.6 else 0)
    assert bool(section.flag) == held.startswith("no:")


def changed_image(name):
    """The description of a change, a clip with all pixels different, and the changed clip."""
    (found,) = [(expectation, change) for expectation, change in _IMAGES if expectation.name == name]
    across, down = np.meshgrid(np.arange(40), np.arange(40))
    clip = np.stack([across * 6, down * 6, across + down], axis=-1)[None].astype(np.uint8).repeat(2, axis=0)
    return found[0].words, clip, found[1](clip)


def test_mirroring_swaps_left_and_right():
    words, clip, changed = changed_image("mirrored")
    assert words == "left and right swapped"
    assert np.array_equal(changed, clip[:, :, ::-1])


def test_black_bars_are_on_the_crop_and_cover_a_tenth_at_each_end():
    words, clip, changed = changed_image("black bars on the crop")
    assert words == "a tenth above and below"
    assert not changed[:, :4].any()
    assert not changed[:, -4:].any()
    assert np.array_equal(changed[:, 4:-4], clip[:, 4:-4])


def test_a_smaller_box_shows_a_smaller_part_enlarged():
    words, clip, changed = changed_image("face box smaller")
    assert words == "cropped a tenth closer on each side"
    assert changed.shape == clip.shape
    inner = cv2.resize(clip[0, 4:-4, 4:-4], (40, 40), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(changed[0] - inner).max() <= 4  # a different interpolation of the same part


def test_every_change_of_images_has_a_test():
    names = {expectation.name for expectation, _ in _IMAGES}
    assert names == {"mirrored", "black bars on the crop", "face box smaller"}


def clip(index, group, *, is_fake):
    return ClipRow(f"c{index}", f"v{index}", is_fake, "d", group, None, 0, 10, 1, 1, 1.0, 1.0, 1, "")


def test_second_people_are_real_of_another_group_and_vary():
    rows = [clip(index, f"g{index % 3}", is_fake=index % 2 == 1) for index in range(12)]
    chosen = choose_other_people(rows)
    assert all(rows[other].group != row.group for row, other in zip(rows, chosen, strict=True))
    assert not any(rows[other].is_fake for other in chosen)
    assert len(set(chosen)) > 3


def test_no_second_person_is_added_if_a_clip_has_no_candidate():
    assert choose_other_people([clip(0, "g0", is_fake=False), clip(1, "g0", is_fake=True)]) is None
    assert choose_other_people([clip(0, "g0", is_fake=True), clip(1, "g1", is_fake=True)]) is None
