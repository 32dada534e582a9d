"""How a head moves while its owner talks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dfutils.demo.people import Pose

Series = npt.NDArray[np.float64]
"""One value a frame, shape (T,)."""

BLINK_SECONDS = 0.28
SYLLABLES_PER_SECOND = 3.2


def random_poses(rng: np.random.Generator, *, frames: int, fps: int) -> list[Pose]:
    """Make up the motion of a head: it sways, nods, blinks, talks and rests, under a slowly changing light.

    Args:
        rng: Random stream.
        frames: How many poses, one a frame.
        fps: Frames a second.
    """
    times = np.arange(frames) / fps
    # Liveliness comes and goes, so that some moments of a clip move more than others.
    liveliness = 0.25 + 0.75 * (0.5 + 0.5 * _wander(rng, times, hertz=0.5))
    series = {
        "x": 0.16 * liveliness * _wander(rng, times, hertz=0.6) + 0.04 * _wander(rng, times, hertz=0.2),
        "y": 0.06 * liveliness * _wander(rng, times, hertz=0.8),
        "turn": 0.26 * liveliness * _wander(rng, times, hertz=0.6) + rng.uniform(-0.08, 0.08),
        "nod": 0.1 * liveliness * _wander(rng, times, hertz=0.9),
        "roll": 0.08 * liveliness * _wander(rng, times, hertz=0.5),
        "blink": _blinks(rng, times),
        "mouth": _talking(rng, times),
        "smile": 0.55 + 0.4 * _wander(rng, times, hertz=0.3),
        "light": 1 + 0.07 * _wander(rng, times, hertz=0.25),
        "light_x": rng.uniform(-0.7, 0.7) + 0.12 * _wander(rng, times, hertz=0.2),
    }
    return [Pose(**{name: float(values[index]) for name, values in series.items()}) for index in range(frames)]


def _wander(rng: np.random.Generator, times: Series, *, hertz: float) -> Series:
    """A smooth random curve within -1..1, whose swings come about ``hertz`` times a second."""
    rates = 2 * np.pi * hertz * rng.uniform([0.4, 0.9, 1.5], [0.9, 1.5, 2.2])
    phases = rng.uniform(0, 2 * np.pi, 3)
    return np.sin(times[:, None] * rates + phases) @ np.asarray([0.5, 0.32, 0.18])


def _blinks(rng: np.random.Generator, times: Series) -> Series:
    closed = np.zeros_like(times)
    moment = rng.uniform(0.2, 1.5)
    while moment < times[-1]:
        closed = np.maximum(closed, 1 - np.abs(times - moment) / (BLINK_SECONDS / 2))
        moment += rng.uniform(1.2, 3.0)
    return np.clip(closed * 1.3, 0, 1)


def _talking(rng: np.random.Generator, times: Series) -> Series:
    sentence = np.clip(0.5 + 1.2 * _wander(rng, times, hertz=0.4), 0, 1)
    syllables = 0.5 + 0.5 * _wander(rng, times, hertz=SYLLABLES_PER_SECOND)
    return sentence * np.clip(syllables * 1.2 - 0.25, 0, 1)
