"""What an extraction is between two processes: JSON and raw arrays, never pickles, for a child may be subverted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from dfutils import errors
from dfutils.errors import DfutilsError, MediaError, UnreadableError, WeightsError
from dfutils.records import Box, Extraction, Face, FaceClip, FaceCrop, MotionTrace, VideoInfo

LENGTH_BYTES = 8
"""Of the number of parts of an answer, and of each one's length, big-endian."""


def pack_extraction(extraction: Extraction) -> list[bytes]:
    """A JSON header, then one buffer an array."""
    info, trace = extraction.info, extraction.trace
    header = {
        "info": {**asdict(info), "times_seconds": None},
        "cuts": trace.cuts,
        "clips": [
            {"track": clip.track, "shape": clip.images.shape, "crops": [asdict(crop) for crop in clip.crops]}
            for clip in extraction.clips
        ],
    }
    times = [_floats(values) for values in (info.times_seconds, trace.times_seconds, trace.motion)]
    return [json.dumps(header).encode(), *times, *(clip.images.tobytes() for clip in extraction.clips)]


def unpack_extraction(parts: Sequence[bytes]) -> Extraction:
    """The inverse of `pack_extraction`.

    Raises:
        ValueError: The parts do not fit together.
    """
    try:
        header = json.loads(parts[0])
        stream_times, times, motion = (np.frombuffer(part, np.float64).tolist() for part in parts[1:4])
        info = VideoInfo(**{**header["info"], "times_seconds": tuple(stream_times)})
        clips = tuple(_clip(about, part) for about, part in zip(header["clips"], parts[4:], strict=True))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"An answer of the decoding process is damaged ({error!r}).") from error
    return Extraction(info, clips, MotionTrace(times, motion, list(header["cuts"])))


def pack_error(error: DfutilsError) -> list[bytes]:
    """The kind and the message of one of the project's own errors."""
    return [json.dumps({"error": type(error).__name__, "message": str(error)}).encode()]


def unpack_error(parts: Sequence[bytes]) -> DfutilsError | None:
    """The error that was packed, or None where the parts are an extraction.

    A child speaks of its file, or of its face detector; an error of another kind, which would stop the caller's whole
    batch, counts as a file that cannot be read.

    Raises:
        ValueError: It is neither.
    """
    header = json.loads(parts[0]) if parts else None
    if not isinstance(header, dict):
        raise ValueError("An answer of the decoding process has no header.")  # noqa: TRY004
    if "error" not in header:
        return None
    kind = getattr(errors, str(header["error"]), UnreadableError)
    may_be_said = isinstance(kind, type) and issubclass(kind, (MediaError, WeightsError))
    return (kind if may_be_said else UnreadableError)(str(header.get("message", "")))


def _floats(values: Sequence[float]) -> bytes:
    return np.asarray(values, np.float64).tobytes()


def _clip(about: dict[str, Any], part: bytes) -> FaceClip:
    images: npt.NDArray[np.uint8] = np.frombuffer(part, np.uint8).reshape(about["shape"]).copy()
    return FaceClip(images, tuple(_crop(crop) for crop in about["crops"]), about["track"])


def _crop(values: dict[str, Any]) -> FaceCrop:
    face = values["face"]
    if face is not None:
        landmarks = tuple((x, y) for x, y in face["landmarks"])
        face = Face(Box(**face["box"]), face["score"], landmarks)
    return FaceCrop(**{**values, "face": face, "square": Box(**values["square"])})
