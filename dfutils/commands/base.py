"""Common parts of all sub-commands: options and output."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dfutils.errors import DfutilsError, how_to_install
from dfutils.files import json_text
from dfutils.statistics.formatting import probability_text, rate_text

if TYPE_CHECKING:
    from dfutils.records import Result
    from dfutils.runs.record import DetectorRecord


class OutputClosedError(DfutilsError):
    """Raised when stdout is closed, its reader has gone, or its disk is full."""


def add_usual_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the options that every command has, ``--verbose`` and ``--json``, and an example below its help."""
    parser.epilog = f"example:\n  {example}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    flags = {"verbose": "also log details", "json": "print one JSON document on stdout and nothing else"}
    for name, about in flags.items():
        # Without a default, so that the option may come before or after the name of a sub-command.
        parser.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=about)


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Turn a library that is missing in this block into an error that names the extra to install.

    Args:
        extra: Extra of this package that has the library.
        what: What needs it, as in the middle of a sentence: ``the web page``.

    Raises:
        DfutilsError: A library is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise DfutilsError(f"{error.name}: is not installed, but {what} needs it. {how_to_install(extra)}.") from error


def count(text: str, *, minimum: int = 1) -> int:
    """Parse the value of an option that counts something: an integer from ``minimum`` on."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, not {text!r}") from None
    if number < minimum:
        raise argparse.ArgumentTypeError(f"must be {minimum} or more, not {number}")
    return number


def share(text: str) -> float:
    """Parse the value of an option that is a share: a number between 0 and 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and below 1, such as 0.05, not {text}")
    return number


def show(options: argparse.Namespace, result: Result) -> None:
    """Print the result's document with ``--json``, otherwise its lines."""
    print_result(options, result.document(), result.lines())


def print_result(options: argparse.Namespace, document: object, lines: Sequence[str]) -> None:
    """Print the document with ``--json``, otherwise the lines."""
    say(json_text(document) if options.json else "\n".join(lines))


def say(text: str) -> None:
    """Print to stdout at once.

    Raises:
        OutputClosedError: There is no stdout, its disk is full, or the reader has closed the pipe, as ``| head -1``
            does.
    """
    if sys.stdout is None:
        raise OutputClosedError("stdout: is closed, so nothing can be printed.")
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python complains at exit
        if isinstance(error, BrokenPipeError):
            raise OutputClosedError("stdout was closed before everything was printed.") from error
        raise OutputClosedError(f"stdout cannot be written ({error.strerror}).") from error


def answer_lines(detector: DetectorRecord) -> list[str]:
    """Describe when a detector answers REAL and FAKE, how often it was wrong, and what can be expected."""
    method = "Platt scaling" if detector.calibration == "platt" else "isotonic calibration"
    faces = f", faces from {detector.min_face_pixels} pixels" if detector.min_face_pixels else ""
    ends = (*detector.answer_range, detector.threshold)
    real_up_to, fake_from, threshold = (probability_text(end, 3) for end in ends)
    lines = [f"REAL up to {real_up_to}, FAKE from {fake_from}, two-class threshold {threshold}, {method}{faces}"]
    if detector.members:
        lines.append("Bounds for new people: none, since every clip was used to train some member of the ensemble.")
    if (costs := detector.answer_costs) is None:
        return lines
    lines.append(
        f"On {detector.fitted_in_words}: {rate_text(costs.false_positive_rate.value)} of REAL called FAKE, "
        f"{rate_text(costs.false_negative_rate.value)} of FAKE called REAL, {rate_text(costs.undecided.value)} "
        f"UNDECIDED. Bounds for new, similar people: {rate_text(costs.false_positive_bound)} and "
        f"{rate_text(costs.false_negative_bound)}."
    )
    for label, groups, bound, rate in (
        ("REAL", costs.real_groups, costs.false_positive_bound, costs.max_false_positive_rate),
        ("FAKE", costs.fake_groups, costs.false_negative_bound, costs.max_false_negative_rate),
    ):
        if bound > rate:
            lines.append(
                f"{groups} groups with {label} clips are too few for a bound of {rate_text(rate)}: train with more "
                "people, or use `dfutils calibrate --out-of-fold`."
            )
    return lines
