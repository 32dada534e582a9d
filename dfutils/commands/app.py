"""``dfutils app``."""

from __future__ import annotations

import argparse

from dfutils.commands.base import command
from dfutils.errors import DfutilsError


def _add_app(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "app", "serve the web page on this machine", "dfutils app --port 7860")
    parser.add_argument("--port", type=int, default=7860, help="default: %(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 shows it to the network (default: %(default)s)")
    parser.add_argument("--model", metavar="RUN", help="run folder, or a name that `dfutils models` lists")
    parser.set_defaults(run=_app)


def _app(options: argparse.Namespace) -> None:
    try:
        from dfutils.app.server import serve

        serve(model=options.model, host=options.host, port=options.port)
    except ModuleNotFoundError as error:
        raise DfutilsError(
            f"{error.name}: is missing, which the web page needs. pip install 'dfutils[app]'."
        ) from error


COMMANDS = (_add_app,)
