"""Made-up images for tests that need texture."""

import cv2
import numpy as np


def textured(frames=1, height=96, width=96, seed=0):
    """Smooth coloured blotches with fine grain, different in each frame: any change shows."""
    rng = np.random.default_rng(seed)
    blotches = np.stack(
        [cv2.GaussianBlur(rng.normal(0, 900, (height, width, 3)), (0, 0), 5) + 128 for _ in range(frames)]
    )
    return np.clip(blotches + rng.normal(0, 12, blotches.shape), 0, 255).astype(np.uint8)
