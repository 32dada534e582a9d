"""The face detector: YuNet, whose weights come with the package."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dfutils.errors import WeightsError
from dfutils.records import Box, Face, Image

DETECTION_SIDE = 640
"""Longest side, in pixels, of the image that a detector sees; more costs time and finds only tiny faces."""

CLOSE_UP = 0.85
"""A face whose box is longer than this fraction of the image's shorter side is a close-up, or a face crop."""

CLOSE_UP_SIDE, CLOSE_UP_BORDERS = 256, (0.25, 0.5)
"""Longest side in pixels at which a close-up is searched, and the borders around it, as fractions of the shorter side.

Detectors have learnt whole heads, and clip their boxes at the image's edge. In crops of margin 0, cut from 180 frames
of FaceForensics++, YuNet's box gave squares of 0.81 of the right side; with these borders it gives 1.00 (5 to 95 %:
0.93 to 1.05). On crops of the Deepfake Detection Challenge that is worth 0.04 of AUC.
"""

YUNET_FILE = Path(__file__).parent / "yunet" / "face_detection_yunet_2023mar.onnx"
"""As published in opencv_zoo, models/face_detection_yunet; its MIT licence lies beside it."""
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"


SAME_FACE_IOU = 0.3
"""Boxes of the two searches that overlap this much are of one face."""


class FaceDetector(Protocol):
    """Finds faces in RGB images."""

    def detect(self, image: Image) -> list[Face]:
        """Return the faces in an image ``(height, width, 3)``, largest first, in its pixels."""
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
        # OpenCV 5 warns that its new engine takes no target, which nobody has asked it to take.
        before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._network = cv2.FaceDetectorYN.create("onnx", network, no_config, (320, 320), min_score)
        finally:
            cv2.utils.logging.setLogLevel(before)

    def detect(self, image: Image) -> list[Face]:
        """See `FaceDetector`."""
        height, width = image.shape[:2]
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(np.ascontiguousarray(image[..., ::-1]))  # OpenCV wants BGR
        faces = [_face(row) for row in rows] if rows is not None else []
        return sorted(faces, key=lambda face: -face.box.area)


@functools.cache
def face_detector(min_score: float) -> YunetDetector:
    """Return this process's `YunetDetector`, which is loaded once."""
    return YunetDetector(min_score=min_score)


def detect_faces(detector: FaceDetector, image: Image) -> list[Face]:
    """Faces in an image, largest first; a close-up, or a face crop, gets the box of its whole head.

    The box of a face that fills the image may reach beyond its edges.
    """
    faces = detector.detect(image)
    close = CLOSE_UP * min(image.shape[:2])
    if faces and max(faces[0].box.width, faces[0].box.height) < close:
        return faces
    found = _detect_close_up(detector, image)
    if found is None or (not faces and max(found.box.width, found.box.height) < close):
        return faces
    return [found, *(face for face in faces[1:] if face.box.iou(found.box) < SAME_FACE_IOU)]


def _detect_close_up(detector: FaceDetector, image: Image) -> Face | None:
    """The largest face of an image that shows little else, in its pixels."""
    height, width = image.shape[:2]
    factor = min(1.0, CLOSE_UP_SIDE / max(height, width))
    size = max(1, round(factor * width)), max(1, round(factor * height))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor < 1 else image
    for share in CLOSE_UP_BORDERS:
        border = round(share * min(size))
        bordered = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
        if faces := detector.detect(np.asarray(bordered, np.uint8)):
            return faces[0].moved(-border, -border).scaled(1 / factor)
    return None


def _face(row: np.ndarray) -> Face:
    left, top, width, height, *points, score = (float(value) for value in row)
    landmarks = tuple(zip(points[0::2], points[1::2], strict=True))
    return Face(Box(left, top, left + width, top + height), score, landmarks)
