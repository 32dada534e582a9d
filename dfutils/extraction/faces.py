"""The face detector: YuNet, whose weights come with the package."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dfutils.errors import WeightsError
from dfutils.records import Box, Face, Picture

DETECTION_SIDE = 640
"""Longest side, in pixels, of the picture that a detector sees; more costs time and finds only tiny faces."""

CROP_SIDE, CROP_BORDERS = 256, (0.25, 0.5, 0.0)
"""Side in pixels at which a ready-made face crop is searched, and borders that are tried, as fractions of it.

Detectors have learnt heads, and a tight crop is only the middle of one: with these borders YuNet found the face in 299
of 300 crops of the Deepfake Detection Challenge.
"""

YUNET_FILE = Path(__file__).parent / "yunet" / "face_detection_yunet_2023mar.onnx"
"""As published in opencv_zoo, models/face_detection_yunet; its MIT licence lies beside it."""
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"


class FaceDetector(Protocol):
    """Finds faces in RGB pictures."""

    def detect(self, picture: Picture) -> list[Face]:
        """Return the faces in a picture ``(height, width, 3)``, largest first, in its pixels."""
        ...


class YunetDetector:
    """YuNet (Wu, Peng & Yu 2023), 10 to 300 pixel faces, five landmarks, about 12 ms at 640 × 360 on one core.

    Args:
        min_score: Faces below this score, 0..1, are ignored.

    Raises:
        WeightsError: The package's file is missing or damaged.
    """

    def __init__(self, *, min_score: float) -> None:
        advice = "This file of the face detector comes with dfutils: install the package again."
        try:
            weights = YUNET_FILE.read_bytes()
        except OSError as error:
            raise WeightsError(f"{YUNET_FILE}: cannot be read ({error.strerror}). {advice}") from error
        checksum = hashlib.sha256(weights).hexdigest()
        if checksum != YUNET_SHA256:
            raise WeightsError(
                f"{YUNET_FILE}: is damaged ({len(weights):,} bytes, SHA-256 {checksum[:12]}… instead of "
                f"{YUNET_SHA256[:12]}…). {advice}"
            )
        # From memory, so that what is loaded is what was checked.
        network, no_config = np.frombuffer(weights, np.uint8), np.empty(0, np.uint8)
        self._network = cv2.FaceDetectorYN.create("onnx", network, no_config, (320, 320), min_score)

    def detect(self, picture: Picture) -> list[Face]:
        """See `FaceDetector`."""
        height, width = picture.shape[:2]
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(np.ascontiguousarray(picture[..., ::-1]))  # OpenCV wants BGR
        faces = [_face(row) for row in rows] if rows is not None else []
        return sorted(faces, key=lambda face: -face.box.area)


@functools.cache
def face_detector(min_score: float) -> YunetDetector:
    """Return this process's `YunetDetector`, which is loaded once."""
    return YunetDetector(min_score=min_score)


def find_face_in_crop(detector: FaceDetector, crop: Picture) -> Face | None:
    """The largest face of a square picture that is a face crop already, in its pixels; None where none is found."""
    side = min(CROP_SIDE, crop.shape[0])
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) if side < crop.shape[0] else crop
    factor = crop.shape[0] / side
    for border in CROP_BORDERS:
        width = round(border * side)
        bordered = cv2.copyMakeBorder(small, width, width, width, width, cv2.BORDER_REPLICATE)
        faces = detector.detect(np.asarray(bordered, np.uint8))
        if faces:
            return faces[0].moved(-width, -width).scaled(factor)
    return None


def _face(row: np.ndarray) -> Face:
    left, top, width, height, *points, score = (float(value) for value in row)
    landmarks = tuple(zip(points[0::2], points[1::2], strict=True))
    return Face(Box(left, top, left + width, top + height), score, landmarks)
