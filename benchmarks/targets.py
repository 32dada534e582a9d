"""The figures of a benchmark: the table that pages show, and the targets that only the script and its JSON name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Figures: TypeAlias = Mapping[str, tuple[str, str]]
"""For each figure its description, and its target such as ``≤ 1.35``, which is empty where none was set."""


def figures_table(measured: Mapping[str, float], figures: Figures) -> str:
    """What was measured, as Markdown."""
    rows = [f"| {words} | {rounded(measured[key])} |" for key, (words, _) in figures.items() if key in measured]
    return "\n".join(["| | measured |", "|---|---|", *rows]) + "\n"


def target_lines(measured: Mapping[str, float], figures: Figures) -> str:
    """What was measured beside its target, to be printed by the script."""
    lines = [
        f"{words}: {rounded(measured[key])} (target {target})"
        for key, (words, target) in figures.items()
        if key in measured and target
    ]
    return "\n".join(lines)


def targets_document(figures: Figures) -> dict[str, str]:
    """The targets by the name of the figure, for the script's JSON."""
    return {key: target for key, (_, target) in figures.items() if target}


def rounded(value: float) -> str:
    """Two decimals below a hundred, none above or for a whole number.

    Example:
        >>> rounded(1.347), rounded(489.8), rounded(2050), rounded(20.0)
        ('1.35', '490', '2,050', '20')
    """
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.2f}"
