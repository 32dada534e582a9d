"""Averaged runs have the mean of all weights, and are run folders like any other."""

import shutil

import h5py
import numpy as np
import pytest

from dfutils.errors import RunError
from dfutils.files import read_csv
from dfutils.prediction.detector import load_detector
from dfutils.runs.calibration import recalibrate
from dfutils.runs.folder import RunFolder
from dfutils.settings import TrainingSettings
from dfutils.training.folds import train_folds
from dfutils.training.run import train
from research.average_weights import average_runs


@pytest.fixture(scope="module")
def runs(demo_run, demo_faces, tmp_path_factory):
    """Two trainings at other learning rates; their backbone is frozen, their heads differ."""
    other = tmp_path_factory.mktemp("other")
    settings = TrainingSettings.read(demo_run / "settings.json").model_copy(update={"learning_rate": 3e-3})
    train(demo_faces, other, settings=settings, progress=False)
    return [demo_run, other]


@pytest.fixture(scope="module")
def mean(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mean")
    average_runs(runs, folder)
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


def test_the_mean_counts_every_clip_as_trained_on(runs, mean):
    about = RunFolder(mean).about()
    assert about["averaged"] == [RunFolder(run).detector().weights_sha256 for run in runs]
    assert load_detector(mean, engine="keras").settings.operating_points == ()
    splits = read_csv(mean / "splits.csv", ("video", "split"))
    assert {row["video"] for row in splits} == {row["video"] for row in read_csv(runs[0] / "splits.csv", ())}
    assert {row["split"] for row in splits} == {"train"}
    with pytest.raises(RunError, match="calibration needs scores of"):
        recalibrate(mean)


def test_the_mean_is_calibrated_on_folds_of_its_recipe(runs, mean, demo_faces, tmp_path):
    settings = TrainingSettings.read(runs[0] / "settings.json")
    train_folds(demo_faces, tmp_path / "folds", settings=settings, folds=2, progress=False)
    found = recalibrate(shutil.copytree(mean, tmp_path / "mean"), out_of_fold=tmp_path / "folds")
    assert (found.fitted_on, found.operating_points[0].reals) == ("out_of_fold", 6)


def test_a_finished_mean_is_left_alone_and_that_of_others_is_refused(runs, mean):
    before = (mean / "model.weights.h5").stat().st_mtime_ns
    average_runs(runs, mean)
    assert (mean / "model.weights.h5").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="is the mean of other runs"):
        average_runs(runs[::-1], mean)


def test_what_is_unfinished_or_altered_is_not_averaged(runs, tmp_path):
    with pytest.raises(RunError, match="is not a finished run folder"):
        average_runs([*runs, tmp_path], tmp_path / "mean")
    altered = shutil.copytree(runs[1], tmp_path / "altered")
    with (altered / "model.weights.h5").open("r+b") as file:
        file.seek(100_000)
        file.write(b"?")
    with pytest.raises(RunError, match="altered since training"):
        average_runs([runs[0], altered], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
