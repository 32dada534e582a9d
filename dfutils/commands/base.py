"""What every sub-command shares: its usual options, and one way to print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence


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
    text = json.dumps(document, indent=2, ensure_ascii=False) if options.json else "\n".join(lines)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
