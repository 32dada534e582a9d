"""Numbers near 0 or 1 do not look like 0 or 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfutils.statistics.formatting import probability_text, rate_text


@given(st.floats(1e-9, 0.5))
def test_a_probability_that_is_neither_0_nor_1_is_not_written_as_one(distance):
    assert 0 < float(probability_text(distance)) < 1
    assert 0 < float(probability_text(1 - distance)) < 1
    assert float(probability_text(distance)) == pytest.approx(distance, rel=0.51)


@given(st.floats(1e-9, 1 - 1e-9))
def test_a_rate_has_two_digits_counted_from_the_nearer_end(share):
    written = float(rate_text(share).removesuffix("\xa0%")) / 100
    assert abs(written - share) <= 0.0501 * min(share, 1 - share) + 1e-12


@pytest.mark.parametrize(("value", "written"), [(0.0, "0.00"), (1.0, "1.00"), (0.93, "0.93"), (0.99, "0.99")])
def test_other_probabilities_have_two_decimals(value, written):
    assert probability_text(value) == written
