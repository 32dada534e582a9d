"""Numbers and intervals as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping

Estimate = Mapping[str, float | None]

PERCENTAGES = frozenset({"balanced_accuracy", "accuracy", "precision", "recall", "coverage"})


def percent(share: float | None) -> str:
    r"""A share as a percentage; a dash where there is none.

    Example:
        >>> percent(0.834)
        '83\xa0%'
    """
    return "–" if share is None else f"{share * 100:.0f}\xa0%"


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with ``digits`` decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def unbroken(text: str) -> str:
    """The same text with per cent signs on the line of their number, and intervals on one line."""
    return re.sub(r"(?<=[\d\xa0%])–(?=\d)", "\u2060–\u2060", text.replace(" %", "\xa0%"))


def with_interval(name: str, estimate: Estimate) -> str:
    """A metric as ``value (low–high)``."""
    interval = format_interval(name, estimate)
    return format_value(name, estimate["value"]) + (f" ({interval})" if interval else "")


def format_value(name: str, value: float | None) -> str:
    """A metric as a percentage, or with as many decimals as it deserves."""
    return percent(value) if name in PERCENTAGES else decimal(value, 3 if name in ("log_loss", "brier") else 2)


def format_interval(name: str, estimate: Estimate) -> str:
    """The interval of a metric as ``low–high``; empty where it has none."""
    if estimate["low"] is None:
        return ""
    low, high = format_value(name, estimate["low"]), format_value(name, estimate["high"])
    return f"{low.removesuffix(chr(0xA0) + '%')}–{high}"
