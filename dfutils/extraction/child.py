"""The process in which untrusted files are decoded: ``python -m dfutils.extraction.child``, one request a line.

A request is a line of JSON on stdin; an answer on stdout is the number of its parts and their lengths, each as eight
bytes, then the parts of `dfutils.extraction.messages`. The process ends with its stdin.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO

import cv2

from dfutils.errors import DfutilsError, TooLargeError, UnreadableError
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.faces import face_detector
from dfutils.extraction.messages import LENGTH_BYTES, pack_error, pack_extraction
from dfutils.settings import ExtractionSettings, MediaLimits

try:
    import resource
except ImportError:  # Windows has no such limits: there, only the parent's clock counts
    resource = None  # type: ignore[assignment]

MAX_OPEN_FILES = 64


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    cv2.setNumThreads(1)
    logging.disable(logging.WARNING)
    answers = _take_stdout()
    for line in sys.stdin.buffer:
        parts = _answer(json.loads(line))
        lengths = (len(parts), *(len(part) for part in parts))
        answers.write(b"".join(length.to_bytes(LENGTH_BYTES, "big") for length in lengths))
        answers.writelines(parts)
        answers.flush()


def _take_stdout() -> BinaryIO:
    """Keep stdout for answers alone: what a library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return answers


def _answer(request: dict) -> list[bytes]:
    os.chdir(request["folder"])
    path = Path(request["path"])
    settings = ExtractionSettings.model_validate(request["settings"])
    try:
        detector = face_detector(settings.min_detection_score)  # reads a file of ours: before the limits
        if request["limited"]:
            set_limits(settings.limits)
        return pack_extraction(extract_clips(path, settings, detector, threads=request["threads"]))
    except DfutilsError as error:
        return pack_error(error)
    except MemoryError:
        limit = f"{settings.limits.memory_megabytes} MB of memory"
        return pack_error(TooLargeError(f"{path}: needs more than {limit}. Scale it down, or raise the limit."))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        return pack_error(UnreadableError(f"{path}: decoding failed ({what}). Re-encode or skip the file."))


def set_limits(limits: MediaLimits) -> None:
    """Bound what this process may use from here on; may be called again for the next file."""
    if resource is None:
        return
    _bound(resource.RLIMIT_AS, address_space_bytes() + limits.memory_megabytes * 2**20)
    _bound(resource.RLIMIT_CPU, math.ceil(time.process_time()) + limits.cpu_seconds)
    _bound(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    _bound(resource.RLIMIT_FSIZE, 0)  # a decoder has nothing to write
    _bound(resource.RLIMIT_CORE, 0)


def address_space_bytes() -> int:
    """What this process has mapped; 0 where it cannot be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _bound(kind: int, limit: int) -> None:
    """Set the soft limit; the hard one stays, so that the next file can have its own."""
    _, hard = resource.getrlimit(kind)
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (allowed, hard))


if __name__ == "__main__":
    main()
