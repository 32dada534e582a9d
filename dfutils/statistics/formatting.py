"""Format numbers and intervals for people."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

PERCENTAGES = frozenset(
    {
        *("answered", "answer_accuracy", "real_called_fake", "fake_called_real", "fake_called_fake"),
        *("balanced_accuracy", "accuracy", "precision", "recall", "coverage"),
    }
)


def percent(share: float | None) -> str:
    r"""Return a share as a whole percentage, with decimals if it is nearly 0 or 100 %, or a dash for None.

    Example:
        >>> [percent(share) for share in (0.834, 0.997, 0.0042, 1.0)]
        ['83\xa0%', '99.7\xa0%', '0.42\xa0%', '100\xa0%']
    """
    if share is None:
        return "–"
    rounds_to_an_end = 0 < share <= 0.005 or 0.995 <= share < 1
    return rate_text(share) if rounds_to_an_end else f"{share * 100:.0f}\xa0%"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number with ``digits`` decimals, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def probability_text(value: float, digits: int = 2) -> str:
    """Return a probability with ``digits`` decimals, or with as many as show that it is neither 0 nor 1.

    Example:
        >>> [probability_text(value) for value in (0.5, 0.014, 0.0042, 0.9996, 1.0)]
        ['0.50', '0.01', '0.004', '0.9996', '1.00']
    """
    return f"{value:.{max(digits, -_magnitude(value))}f}"


def rate_text(share: float) -> str:
    r"""Return a share as a percentage with two digits, counted from whichever is nearer of 0 and 100 %.

    Example:
        >>> [rate_text(share) for share in (1 / 3, 0.03, 0.0244, 0.9996, 0.0)]
        ['33\xa0%', '3\xa0%', '2.4\xa0%', '99.96\xa0%', '0\xa0%']
    """
    return f"{round(100 * share, max(0, -1 - _magnitude(share))):.15g}\xa0%"


def _magnitude(share: float) -> int:
    """Return the power of ten of the distance from whichever is nearer of 0 and 1; 0 if there is none."""
    distance = min(share, 1 - share)
    return math.floor(math.log10(distance) + 1e-9) if distance > 0 else 0  # 1 - 0.99999 is a little too small


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
