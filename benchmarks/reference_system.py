"""Predict one clip by the method of VMD7/deepfake-detection, to be timed as a whole by ``benchmarks.prediction``.

    python -m benchmarks.reference_system MODEL.keras CLIP

This reference system follows the description of the method, not its code, which has no licence: TensorFlow is imported
first, all frames are kept, a HOG detector searches every second one in grey at full size, the ten faces with the most
motion are taken in the order of their motion, missing ones are black, and InceptionV3 + LSTM + GRU gives one
probability. It needs ``benchmarks/requirements.txt``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

FACES, SIZE, THRESHOLD = 10, 299, 0.6


def read_frames(path: Path) -> list[np.ndarray]:
    """Return all frames, BGR."""
    capture, frames = cv2.VideoCapture(str(path)), list[np.ndarray]()
    while True:
        is_there, frame = capture.read()
        if not is_there:
            return frames
        frames.append(frame)


def moving_faces(frames: list[np.ndarray]) -> np.ndarray:
    """Return the faces that move most, ``(10, 299, 299, 3)``."""
    import dlib  # type: ignore[import-not-found, unused-ignore]

    detect, found = dlib.get_frontal_face_detector(), []
    for before, frame in zip(frames[::2], frames[1::2], strict=False):
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        motion = float(cv2.absdiff(gray, cv2.cvtColor(before, cv2.COLOR_BGR2GRAY)).mean())
        for box in detect(gray, 0):
            top, left = max(box.top(), 0), max(box.left(), 0)
            face = frame[top : box.bottom(), left : box.right()]
            if face.size:
                found.append((motion, cv2.resize(face, (SIZE, SIZE))))
    best = [face for _, face in sorted(found, key=lambda one: -one[0])[:FACES]]
    return np.stack(best + [np.zeros((SIZE, SIZE, 3), np.uint8)] * (FACES - len(best)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a network as Keras saves it")
    parser.add_argument("clip", type=Path)
    options = parser.parse_args()
    import keras

    network = keras.saving.load_model(options.model)
    probability = float(network.predict(moving_faces(read_frames(options.clip))[None], verbose=0)[0, 0])
    print("FAKE" if probability > THRESHOLD else "REAL", probability)


if __name__ == "__main__":
    main()
