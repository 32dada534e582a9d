"""Wire format between the parent and the decoder process: JSON and raw arrays.

Pickles are never used: a child that decoded a malicious file may send anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO

import numpy as np
import numpy.typing as npt

from dfutils import errors
from dfutils.errors import DfutilsError, MediaError, UnreadableError, WeightsError
from dfutils.records import (
    Box,
    ContentCredentials,
    CredentialsState,
    Extraction,
    Face,
    FaceClip,
    FaceCrop,
    MotionTrace,
    VideoInfo,
)

LENGTH_BYTES = 8
"""Width of each length field (big-endian): the number of parts of an answer, then the length of each."""
MAX_PARTS, MAX_ANSWER_BYTES = 10_000, 2**31


def write_parts(stream: IO[bytes], parts: Sequence[bytes]) -> None:
    """Send the parts of an answer."""
    lengths = (len(parts), *(len(part) for part in parts))
    stream.write(b"".join(length.to_bytes(LENGTH_BYTES, "big") for length in lengths))
    stream.writelines(parts)
    stream.flush()


def read_parts(stream: IO[bytes]) -> list[bytes]:
    """Receive the parts of an answer.

    Raises:
        EOFError: The stream ended early, or the announced answer is impossibly large.
    """

    def read(length: int) -> bytes:
        content = stream.read(length)
        if len(content) < length:
            raise EOFError
        return content

    count = int.from_bytes(read(LENGTH_BYTES), "big")
    lengths = [int.from_bytes(read(LENGTH_BYTES), "big") for _ in range(min(count, MAX_PARTS))]
    if sum(lengths) > MAX_ANSWER_BYTES:
        raise EOFError
    return [read(length) for length in lengths]


def pack_extraction(extraction: Extraction) -> list[bytes]:
    """Return a JSON header, followed by one buffer per array."""
    info, trace = extraction.info, extraction.trace
    header = {
        "info": {**asdict(info), "times_seconds": None},
        "cuts": trace.cuts,
        "faces_left_out": extraction.faces_left_out,
        "clips": [
            {"track": clip.track, "shape": clip.images.shape, "crops": [asdict(crop) for crop in clip.crops]}
            for clip in extraction.clips
        ],
    }
    times = [np.asarray(one, np.float64).tobytes() for one in (info.times_seconds, trace.times_seconds, trace.motion)]
    return [json.dumps(header).encode(), *times, *(clip.images.tobytes() for clip in extraction.clips)]


def unpack_extraction(parts: Sequence[bytes]) -> Extraction:
    """Reverse `pack_extraction`.

    Raises:
        ValueError: The parts do not belong together.
    """
    try:
        header = json.loads(parts[0])
        stream_times, times, motion = (np.frombuffer(part, np.float64).tolist() for part in parts[1:4])
        info = VideoInfo(**{**header["info"], "times_seconds": tuple(stream_times)})
        clips = []
        for about, part in zip(header["clips"], parts[4:], strict=True):
            images: npt.NDArray[np.uint8] = np.frombuffer(part, np.uint8).reshape(about["shape"]).copy()
            crops = []
            for crop in about["crops"]:
                if (face := crop["face"]) is not None:
                    face = Face(Box(**face["box"]), face["score"], tuple((x, y) for x, y in face["landmarks"]))
                crops.append(FaceCrop(**{**crop, "face": face, "square": Box(**crop["square"])}))
            clips.append(FaceClip(images, tuple(crops), about["track"]))
        left_out = int(header["faces_left_out"])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"An answer from the decoder process is damaged ({error!r}).") from error
    return Extraction(info, tuple(clips), MotionTrace(times, motion, list(header["cuts"])), left_out)


def pack_credentials(credentials: ContentCredentials) -> list[bytes]:
    """Return a JSON document."""
    return [json.dumps({"credentials": asdict(credentials)}).encode()]


def unpack_credentials(parts: Sequence[bytes]) -> ContentCredentials:
    """Reverse `pack_credentials`.

    Raises:
        ValueError: The parts are something else.
    """
    try:
        document = json.loads(parts[0])["credentials"]
        claims = tuple(str(claim) for claim in document["claims"])
        return ContentCredentials(
            CredentialsState(document["state"]), str(document["signer"]), str(document["tool"]), claims
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"An answer from the decoder process is damaged ({error!r}).") from error


def pack_error(error: DfutilsError) -> list[bytes]:
    """Return the kind and the message of one of the project's own errors."""
    return [json.dumps({"error": type(error).__name__, "message": str(error)}).encode()]


def unpack_error(parts: Sequence[bytes]) -> DfutilsError | None:
    """Return the error that was packed, or None if the parts are an extraction.

    A child may report problems with its file or its face detector; an error of any other kind, which would stop the
    caller's whole batch, counts as an unreadable file.

    Raises:
        ValueError: The parts are neither an error nor an extraction.
    """
    header = json.loads(parts[0]) if parts else None
    if not isinstance(header, dict):
        raise ValueError("An answer from the decoder process has no header.")  # noqa: TRY004
    if "error" not in header:
        return None
    kind = getattr(errors, str(header["error"]), UnreadableError)
    is_allowed = isinstance(kind, type) and issubclass(kind, (MediaError, WeightsError))
    return (kind if is_allowed else UnreadableError)(str(header.get("message", "")))
