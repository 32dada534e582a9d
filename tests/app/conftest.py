"""What several tests of the page and the API need."""

import threading

import pytest

from dfutils.prediction.detector import Detector


@pytest.fixture
def held(monkeypatch):
    """Every examination waits for this event; ``begun`` is set at the first."""
    go_on, begun, examine = threading.Event(), threading.Event(), Detector.examine

    def waiting(*arguments, **more):
        begun.set()
        assert go_on.wait(60)
        return examine(*arguments, **more)

    monkeypatch.setattr(Detector, "examine", waiting)
    go_on.begun = begun
    yield go_on
    go_on.set()
