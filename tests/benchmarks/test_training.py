import shutil

import numpy as np
import pytest

from benchmarks import training
from dfutils.extraction.dataset import read_face_dataset


def test_what_is_computed_once_is_compared_with_what_is_computed_in_every_epoch():
    figures = training.cached_ratios(compute=100.0, read=5.0, head=25.0)
    assert figures["cached"] == pytest.approx((50 * 100 + 25) / (100 + 25))
    assert figures["cached_before"] == pytest.approx((50 * 100 + 25) / (5 + 25))


def test_the_table_says_what_the_figures_rest_on():
    speeds = {"299": {"decode": 300.0, "all": 120.0}, "224": {"decode": 500.0, "all": 200.0}}
    figures = {
        **training.cached_ratios(compute=100.0, read=5.0, head=25.0),
        "t4_images_per_second": {"299": 205.3, "224": 365.8},
        "input_images_per_core_second": speeds,
        "input_299": 2.34,
        "input_cores": 4,
        "input_efficiency": 0.91,
        "load_average": 0.04,
    }
    text = training.table(figures)
    assert "computed in every epoch / once, time | 40.20 |" in text
    assert "training on one T4, 299 pixels | 2.34 |" in text
    assert "all cores / cores × one core | 0.91 |" in text
    assert "4 cores with one worker process each; load average before the start 0.0." in text
    assert "120 images per second per core at 299 px and 200" in text
    assert "205 images per second at 299 px: derived, not measured" in text


def test_the_table_of_one_part_stands_alone():
    text = training.table(training.cached_ratios(compute=1.0, read=1.0, head=1.0))
    assert "T4" not in text


def test_the_input_pipeline_is_timed_over_what_fine_tuning_loads(demo_faces):
    dataset = read_face_dataset(demo_faces)
    speed = training.input_speed(dataset, batches=1)
    assert 0 < speed["all"] < speed["decode"]
    together = training.input_together(dataset, workers=2, batches=1)
    assert together["speedup"] > 0
    assert together["received"] > 0


def test_made_up_faces_get_grain(demo_faces, tmp_path):
    dataset = read_face_dataset(shutil.copytree(demo_faces, tmp_path / "faces"))
    before = dataset.load_clip(dataset.rows[0]).astype(float)
    training.add_grain(dataset)
    assert np.std(dataset.load_clip(dataset.rows[0]) - before) == pytest.approx(training.GRAIN, rel=0.2)
