"""A plugin for nbval: decimal numbers in a notebook's outputs may differ a little from the committed ones.

A training ends a little elsewhere on another processor, and rounding to fewer digits only moves the place where two
numbers part. Everything else must be equal, including whole numbers.
"""

import math
import re

from nbval.plugin import IPyNbCell

DECIMAL = re.compile(r"\d+\.\d+")
RELATIVE, ABSOLUTE = 0.05, 0.02
"""Twice what two server processors differed by, one with AVX2 and one with AVX-512: 2.5 % or .01."""
OF_ONE_VIDEO = 0.1
"""Numbers with four decimals are scores of single videos, which move further than means over them."""


class CloseText(str):
    """Text that is equal to another if nothing but their decimal numbers differs, and those differ little."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        if not isinstance(other, str):
            return NotImplemented
        one, two = str(self), str(other)  # of the plain type, whose comparison is not this one
        return DECIMAL.sub("", one) == DECIMAL.sub("", two) and all(
            map(are_close, DECIMAL.findall(one), DECIMAL.findall(two))
        )

    def __ne__(self, other):
        return not self == other


def are_close(one: str, other: str) -> bool:
    """Return whether two decimal numbers differ little enough."""
    decimals = {len(number.partition(".")[2]) for number in (one, other)}
    absolute = OF_ONE_VIDEO if decimals == {4} else ABSOLUTE
    return math.isclose(float(one), float(other), rel_tol=RELATIVE, abs_tol=absolute)


def pytest_configure():
    sanitize = IPyNbCell.sanitize

    def with_close_numbers(self, value):
        return CloseText(sanitize(self, value)) if isinstance(value, str) else value

    IPyNbCell.sanitize = with_close_numbers
