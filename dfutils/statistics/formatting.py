"""Format numbers and intervals for people."""

from __future__ import annotations

import re
from collections.abc import Mapping

PERCENTAGES = frozenset(
    {
        *("answered", "answer_accuracy", "real_called_fake", "fake_called_real", "fake_called_fake"),
        *("balanced_accuracy", "accuracy", "precision", "recall", "coverage"),
    }
)


def percent(share: float | None) -> str:
    r"""Return a share as a percentage, or a dash for None.

    Example:
        >>> percent(0.834)
        '83\xa0%'
    """
    return "–" if share is None else f"{share * 100:.0f}\xa0%"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number with ``digits`` decimals, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval_text(low: str, high: str) -> str:
    r"""Return ``low–high``, with a per cent sign only at the end.

    Example:
        >>> interval_text("70\xa0%", "80\xa0%")
        '70–80\xa0%'
    """
    return f"{low.removesuffix(chr(0xA0) + '%')}–{high}"


def unbroken(text: str) -> str:
    """Return the text with characters that keep per cent signs and intervals from being broken across lines."""
    return re.sub(r"(?<=[\d\xa0%])–(?=\d)", "\u2060–\u2060", text.replace(" %", "\xa0%"))


def with_interval(name: str, estimate: Mapping[str, float | None]) -> str:
    """Return a metric as ``value (low–high)``."""
    interval = format_interval(name, estimate)
    return format_value(name, estimate["value"]) + (f" ({interval})" if interval else "")


def format_value(name: str, value: float | None) -> str:
    """Return a metric as a percentage or with its usual number of decimals."""
    return percent(value) if name in PERCENTAGES else decimal(value, 3 if name in ("log_loss", "brier") else 2)


def format_interval(name: str, estimate: Mapping[str, float | None]) -> str:
    """Return the interval of a metric as ``low–high``; empty if there is none."""
    if estimate["low"] is None:
        return ""
    return interval_text(format_value(name, estimate["low"]), format_value(name, estimate["high"]))
