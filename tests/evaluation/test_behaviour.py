"""What changes a verdict in behaviour tests, where no picture is needed to know."""

from dfutils.evaluation.behaviour import _other_people
from dfutils.records import ClipRow


def clip(index, group, *, is_fake):
    return ClipRow(f"c{index}", f"v{index}", is_fake, "d", group, None, 0, 10, 1, 1, 1.0, 1.0, 1, "")


def test_the_second_person_is_real_and_of_another_group_and_not_always_the_same():
    rows = [clip(index, f"g{index % 3}", is_fake=index % 2 == 1) for index in range(12)]
    chosen = _other_people(rows)
    assert all(rows[other].group != row.group for row, other in zip(rows, chosen, strict=True))
    assert not any(rows[other].is_fake for other in chosen)
    assert len(set(chosen)) > 3


def test_no_second_person_is_added_where_a_clip_has_none_to_meet():
    assert _other_people([clip(0, "g0", is_fake=False), clip(1, "g0", is_fake=True)]) is None
    assert _other_people([clip(0, "g0", is_fake=True), clip(1, "g1", is_fake=True)]) is None
