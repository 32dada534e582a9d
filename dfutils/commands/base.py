"""Common parts of all sub-commands: options and output."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dfutils.errors import DfutilsError

if TYPE_CHECKING:
    from dfutils.records import Result


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


def count(text: str) -> int:
    """Parse the value of an option that counts something: an integer from 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def show(options: argparse.Namespace, result: Result) -> None:
    """Print the result's document with ``--json``, otherwise its lines."""
    print_result(options, result.document(), result.lines())


def print_result(options: argparse.Namespace, document: object, lines: Sequence[str]) -> None:
    """Print the document with ``--json``, otherwise the lines."""
    say(json.dumps(document, indent=2, ensure_ascii=False) if options.json else "\n".join(lines))


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
