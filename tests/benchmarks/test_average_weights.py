"""Averaged runs have the mean of all weights, and are run folders like any other."""

import h5py
import numpy as np
import pytest

from benchmarks.average_weights import average_runs
from dfutils.errors import RunError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv
from dfutils.prediction.detector import load_detector
from dfutils.settings import TrainingSettings
from dfutils.training.finished import read_about
from dfutils.training.run import train


@pytest.fixture(scope="module")
def runs(demo_run, demo_faces, tmp_path_factory):
    """Two trainings of one recipe with other seeds; their backbone is frozen, their heads differ."""
    other = tmp_path_factory.mktemp("other")
    settings = TrainingSettings.read(demo_run / "settings.json").model_copy(update={"seed": 7})
    train(demo_faces, other, settings=settings, progress=False)
    return [demo_run, other]


@pytest.fixture(scope="module")
def mean(runs, demo_faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mean")
    average_runs(runs, folder, demo_faces)
    return folder


def _weights(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_every_variable_is_the_mean_of_those_of_the_runs(runs, mean):
    one, two, averaged = (_weights(run / "model.weights.h5") for run in (*runs, mean))
    floats = [name for name, values in averaged.items() if values.dtype == np.float32]
    assert len(floats) > 100
    for name in floats:
        np.testing.assert_allclose(averaged[name], (one[name] + two[name]) / 2, rtol=1e-5, atol=1e-7)
    assert any(np.abs(one[name] - two[name]).max() > 1e-3 for name in floats)


def test_the_mean_is_a_finished_run_that_scores_as_its_predictions_say(runs, mean, demo_faces):
    assert read_about(mean)["files"]
    written = {row["clip_id"]: row for row in read_csv(mean / "predictions.csv", ())}
    assert {row["split"] for row in written.values()} == {"validation", "test"}
    dataset = read_face_dataset(demo_faces)
    rows = [row for row in dataset.rows if row.clip_id in written]
    scores = load_detector(mean, engine="keras").score_dataset(dataset, rows, progress=False)
    for row, score in zip(rows, scores, strict=True):
        assert float(written[row.clip_id]["raw_probability"]) == pytest.approx(score.raw_probability, abs=1e-6)
    before = (mean / "model.weights.h5").stat().st_mtime_ns
    average_runs(runs, mean, demo_faces)
    assert (mean / "model.weights.h5").stat().st_mtime_ns == before


def test_an_unfinished_or_altered_run_is_not_averaged(runs, demo_faces, tmp_path):
    with pytest.raises(RunError, match="is no finished run folder"):
        average_runs([*runs, tmp_path], tmp_path / "mean", demo_faces)
    assert not (tmp_path / "mean").exists()
