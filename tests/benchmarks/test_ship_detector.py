"""The detector that comes with the package scores as on the day it was shipped."""

import pytest

from benchmarks.ship_detector import GOLDEN, choose, golden_scores
from dfutils.files import read_json
from dfutils.pretrained import DEFAULT, FOLDER


def test_the_shipped_detector_scores_as_on_the_day_it_was_shipped():
    shipped = read_json(FOLDER / DEFAULT / GOLDEN)
    assert len(shipped) == 4
    assert golden_scores(FOLDER / DEFAULT) == pytest.approx(shipped, abs=5e-4)


@pytest.mark.parametrize(("difference", "chosen"), [(0.01, "S"), (-0.02, "S"), (-0.0201, "X"), (None, "X")])
def test_a_candidate_that_forgot_the_people_it_was_chosen_on_is_not_shipped(difference, chosen):
    assert choose({} if difference is None else {"forgotten": {"difference": {"value": difference}}}) == chosen
