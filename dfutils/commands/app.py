"""``dfutils app``."""

from __future__ import annotations

import argparse

from dfutils.commands.base import needing

EXAMPLE = "dfutils app --port 7860"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--port", type=int, default=7860, help="default: %(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 serves the whole network (default: %(default)s)")
    parser.add_argument(
        "--model", metavar="RUN", help="run folder, a name that `dfutils models` lists, or hf://OWNER/NAME@REVISION"
    )


def run(options: argparse.Namespace) -> None:
    """Serve the page until it is interrupted."""
    with needing("app", "the web page"):
        from dfutils.app.server import serve

        serve(model=options.model, host=options.host, port=options.port)
