"""The detector that comes with the package scores as on the day it was shipped."""

import pytest

from benchmarks.ship_detector import GOLDEN, golden_scores
from dfutils.files import read_json
from dfutils.pretrained import DEFAULT, FOLDER


def test_the_shipped_detector_scores_as_on_the_day_it_was_shipped():
    shipped = read_json(FOLDER / DEFAULT / GOLDEN)
    assert len(shipped) == 4
    assert golden_scores(FOLDER / DEFAULT) == pytest.approx(shipped, abs=5e-4)
