"""Face detectors behind one interface: YuNet, or OpenCV's Haar cascades where YuNet cannot be had."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dfutils.errors import WeightsError
from dfutils.files import sha256_of
from dfutils.records import Box, Face, Picture
from dfutils.settings import ExtractionSettings
from dfutils.weights import find_weights

logger = logging.getLogger(__name__)

DETECTION_SIDE = 640
"""Longest side, in pixels, of the picture that a detector sees; more costs time and finds only tiny faces."""

CLOSE_UP = 0.85
"""A face whose box is longer than this fraction of the picture's shorter side is a close-up, or a face crop."""

CLOSE_UP_SIDE, CLOSE_UP_BORDERS = 256, (0.25, 0.5)
"""Longest side in pixels at which a close-up is searched, and the borders around it, as fractions of the shorter side.

Detectors have learnt whole heads, and clip their boxes at the picture's edge. In crops of margin 0, cut from 180 frames
of FaceForensics++, YuNet's box gave squares of 0.81 of the right side; with these borders it gives 1.00 (5 to 95 %:
0.93 to 1.05). On crops of the Deepfake Detection Challenge that is worth 0.04 of AUC.
"""


SAME_FACE_IOU = 0.3
"""Boxes of the two searches that overlap this much are of one face."""


class FaceDetector(Protocol):
    """Finds faces in RGB pictures.

    Attributes:
        name: ``yunet`` or ``haar``.
        checksum: SHA-256 of its weights.
    """

    name: str
    checksum: str

    def detect(self, picture: Picture) -> list[Face]:
        """Faces in a picture ``(height, width, 3)``, largest first, in its pixels."""
        ...


class YunetDetector:
    """YuNet (Wu, Peng & Yu 2023), 10 to 300 pixel faces, five landmarks, about 12 ms at 640 × 360 on one core."""

    name = "yunet"

    def __init__(self, path: Path, *, min_score: float) -> None:
        self.checksum = sha256_of(path)
        self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), min_score)

    def detect(self, picture: Picture) -> list[Face]:
        """See `FaceDetector`."""
        height, width = picture.shape[:2]
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(np.ascontiguousarray(picture[..., ::-1]))  # OpenCV wants BGR
        return _largest_first([_yunet_face(row) for row in rows]) if rows is not None else []


class HaarDetector:
    """OpenCV's frontal-face cascade (Viola & Jones 2001): no landmarks, no scores; absent from OpenCV 5."""

    name = "haar"
    _cascade_file = "haarcascade_frontalface_alt2.xml"

    def __init__(self, *, min_face_fraction: float) -> None:
        path = Path(cv2.__file__).parent / "data" / self._cascade_file
        self.checksum = sha256_of(path)
        self._min_face_fraction = min_face_fraction
        self._cascade = cv2.CascadeClassifier(str(path))

    @staticmethod
    def is_available() -> bool:
        """Whether the installed OpenCV still has cascades."""
        return hasattr(cv2, "CascadeClassifier")

    def detect(self, picture: Picture) -> list[Face]:
        """See `FaceDetector`."""
        side = max(24, round(self._min_face_fraction * min(picture.shape[:2])))
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        boxes = self._cascade.detectMultiScale(gray, scaleFactor=1.1, minNeighbors=4, minSize=(side, side))
        return _largest_first(
            [Face(Box(x, y, x + w, y + h), math.nan) for x, y, w, h in np.reshape(boxes, (-1, 4)).tolist()]
        )


def build_detector(settings: ExtractionSettings) -> FaceDetector:
    """Load the detector that ``settings`` name; ``auto`` takes YuNet, else Haar with a warning.

    Raises:
        WeightsError: The detector, or for ``auto`` any detector, cannot be had.
    """
    if settings.detector == "haar":
        return _haar(settings)
    try:
        return YunetDetector(find_weights("yunet"), min_score=settings.min_detection_score)
    except WeightsError as error:
        if settings.detector == "yunet" or not HaarDetector.is_available():
            raise
        logger.warning("Falling back to OpenCV's Haar cascades, which miss turned faces.")
        logger.info("%s", error)
        return _haar(settings)


def detector_for(settings: ExtractionSettings) -> FaceDetector | None:
    """`build_detector` for what ``settings`` cut.

    Of crops that are faces already (``crop="none"``) only landmarks are wanted, which YuNet alone gives: where it
    cannot be had, the answer is None.
    """
    if settings.crop == "face":
        return build_detector(settings)
    try:
        return build_detector(settings.model_copy(update={"detector": "yunet"}))
    except WeightsError as error:
        logger.info("Crops are taken without landmarks: %s", error)
        return None


def detect_faces(detector: FaceDetector, picture: Picture) -> list[Face]:
    """Faces in a picture, largest first; a close-up, or a face crop, gets the box of its whole head.

    The box of a face that fills the picture may reach beyond its edges.
    """
    faces = detector.detect(picture)
    close = CLOSE_UP * min(picture.shape[:2])
    if faces and max(faces[0].box.width, faces[0].box.height) < close:
        return faces
    found = _detect_close_up(detector, picture)
    if found is None or (not faces and max(found.box.width, found.box.height) < close):
        return faces
    return [found, *(face for face in faces[1:] if face.box.iou(found.box) < SAME_FACE_IOU)]


def _detect_close_up(detector: FaceDetector, picture: Picture) -> Face | None:
    """The largest face of a picture that shows little else, in its pixels."""
    height, width = picture.shape[:2]
    factor = min(1.0, CLOSE_UP_SIDE / max(height, width))
    size = max(1, round(factor * width)), max(1, round(factor * height))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if factor < 1 else picture
    for share in CLOSE_UP_BORDERS:
        border = round(share * min(size))
        bordered = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
        if faces := detector.detect(np.asarray(bordered, np.uint8)):
            return faces[0].moved(-border, -border).scaled(1 / factor)
    return None


def _haar(settings: ExtractionSettings) -> HaarDetector:
    if not HaarDetector.is_available():
        raise WeightsError(
            f"haar: OpenCV {cv2.__version__} has no cascades any more. "
            "Use the YuNet detector, or install opencv-python<5."
        )
    return HaarDetector(min_face_fraction=settings.min_face_fraction)


def _yunet_face(row: np.ndarray) -> Face:
    left, top, width, height, *points, score = (float(value) for value in row)
    landmarks = tuple(zip(points[0::2], points[1::2], strict=True))
    return Face(Box(left, top, left + width, top + height), score, landmarks)


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: -face.box.area)
