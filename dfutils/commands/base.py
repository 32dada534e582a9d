"""What every sub-command shares: its usual options, and one way to print."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from dfutils.errors import DfutilsError


class OutputClosedError(DfutilsError):
    """What reads stdout has ended."""


def command(commands: argparse._SubParsersAction, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A sub-command with ``--verbose``, ``--json`` and an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--verbose", action="store_true", help="also log what is of interest only when something fails")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")
    return parser


def count(text: str) -> int:
    """A whole number from 1, as the type of an option."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def print_result(options: argparse.Namespace, document: object, lines: Sequence[str]) -> None:
    """Print the document with ``--json``, else the lines."""
    say(json.dumps(document, indent=2, ensure_ascii=False) if options.json else "\n".join(lines))


def say(text: str) -> None:
    """Print to stdout at once.

    Raises:
        OutputClosedError: Nobody reads it any more, as after ``| head -1``.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains as it ends
        raise OutputClosedError("stdout was closed before all was printed.") from error
