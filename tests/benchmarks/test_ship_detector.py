"""The detector that comes with the package scores as on the day it was shipped."""

import pytest
from rounding import SCORE

import dfutils
from benchmarks.detector import CROSS, MIXED
from benchmarks.ship_detector import GOLDEN, choose, golden_scores
from dfutils.files import read_json
from dfutils.prediction.export import _require_equal
from dfutils.prediction.runtime import read_export
from dfutils.pretrained import DEFAULT, FOLDER
from dfutils.runs.folder import RunFolder


def test_the_shipped_detector_scores_as_on_the_day_it_was_shipped():
    shipped = read_json(FOLDER / DEFAULT / GOLDEN)
    assert len(shipped) == 4
    assert golden_scores(FOLDER / DEFAULT) == pytest.approx(shipped, abs=SCORE)  # by another processor


@pytest.mark.parametrize(("difference", "chosen"), [(0.01, MIXED), (-0.02, MIXED), (-0.0201, CROSS), (None, CROSS)])
def test_a_candidate_that_forgot_the_people_it_was_chosen_on_is_not_shipped(difference, chosen):
    assert choose({} if difference is None else {"forgotten": {"difference": {"value": difference}}}) == chosen


def test_the_export_that_comes_with_the_package_passed_its_gate_and_scores_as_keras():
    pytest.importorskip("openvino")
    folder = FOLDER / DEFAULT
    export = read_export(folder, RunFolder(folder).detector())
    _require_equal(folder, export)
    shipped = read_json(folder / GOLDEN)
    # In 8 bits, which processors do not all compute alike; validation's largest difference is no bound for a drawing.
    assert golden_scores(folder, engine="openvino") == pytest.approx(shipped, abs=0.15)


def test_the_one_liner_uses_the_detector_that_comes_with_the_package(demo_videos):
    detector = dfutils.load_detector()
    assert detector.settings.name == DEFAULT
    assert 0 < detector.predict(demo_videos[0]).fake_probability < 1


def test_what_a_forerunner_reached_is_not_claimed_for_a_detector_that_trained_on_it():
    measured = read_json(FOLDER / DEFAULT / "metrics.json")["measured"]
    claims = [words for words in measured if "never trained on" in words]
    about = read_json(FOLDER / DEFAULT / "metrics.json")["about"]
    assert bool(claims) == ("never on FaceForensics++" in about)
