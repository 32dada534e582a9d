"""Geometry of the crops: which square of a frame is cut out, and how a short track is filled up."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dfutils.records import Box, Image

FRAME_SCALE, FRAME_SHIFT = 0.79, 0.05
"""Side of the framed square, and how far its centre lies below the centre of YuNet's box, as fractions of the box's
longer side.

At margin 0 the point midway between eyes and mouth is the centre of the crop, and the eyes–mouth distance is 0.45 of
its side, as in published face crops of the Deepfake Detection Challenge (median over 600: 0.446, centre 0.507, 0.500).
YuNet's box includes the forehead: on 210 frames of FaceForensics++ the distance is 0.354 ± 0.014 of its longer side,
0.052 below the centre.
"""


def framed(box: Box, *, side: float | None = None) -> Box:
    """Return the square that ``margin`` is measured from, around the eyes and mouth of a face.

    Args:
        box: Face as YuNet found it.
        side: Longer side in pixels to use instead of the box's own, such as the smoothed one of a track.

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

    Near an edge the square is moved rather than cut off, so that resizing never stretches a face; only a face larger
    than the frame is cut off.

    Args:
        box: Face as the detector found it, or as `framed`.
        margin: Room on each side as a fraction of the longer side; 0.3 adds 30 %.
        frame_size: ``(width, height)`` of the frame in pixels.

    Raises:
        ValueError: ``margin`` leaves nothing of the box.

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
    """Return the largest square in the middle of an image; its corners may lie on half pixels."""
    side = min(width, height)
    return Box((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)


def crop_square(image: Image, square: Box, *, size: int) -> Image:
    """Cut ``square`` (whole pixels) out of an RGB image and resize it to ``(size, size, 3)``."""
    part = image[int(square.top) : int(square.bottom), int(square.left) : int(square.right)]
    interpolation = cv2.INTER_AREA if part.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(part, (size, size), interpolation=interpolation).astype(np.uint8, copy=False)


def fill_positions(times_seconds: Sequence[float], wanted: int) -> list[int]:
    """Return the index of the frame that fills each of ``wanted`` places, in the order of time.

    A shorter track is filled by repeating its nearest frames in time, never with black frames.

    Args:
        times_seconds: Times of the available frames, in ascending order.
        wanted: Number of places, T.

    Example:
        >>> fill_positions([0.0, 1.0, 9.0], 5)
        [0, 1, 1, 2, 2]
    """
    if len(times_seconds) >= wanted:
        return list(range(wanted))
    places = np.linspace(times_seconds[0], times_seconds[-1], wanted)
    positions = [int(np.argmin([abs(time - place) for time in times_seconds])) for place in places]
    for missing in sorted(set(range(len(times_seconds))) - set(positions)):
        # Of frames that lie close together, some are nearest to no place; no frame may be lost.
        repeated = [place for place, index in enumerate(positions) if positions.count(index) > 1]
        positions[min(repeated, key=lambda place: abs(positions[place] - missing))] = missing
        positions.sort()
    return positions
