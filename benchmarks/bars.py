"""Figures beside what is wanted of them."""

from __future__ import annotations

from collections.abc import Mapping

Bars = Mapping[str, tuple[str, str, float]]
"""Of each figure its name: what it is, ``≤``, ``≥`` or nothing, and the bar."""


def bars_table(figures: Mapping[str, float], bars: Bars) -> str:
    """The figures that have a bar, as Markdown."""
    lines = ["| | measured | wanted |", "|---|---|---|"]
    for key, (words, sign, bar) in bars.items():
        if key in figures:
            lines.append(f"| {words} | {figures[key]:.2f} | {f'{sign} {bar:g}' if sign else ''} |")
    return "\n".join(lines) + "\n"
