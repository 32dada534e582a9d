"""Three examples that the program makes: a made-up person, one with a forged face, and a room with nobody in it."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from dfutils.demo.clips import DemoSettings, make_demo_videos
from dfutils.demo.examples import make_faceless_video

SETTINGS = DemoSettings(people=2)


@dataclass(frozen=True, slots=True)
class Example:
    """One of them: what its button says, and its file below the folder."""

    title: str
    file: str


EXAMPLES = (
    Example("Made-up person", "videos/person_00_real.mp4"),
    Example("Forged face", "videos/person_01_fake.mp4"),
    Example("Empty room", "videos/empty_room.mp4"),
)


class ExampleFolder:
    """A folder of this process for the examples; each is made when it is first asked for."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="dfutils-examples-"))
        self._lock = threading.Lock()

    def make(self) -> None:
        """Make all of them, unless they are there."""
        with self._lock:  # a visitor may ask while they are being made
            make_demo_videos(self._folder, settings=SETTINGS, progress=False)
            make_faceless_video(self._folder / EXAMPLES[-1].file)

    def path(self, example: Example) -> Path:
        """The file, made now if it is not there yet."""
        path = self._folder / example.file
        if not path.is_file():
            self.make()
        return path

    def close(self) -> None:
        """Delete them."""
        shutil.rmtree(self._folder, ignore_errors=True)
