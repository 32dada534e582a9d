"""Examples that the program makes: a made-up person, two with a forged face, and a room with nobody in it."""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dfutils.demo.clips import make_demo_video
from dfutils.demo.examples import make_faceless_video


@dataclass(frozen=True, slots=True)
class Example:
    """One of them: what its button says, what writes its file, and whether its face is forged, if it has one."""

    title: str
    make: Callable[[Path], object]
    is_fake: bool | None = None

    @property
    def name(self) -> str:
        """Of its file and its event."""
        return self.title.lower().replace(" ", "_").replace("-", "_")


EXAMPLES = (
    Example("Made-up person", functools.partial(make_demo_video, index=0, is_fake=False), is_fake=False),
    Example("Forged face", functools.partial(make_demo_video, index=2, is_fake=True), is_fake=True),
    Example("Another forgery", functools.partial(make_demo_video, index=1, is_fake=True), is_fake=True),
    Example("Empty room", make_faceless_video),
)


class ExampleFolder:
    """A folder of this process for the examples; each is made when it is first asked for, in about a second."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="dfutils-examples-"))
        self._lock = threading.Lock()

    def path(self, example: Example) -> Path:
        """The file, made now if it is not there yet."""
        path = self._folder / f"{example.name}.mp4"
        with self._lock:  # another visitor may have asked for it just now
            example.make(path)
        return path

    def close(self) -> None:
        """Delete them."""
        shutil.rmtree(self._folder, ignore_errors=True)
