"""TensorFlow and Keras, imported without their noise: every other module imports ``keras`` and ``tf`` from here.

While they are loaded, TensorFlow's C++ part, oneDNN and CUDA write to the terminal, bypassing Python, before they have
read their log level. ``TF_CPP_MIN_LOG_LEVEL=0`` shows all of it, including what precedes a crash of the process.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress

__all__ = ["held_stderr", "keras", "tf"]

logger = logging.getLogger(__name__)

_STDERR = 2


@contextmanager
def held_stderr() -> Iterator[None]:
    """Hold back all output to file descriptor 2, even from C++: show it if the block raises, else log it as DEBUG.

    The output of other threads is held back too, so keep the block short.
    """
    with ExitStack() as files:
        held = None
        with suppress(OSError):  # no terminal, as in some services, or no room for a file: nothing is held
            terminal = os.dup(_STDERR)
            files.callback(os.close, terminal)
            held = files.enter_context(tempfile.TemporaryFile())
        if held is None:
            yield
            return
        _flush()
        os.dup2(held.fileno(), _STDERR)
        failed = True
        try:
            yield
            failed = False
        finally:
            _flush()
            os.dup2(terminal, _STDERR)
            held.seek(0)
            said = held.read().decode(errors="replace")
            if failed and sys.stderr:
                sys.stderr.write(said)
            elif said:
                logger.debug("%s", said.rstrip())


def _flush() -> None:
    """Write what Python has buffered to its current destination."""
    with suppress(AttributeError, OSError, ValueError):  # sys.stderr is None, broken or closed
        sys.stderr.flush()


# Level 3 silences what TensorFlow writes later, about missing GPUs for example; a level set by the user takes priority.
_level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with nullcontext() if _level == "0" else held_stderr():
    import keras
    import tensorflow as tf
