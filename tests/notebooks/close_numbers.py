"""A plugin for nbval: decimal numbers in a notebook's outputs may differ a little from the committed ones.

Training ends with slightly different weights on another processor, and rounding only moves the point at which two
numbers differ. Everything else must be equal, including whole numbers and versions.
"""

import math
import re

from nbval.plugin import IPyNbCell

DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?:e[-+]?\d+)?(?![\w.]*\.\d)")
RELATIVE, ABSOLUTE = 0.05, 0.02
"""Twice the largest difference seen between two server processors, one with AVX2 and one with AVX-512."""
OF_ONE_VIDEO = 0.1
"""Instead of `ABSOLUTE`, for numbers with four decimals: scores of single videos, which move further than means."""
OF_SMALL_NUMBERS = 0.5
"""Small numbers differ by at most this fraction, so that a changed learning rate or weight decay is noticed."""


class CloseText(str):
    """Text that is equal to another if nothing but their decimal numbers differs, and those differ little."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        if not isinstance(other, str):
            return NotImplemented
        one, two = str(self), str(other)  # plain strings, whose comparison is not this one
        return DECIMAL.sub("0.0", one) == DECIMAL.sub("0.0", two) and all(
            map(are_close, DECIMAL.findall(one), DECIMAL.findall(two))
        )

    def __ne__(self, other):
        return not self == other


def are_close(one: str, other: str) -> bool:
    """Return whether two decimal numbers differ little enough."""
    decimals = {len(number.partition(".")[2]) for number in (one, other)}
    absolute = OF_ONE_VIDEO if decimals == {4} else ABSOLUTE
    values = float(one), float(other)
    return math.isclose(*values, rel_tol=RELATIVE, abs_tol=min(absolute, OF_SMALL_NUMBERS * max(values)))


def pytest_configure():
    """Let nbval compare the outputs, after its own replacements, as `CloseText`."""
    sanitize = IPyNbCell.sanitize

    def with_close_numbers(self, value):
        return CloseText(sanitize(self, value)) if isinstance(value, str) else value

    IPyNbCell.sanitize = with_close_numbers
