"""The geometry of a crop: which square of the frame, and how a short track is filled."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dfutils.records import Box, Image

FRAME_SCALE, FRAME_SHIFT = 0.79, 0.05
"""Side of the framed square, and how far its centre lies below that of YuNet's box, as fractions of the box's longer
side.

At margin 0 the middle of eyes and mouth lies in the middle of the crop and the distance from eyes to mouth is 0.45 of
its side. That is how published face crops of the Deepfake Detection Challenge are cut (median over 600: 0.446, centre
0.507, 0.500). YuNet's box holds the forehead too: on 210 frames of FaceForensics++ that distance is 0.354 ± 0.014 of
its longer side, 0.052 below the centre.
"""


def framed(box: Box, *, side: float | None = None) -> Box:
    """The square that ``margin`` counts from, around the eyes and mouth of a face.

    Args:
        box: Face as YuNet found it.
        side: Longer side to use instead of the box's own, in pixels: a track's smoothed one.

    Example:
        >>> framed(Box(0, 0, 60, 100))
        Box(left=-9.5, top=15.5, right=69.5, bottom=94.5)
    """
    own_side = max(box.width, box.height)
    half = FRAME_SCALE * (own_side if side is None else side) / 2
    center_x, center_y = box.center
    center_y += FRAME_SHIFT * own_side
    return Box(center_x - half, center_y - half, center_x + half, center_y + half)


def square_around(box: Box, *, margin: float, frame_size: tuple[int, int]) -> Box:
    """Grow a face box to a square that stays inside the frame.

    Near an edge the square is moved rather than cut, so that resizing never stretches a face; only a face larger
    than the frame is cut.

    Args:
        box: Face as the detector found it, or as `framed`.
        margin: Room on each side as a fraction of the longer side; 0.3 adds 30 %.
        frame_size: ``(width, height)`` of the frame in pixels.

    Raises:
        ValueError: ``margin`` would leave nothing of the box.

    Example:
        >>> square_around(Box(10, 20, 30, 40), margin=0.5, frame_size=(100, 100))
        Box(left=0, top=10, right=40, bottom=50)
    """
    if margin <= -0.5:
        raise ValueError(f"margin must be above −0.5. Received: {margin}")
    width, height = frame_size
    side = max(1, min(round(max(box.width, box.height) * (1 + 2 * margin)), width, height))
    center_x, center_y = box.center
    left = min(max(round(center_x - side / 2), 0), width - side)
    top = min(max(round(center_y - side / 2), 0), height - side)
    return Box(left, top, left + side, top + side)


def central_square(width: int, height: int) -> Box:
    """The largest square in the middle of an image; may have half pixels."""
    side = min(width, height)
    return Box((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)


def crop_square(image: Image, square: Box, *, size: int) -> Image:
    """Cut ``square`` (whole pixels) out of an RGB image and resize it to ``(size, size, 3)``."""
    part = image[int(square.top) : int(square.bottom), int(square.left) : int(square.right)]
    interpolation = cv2.INTER_AREA if part.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(part, (size, size), interpolation=interpolation).astype(np.uint8, copy=False)


def fill_positions(times_seconds: Sequence[float], wanted: int) -> list[int]:
    """Which of the frames at hand represent each of ``wanted`` places, in the order of time.

    A shorter track is filled by repeating its nearest frames in time, never with black frames.

    Args:
        times_seconds: Times of the frames at hand, rising.
        wanted: T.

    Example:
        >>> fill_positions([0.0, 1.0, 9.0], 5)
        [0, 1, 1, 2, 2]
    """
    if len(times_seconds) >= wanted:
        return list(range(wanted))
    first, last = times_seconds[0], times_seconds[-1]
    places = np.linspace(first, last, wanted)
    nearest = [int(np.argmin([abs(time - place) for time in times_seconds])) for place in places]
    return _with_every_frame(nearest, len(times_seconds))


def _with_every_frame(nearest: list[int], count: int) -> list[int]:
    """Make sure that no frame at hand is lost: bunched frames would else all fall to one neighbour."""
    result = nearest[:]
    for missing in sorted(set(range(count)) - set(result)):
        repeated = [place for place, index in enumerate(result) if result.count(index) > 1]
        place = min(repeated, key=lambda one: abs(result[one] - missing))
        result[place] = missing
        result.sort()
    return result
