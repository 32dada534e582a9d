"""Score and motion over a clip, as inline SVG that follows the page's colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dfutils.records import Extraction, Verdict

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 220, 66, 44, 18, 38
MOST_POINTS = 300
DASHES = ("", "6 3", "2 3")
"""People are told apart by dashes too, not by colour alone."""


def timeline(verdict: Verdict, extraction: Extraction, *, threshold: float) -> str:
    """Motion of the whole clip as an area, scores of every person as lines with dots; nothing for an image.

    Args:
        verdict: Has the scores.
        extraction: Has the motion.
        threshold: From which a score is called FAKE.
    """
    times = extraction.trace.times_seconds
    if len(times) < 2 or not extraction.info.duration_seconds:
        return ""
    end = max(times[-1], 1e-3)
    motion = _area(times, extraction.trace.motion, end)
    lines = "".join(
        _scores([(frame.time_seconds, frame.fake_probability) for frame in track.frames], end, DASHES[n % len(DASHES)])
        for n, track in enumerate(verdict.tracks)
    )
    across = _y(threshold)
    axis = "".join(
        f'<text x="{LEFT - 6}" y="{_y(share) + 4:.0f}" text-anchor="end">{share * 100:.0f} %</text>'
        f'<path class="df-grid" d="M{LEFT} {_y(share):.1f}H{WIDTH - RIGHT}"/>'
        for share in (0.0, 0.5, 1.0)
    )
    seconds = "".join(
        f'<text x="{_x(at, end):.0f}" y="{HEIGHT - 14}" text-anchor="middle">{at:.1f} s</text>'
        for at in (0.0, end / 2, end)
    )
    peak = max(extraction.trace.motion, default=0.0)
    return (
        "<section><h3>Score and motion over time</h3>"
        f'<svg class="df-timeline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Scores of the faces over '
        f'{end:.1f} seconds, above the motion of the image">{axis}{seconds}{motion}'
        f'<path class="df-threshold" d="M{LEFT} {across:.1f}H{WIDTH - RIGHT}"/>{lines}</svg>'
        '<p class="df-small">Dots: probability of FAKE of each face that was scored'
        f"{', a dash pattern a person' if len(verdict.tracks) > 1 else ''}. Dashed line: FAKE from here on. Gray: how "
        f"much the face moves, as a share of its strongest motion ({peak:.3f} of full brightness from frame to "
        "frame).</p></section>"
    )


def _x(time: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(time / end, 1.0)


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def _area(times: Sequence[float], motion: Sequence[float], end: float) -> str:
    chosen = np.linspace(0, len(times) - 1, min(len(times), MOST_POINTS)).round().astype(int)
    peak = max(motion, default=0.0) or 1.0
    points = " ".join(f"L{_x(times[n], end):.1f} {_y(motion[n] / peak):.1f}" for n in chosen)
    return f'<path class="df-motion" d="M{LEFT} {_y(0):.1f} {points} L{_x(times[-1], end):.1f} {_y(0):.1f}Z"/>'


def _scores(frames: Sequence[tuple[float, float | None]], end: float, dash: str) -> str:
    known = sorted({(time, score) for time, score in frames if score is not None})
    dots = "".join(f'<circle cx="{_x(time, end):.1f}" cy="{_y(score):.1f}" r="4"/>' for time, score in known)
    lines = "".join(
        f"M{_x(before[0], end):.1f} {_y(before[1]):.1f}L{_x(after[0], end):.1f} {_y(after[1]):.1f}"
        for before, after in pairwise(known)
    )
    return f'<g class="df-scores"><path d="{lines}" stroke-dasharray="{dash}"/>{dots}</g>' if known else ""
