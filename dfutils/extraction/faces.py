"""The face detector YuNet, whose weights come with the package."""

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
"""Longest side in pixels of the image that is searched; a larger one takes longer and only adds tiny faces."""

CLOSE_UP = 0.85
"""A box that is longer than this fraction of the image's shorter side belongs to a close-up or a face crop."""

CLOSE_UP_SIDE, CLOSE_UP_BORDERS = 256, (0.25, 0.5)
"""Longest side in pixels of the image in which a close-up is searched, and the borders added to it, as fractions of
its shorter side.

Detectors are trained on whole heads and clip their boxes at the edge of the image. In crops with margin 0 from 180
frames of FaceForensics++, YuNet's boxes gave squares with 0.81 of the true side; with these borders they give 1.00 (5th
to 95th percentile: 0.93 to 1.05). On crops of the Deepfake Detection Challenge this gains 0.04 of AUC.
"""

YUNET_FILE = Path(__file__).parent / "yunet" / "face_detection_yunet_2023mar.onnx"
"""From opencv_zoo, models/face_detection_yunet; its MIT licence is in the same folder."""
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

SAME_FACE_IOU = 0.3
"""Minimum overlap at which boxes from the two searches belong to one face."""


class FaceDetector(Protocol):
    """Finds faces in RGB images."""

    def detect(self, image: Image) -> list[Face]:
        """Return the faces in an image ``(height, width, 3)``, largest first, in pixels of the image."""
        ...


class YunetDetector:
    """YuNet (Wu, Peng & Yu 2023): faces of 10 to 300 pixels, five landmarks, 12 ms at 640 × 360 on one core.

    Args:
        min_score: Faces below this score, 0..1, are ignored.

    Raises:
        WeightsError: The weight file in the package is missing or damaged.
    """

    def __init__(self, *, min_score: float) -> None:
        advice = "The face detector's weight file comes with dfutils: reinstall the package."
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
        # From memory, so that the bytes that were checked are the bytes that are loaded.
        network, no_config = np.frombuffer(weights, np.uint8), np.empty(0, np.uint8)
        # OpenCV 5 would warn that its new engine ignores the target, which nobody has set.
        before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._network = cv2.FaceDetectorYN.create("onnx", network, no_config, (320, 320), min_score)
        finally:
            cv2.utils.logging.setLogLevel(before)

    def detect(self, image: Image) -> list[Face]:
        """Return the faces in an image; see `FaceDetector.detect`."""
        height, width = image.shape[:2]
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(np.ascontiguousarray(image[..., ::-1]))  # OpenCV wants BGR
        faces = []
        for row in rows if rows is not None else ():
            left, top, face_width, face_height, *points, score = (float(value) for value in row)
            landmarks = tuple(zip(points[0::2], points[1::2], strict=True))
            faces.append(Face(Box(left, top, left + face_width, top + face_height), score, landmarks))
        return sorted(faces, key=lambda face: -face.box.area)


@functools.cache
def face_detector(min_score: float) -> YunetDetector:
    """Return the `YunetDetector` of this process, which is loaded once."""
    return YunetDetector(min_score=min_score)


def detect_faces(detector: FaceDetector, image: Image) -> list[Face]:
    """Return the faces in an image, largest first; in a close-up or a face crop, the first box covers the whole head.

    The box of a face that fills the image may extend beyond its edges.
    """
    faces = detector.detect(image)
    close = CLOSE_UP * min(image.shape[:2])
    if faces and max(faces[0].box.width, faces[0].box.height) < close:
        return faces
    height, width = image.shape[:2]
    factor = min(1.0, CLOSE_UP_SIDE / max(height, width))
    size = max(1, round(factor * width)), max(1, round(factor * height))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor < 1 else image
    found = None
    for share in CLOSE_UP_BORDERS:
        border = round(share * min(size))
        bordered = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
        if whole := detector.detect(np.asarray(bordered, np.uint8)):
            found = whole[0].moved(-border, -border).scaled(1 / factor)
            break
    if found is None or (not faces and max(found.box.width, found.box.height) < close):
        return faces
    return [found, *(face for face in faces[1:] if face.box.iou(found.box) < SAME_FACE_IOU)]
