"""The process that decodes untrusted files: ``python -m dfutils.extraction.child``, one request per line.

An empty answer says that the process is ready. Then a request is a line of JSON on stdin;
`dfutils.extraction.messages` defines the answer on stdout. The process ends when its stdin is closed.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import signal
import sys
import time
from pathlib import Path

import cv2

from dfutils.errors import DfutilsError, TooLargeError, UnreadableError
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.faces import face_detector
from dfutils.extraction.messages import pack_credentials, pack_error, pack_extraction, write_parts
from dfutils.extraction.provenance import read_credentials
from dfutils.settings import ExtractionSettings, MediaLimits

try:
    import resource
except ImportError:  # Windows has no such limits; there, only the parent's timer limits the child
    resource = None  # type: ignore[assignment]

MAX_OPEN_FILES = 64


def main() -> None:
    """Answer requests until stdin is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent ends its children
    cv2.setNumThreads(1)
    logging.disable(logging.WARNING)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # library output must not mix with the answers
    gc.collect()
    gc.freeze()  # later collections leave out what is imported
    write_parts(answers, [])  # everything is imported: from here on, a crash is the file's fault
    for line in sys.stdin.buffer:
        write_parts(answers, _answer(json.loads(line)))
        gc.collect()  # frames whose side data were read are in reference cycles


def _answer(request: dict) -> list[bytes]:
    os.chdir(request["folder"])
    path = Path(request["path"])
    settings = ExtractionSettings.model_validate(request["settings"])
    try:
        if request["task"] == "credentials":
            if request["limited"]:
                set_limits(settings.limits)
            return pack_credentials(read_credentials(path, trusted=request["trusted"]))
        detector = face_detector(settings.min_detection_score)  # reads its weight file, so it comes before the limits
        if request["limited"]:
            set_limits(settings.limits)
        frames = [Path(frame) for frame in request["frames"]]
        return pack_extraction(extract_clips(path, settings, detector, frames=frames, threads=request["threads"]))
    except DfutilsError as error:
        return pack_error(error)
    except MemoryError:
        limit = f"{settings.limits.memory_megabytes} MB of memory"
        return pack_error(TooLargeError(f"{path}: needs more than {limit}. Scale it down, or raise the limit."))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return pack_error(UnreadableError(f"{path}: decoding failed ({reason}). Re-encode or skip the file."))


def set_limits(limits: MediaLimits) -> None:
    """Limit what this process may use from here on; may be called again for the next file."""
    if resource is None:
        return
    _bound(resource.RLIMIT_AS, address_space_bytes() + limits.memory_megabytes * 2**20)
    _bound(resource.RLIMIT_CPU, math.ceil(time.process_time()) + limits.cpu_seconds)
    _bound(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    _bound(resource.RLIMIT_FSIZE, 0)  # a decoder writes no files
    _bound(resource.RLIMIT_CORE, 0)


def address_space_bytes() -> int:
    """Return the number of bytes that this process has mapped; 0 if unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _bound(kind: int, limit: int) -> None:
    """Set the soft limit; the hard one stays, so that the next file can get its own."""
    _, hard = resource.getrlimit(kind)
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (allowed, hard))


if __name__ == "__main__":
    main()
