"""Example clips of the page: a made-up person, two with a forged face, and an empty room."""

from __future__ import annotations

import base64
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
    """One example.

    Attributes:
        title: Text of its button.
        make: Writes the file.
        is_fake: Whether the face is forged; None without a face.
    """

    title: str
    make: Callable[[Path], object]
    is_fake: bool | None = None

    @property
    def name(self) -> str:
        """Name of the file and of the event."""
        return self.title.lower().replace(" ", "_").replace("-", "_")

    @property
    def picture(self) -> Path:
        """Its picture on the page; `benchmarks.screenshots` takes it."""
        return Path(__file__).parent / "templates" / f"{self.name}.jpg"


EXAMPLES = (
    Example("Made-up person", functools.partial(make_demo_video, index=0, is_fake=False), is_fake=False),
    Example("Forged face", functools.partial(make_demo_video, index=2, is_fake=True), is_fake=True),
    Example("Another forgery", functools.partial(make_demo_video, index=1, is_fake=True), is_fake=True),
    Example("Empty room", make_faceless_video),
)


def pictures_css() -> str:
    """Return the style rules that put each example's picture on its button."""
    return "".join(
        f"#df-{example.name} {{ background-image: linear-gradient(#0000 45%, #000a), "
        f"url(data:image/jpeg;base64,{base64.b64encode(example.picture.read_bytes()).decode()}); }}\n"
        for example in EXAMPLES
    )


class ExampleFolder:
    """A temporary folder of examples; each is made at its first use, in about a second."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="dfutils-examples-"))
        self._lock = threading.Lock()

    def path(self, example: Example) -> Path:
        """Return the file, which is made if it does not exist."""
        path = self._folder / f"{example.name}.mp4"
        with self._lock:  # another visitor may be asking for it
            example.make(path)
        return path

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
