"""The command ``dfutils``: its parser and exit codes.

Each sub-command is a module of `dfutils.commands` with ``EXAMPLE``, ``add_options`` and ``run``. Only the requested one
is imported, so that ``dfutils --help`` starts quickly.
"""

from __future__ import annotations

import argparse
import io
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import dfutils
from dfutils.commands.base import add_usual_options
from dfutils.errors import DfutilsError

EXIT_FAILURE, EXIT_INTERRUPTED = 1, 130

COMMANDS = {
    "demo": "run the whole pipeline on made-up clips",
    "extract": "crop faces from labelled videos, at moments of motion, into a face dataset",
    "merge": "join the face datasets or verdict folders of several shards",
    "train": "train a detector on a face dataset",
    "calibrate": "choose calibration and thresholds of a trained detector",
    "evaluate": "measure a detector and write a report",
    "stress": "damage videos in many ways and measure a detector on them",
    "compare": "measure several detectors side by side, with paired differences",
    "predict": "give a verdict on videos and images",
    "export": "export a detector for OpenVINO or as ONNX, if it proves equivalent to Keras",
    "models": "list the detectors that come with the package",
    "publish": "stage datasets, notebooks and models for Kaggle, and models and the web page for Hugging Face",
    "app": "serve the web page on this machine",
    "serve": "serve the HTTP API, and perhaps the web page, on this machine",
}
"""Name and summary of every sub-command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    The exit code is 0 on success, 1 on failure, 2 on wrong usage, 3 if ``predict --fail-on`` found its label, 130
    when interrupted, and 143 at SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may not be valid Unicode; print it with escapes
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = build_parser()
    if "" in (sys.argv[1:] if arguments is None else arguments):
        parser.error("an argument is empty. Is a shell variable unset?")
    options = parser.parse_args(arguments)
    is_main = threading.current_thread() is threading.main_thread()
    # SIGTERM ends like Ctrl-C, so that no half-written file is left.
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number)) if is_main else None
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for chatty in ("absl", "tensorflow", "httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        return options.run(options) or 0
    except DfutilsError as error:
        sys.stderr.write(f"dfutils {options.command}: {error}\n")
        return EXIT_FAILURE
    except KeyboardInterrupt:
        # A prediction cannot be continued: it keeps nothing but what it has printed or written. Nor can a server.
        is_lost = options.command in ("app", "serve") or (options.command == "predict" and options.out is None)
        advice = "" if is_lost else " Repeat the command to continue."
        sys.stderr.write(f"\ndfutils {options.command}: interrupted.{advice}\n")
        return EXIT_INTERRUPTED
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands."""
    parser = argparse.ArgumentParser(
        prog="dfutils", description="Detect deepfakes: extract faces, train, evaluate and predict."
    )
    parser.add_argument("--version", action="version", version=f"dfutils {dfutils.__version__}")
    parser.set_defaults(verbose=False, json=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_CommandParser)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, description=summary)
    return parser


class _CommandParser(argparse.ArgumentParser):
    """Parser of one sub-command, which imports the command's module when its options are first needed."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._is_complete = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.complete()
        return super().parse_known_args(args, namespace)

    def complete(self) -> None:
        """Add the options of the command's module."""
        if self._is_complete:
            return
        self._is_complete = True
        module = import_module(f"dfutils.commands.{self.prog.split()[-1]}")
        add_usual_options(self, module.EXAMPLE)
        module.add_options(self)
        self.set_defaults(run=module.run, usage_error=self.error)


if __name__ == "__main__":
    sys.exit(main())
