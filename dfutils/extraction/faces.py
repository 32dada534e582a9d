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

CROP_SIDE, CROP_BORDERS = 256, (0.25, 0.5, 0.0)
"""Side in pixels at which a ready-made face crop is searched, and borders that are tried, as fractions of it.

Detectors have learnt heads, and a tight crop is only the middle of one: with these borders YuNet found the face in 299
of 300 crops of the Deepfake Detection Challenge.
"""


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
