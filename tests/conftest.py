"""Data that the tests share: a handful of made-up clips, and what the line makes of them."""

import fcntl
import inspect
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import messages
import pytest
import rounding
from browser import browser, browser_page, pytest_unconfigure

from dfutils.demo.clips import make_demo_videos
from dfutils.demo.rendering import DemoSettings
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.extract import extract_dataset
from dfutils.settings import ExtractionSettings, TrainingSettings

__all__ = ["browser", "browser_page", "pytest_unconfigure"]

SLOW = ("documentation", "end_to_end", "notebooks", "prediction", "training", "app", "report", "publishing")
"""Folders with files that take minutes, in the order in which they start, before all others: a worker that took such a
file last would still run it when the others have nothing left to do."""

BOUNDS = {name for name in vars(rounding) if name.isupper()}
"""Tests that use one of these bounds have the mark ``rounding``."""

PEOPLE = 6
SMALL = ExtractionSettings(size=96)
"""Small crops keep InceptionV3 quick."""

TRAINING = TrainingSettings(
    model="inception_mean",
    backbone_weights="random",
    epochs=3,
    split={"test_fraction": 0.34, "validation_fraction": 0.34},
)


def pytest_configure():
    if path := os.environ.get("DFUTILS_MESSAGES"):  # docs/messages.md is written from it
        messages.start_recording(Path(path))


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: min(places.get(part, len(SLOW)) for part in item.path.parts))
    for item in items:
        if BOUNDS & set(names_in(getattr(getattr(item, "function", None), "__code__", None))):
            item.add_marker(pytest.mark.rounding)


def names_in(code):
    """Yield the global names that a function and those inside it use."""
    if code is not None:
        yield from code.co_names
        for inner in filter(inspect.iscode, code.co_consts):
            yield from names_in(inner)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """A folder that all workers of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def own_cache(shared_folder):
    """Tests neither read nor fill the user's cache, and never download."""
    before = dict(os.environ)
    os.environ.update(DFUTILS_CACHE=str(shared_folder / "cache"), DFUTILS_OFFLINE="1")
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def made_once(shared_folder):
    """Return a function that fills a folder once: other workers wait for it. No test writes there."""

    def fill(name: str, write: Callable[[Path], object]) -> Path:
        folder, done = shared_folder / f"shared-{name}", shared_folder / f"shared-{name}.done"
        with (shared_folder / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # half written by a worker that failed
                write(folder)
                done.touch()
        return folder

    return fill


@pytest.fixture(scope="session")
def demo_labels(made_once) -> Path:
    """labels.csv of 12 clips of 6 made-up people, 2 seconds each."""
    settings = DemoSettings(people=PEOPLE, seconds=2.0)
    folder = made_once("demo", lambda folder: make_demo_videos(folder, settings=settings, progress=False))
    return folder / "labels.csv"


@pytest.fixture(scope="session")
def demo_videos(demo_labels) -> list[Path]:
    """The 12 clips."""
    return sorted((demo_labels.parent / "videos").glob("*.mp4"))


@pytest.fixture(scope="session")
def demo_faces(demo_labels, made_once) -> Path:
    """Their face dataset."""
    catalogue = read_catalogue(demo_labels.parent, demo_labels)
    return made_once("faces", lambda folder: extract_dataset(catalogue, folder, settings=SMALL, progress=False))


@pytest.fixture(scope="session")
def demo_run(demo_faces, made_once) -> Path:
    """A run of the frame-average model on them."""
    from dfutils.training.run import train

    return made_once("run", lambda run: train(demo_faces, run, settings=TRAINING, progress=False))


@pytest.fixture(scope="session")
def detector(demo_run):
    """That run on OpenVINO. Files that test another detector have a fixture of this name of their own."""
    from dfutils.prediction.detector import load_detector

    return load_detector(demo_run, engine="openvino")


@pytest.fixture
def held(monkeypatch):
    """Every examination waits for this event; ``begun`` is set at the first."""
    from dfutils.prediction.detector import Detector

    go_on, begun, examine = threading.Event(), threading.Event(), Detector.examine

    def waiting(*arguments, **more):
        begun.set()
        assert go_on.wait(60)
        return examine(*arguments, **more)

    monkeypatch.setattr(Detector, "examine", waiting)
    go_on.begun = begun
    yield go_on
    go_on.set()
