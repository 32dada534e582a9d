"""Score and motion over time, as inline SVG in the page's colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfutils.records import Extraction, Verdict
from dfutils.statistics.formatting import rate_text

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 220, 66, 44, 18, 38
MOST_POINTS = 300
DASHES = {"solid": "", "dashed": "6 3", "dotted": "2 3", "dash and dot": "9 3 2 3", "long dashes": "14 4"}
"""Patterns that tell people apart, by name."""


def timeline(
    verdict: Verdict, extraction: Extraction, *, thresholds: tuple[float, float], people: Sequence[int]
) -> str:
    """Draw the motion of the clip as an area and the scores of each person as a line with dots; empty for an image.

    Args:
        verdict: Verdict with the scores.
        extraction: Extraction with the motion.
        thresholds: Probability up to which the answer is REAL, and that from which it is FAKE.
        people: People who are shown, as indices; lines beyond the number of `DASHES` are left out.
    """
    times = extraction.trace.times_seconds
    if len(times) < 2 or not extraction.info.duration_seconds:
        return ""
    end = max(times[-1], 1e-3)
    peak = max(extraction.trace.motion, default=0.0)
    chosen = np.linspace(0, len(times) - 1, min(len(times), MOST_POINTS)).round().astype(int)
    points = " ".join(f"L{_x(times[n], end):.1f} {_y(extraction.trace.motion[n] / (peak or 1.0)):.1f}" for n in chosen)
    motion = f'<path class="df-motion" d="M{LEFT} {_y(0):.1f} {points} L{_x(times[-1], end):.1f} {_y(0):.1f}Z"/>'
    lines = ""
    patterns = dict(zip(people, DASHES, strict=False))
    for number, pattern in patterns.items():
        frames = verdict.tracks[number].frames
        scored = {(one.time_seconds, one.fake_probability) for one in frames if one.fake_probability is not None}
        places = [(_x(time, end), _y(score)) for time, score in sorted(scored)]
        if places:
            dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in places)
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            lines += f'<g class="df-scores"><path d="{path}" stroke-dasharray="{DASHES[pattern]}"/>{dots}</g>'
    named = ", ".join(f"person {number + 1} {pattern}" for number, pattern in patterns.items())
    left_out = "; others are left out" if len(people) > len(patterns) else ""
    whose = f" ({named}{left_out})" if len(verdict.tracks) > 1 else ""
    across = "".join(f"M{LEFT} {_y(threshold):.1f}H{WIDTH - RIGHT}" for threshold in sorted(set(thresholds)))
    axis = "".join(
        f'<text x="{LEFT - 6}" y="{_y(share) + 4:.0f}" text-anchor="end">{share * 100:.0f} %</text>'
        f'<path class="df-grid" d="M{LEFT} {_y(share):.1f}H{WIDTH - RIGHT}"/>'
        for share in (0.0, 0.5, 1.0)
    )
    seconds = "".join(
        f'<text x="{_x(at, end):.0f}" y="{HEIGHT - 14}" text-anchor="middle">{at:.1f} s</text>'
        for at in (0.0, end / 2, end)
    )
    dots = f"Dots: probability of FAKE of each face that was scored{whose}. " if lines else ""
    two = "Horizontal orange lines: REAL up to the lower one, FAKE from the upper one on"
    rule = two if len(set(thresholds)) == 2 else "Horizontal orange line: FAKE from here on"
    return (
        "<section><h3>Score and motion over time</h3>"
        f'<svg class="df-timeline" viewBox="0 0 {WIDTH} {HEIGHT}" data-end="{end:.4f}" data-from="{LEFT}" '
        f'data-to="{WIDTH - RIGHT}" role="img" aria-label="Scores of the faces over '
        f'{end:.1f} seconds, above the motion of the image">{axis}{seconds}{motion}'
        f'<path class="df-threshold" d="{across}"/>{lines}</svg>'
        f'<p class="df-small">{dots}{rule}. '
        f"Grey area: change of the face between frames; its peak is {rate_text(peak)} of full brightness."
        "</p></section>"
    )


def _x(time: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(time / end, 1.0)


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)
