"""Batches do not depend on the number of workers, and workers end with the training."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dfutils.errors import DatasetError, RunError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.settings import FinetuneSettings
from dfutils.training.batches import BatchLoader, BatchPlan, PairLoader
from dfutils.training.input_pipeline import BatchSource, training_batches


def loader_of(faces: Path) -> BatchLoader:
    dataset = read_face_dataset(faces)
    settings = FinetuneSettings(self_blended=0.5)
    plan = BatchPlan(dataset.rows, batch_size=4, settings=settings, seed=3)
    return BatchLoader(plan, PairLoader(dataset, dataset.rows, frames=2, settings=settings))


def batches(source, *, stop=6):
    return list(training_batches(source, start=0, stop=stop, frames=2, size=96).as_numpy_iterator())


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{process_id}/status").read_text()


def wait_for_the_end_of(process_ids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(map(is_running, process_ids)):
        assert time.monotonic() < deadline, f"still running: {process_ids}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def loader(demo_faces):
    return loader_of(demo_faces)


@pytest.fixture(scope="module")
def alone(loader):
    """The batches of six steps, made in this process."""
    with BatchSource(loader) as source:
        return batches(source)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_the_same_for_any_number_of_workers(loader, alone, workers):
    with BatchSource(loader, workers=workers) as source:
        for (crops, targets), (expected, expected_targets) in zip(batches(source), alone, strict=True):
            assert np.array_equal(crops, expected)
            assert np.array_equal(targets, expected_targets)


def test_one_worker_needs_no_process(loader):
    with BatchSource(loader, workers=1) as source:
        assert source.workers == 0


@pytest.fixture
def two(loader):
    """Two busy workers, and their process ids."""
    with BatchSource(loader, workers=2) as source:
        source.load(0)
        yield source, list(source._pool._processes)


def test_workers_do_without_tensorflow(two):
    source, _ = two
    loaded = source._pool.submit(eval, "sorted(__import__('sys').modules)").result()
    assert "dfutils.training.batches" in loaded
    assert not {"tensorflow", "keras", "sklearn", "pandas"} & set(loaded)


def test_workers_receive_only_what_they_need(loader):
    assert len(pickle.dumps(loader)) < 20_000


@pytest.mark.parametrize("error", [None, ValueError("x"), KeyboardInterrupt()], ids=["end", "error", "Ctrl-C"])
def test_workers_end_with_the_training(loader, error):
    processes = []

    def use():
        with BatchSource(loader, workers=2) as source:
            iterator = iter(training_batches(source, start=0, stop=1000, frames=2, size=96))
            next(iterator)
            processes.extend(source._pool._processes)
            if error is not None:
                raise error
            del iterator

    if error is None:
        use()
    else:
        with pytest.raises(type(error)):
            use()
    assert len(processes) == 2
    wait_for_the_end_of(processes)


ORPHANS = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_workers import loader_of
from dfutils.training.input_pipeline import BatchSource
source = BatchSource(loader_of(Path(sys.argv[1])), workers=2)
source.load(0)
print(*source._pool._processes, flush=True)
time.sleep(600)
"""


def test_workers_end_when_the_training_is_killed(demo_faces):
    folders = (demo_faces, Path(__file__).parents[2], Path(__file__).parent)
    command = [sys.executable, "-c", ORPHANS, *map(str, folders)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        processes = [int(number) for number in parent.stdout.readline().split()]
        assert len(processes) == 2
        assert all(map(is_running, processes))
        parent.send_signal(signal.SIGKILL)
    wait_for_the_end_of(processes)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_is_raised_unchanged(demo_faces, tmp_path, workers):
    faces = shutil.copytree(demo_faces, tmp_path / "faces")
    loader = loader_of(faces)
    for path in faces.glob("real/*/*.png"):
        path.unlink()
    with pytest.raises(DatasetError, match="the crop cannot be read"), BatchSource(loader, workers=workers) as source:
        batches(source)


def test_a_killed_worker_is_reported_with_a_remedy(two, loader):
    with pytest.raises(RunError, match="a worker process was killed"), BatchSource(loader, workers=2) as source:
        source.load(0)
        for process in list(source._pool._processes):
            os.kill(process, signal.SIGKILL)
        batches(source)
