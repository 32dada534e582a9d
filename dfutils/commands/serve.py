"""``dfutils serve``."""

from __future__ import annotations

import argparse
import logging
from ipaddress import ip_address
from pathlib import Path

from dfutils.errors import DfutilsError, how_to_install

logger = logging.getLogger(__name__)

EXAMPLE = "dfutils serve --port 8000\n  dfutils serve --host 0.0.0.0 --api-keys keys.txt"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free one (default: %(default)s)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 serves the whole network; needs keys (default: %(default)s)"
    )
    parser.add_argument(
        "--model", metavar="RUN", help="run folder, a name that `dfutils models` lists, or hf://OWNER/NAME@REVISION"
    )
    parser.add_argument(
        "--api-keys", type=Path, metavar="FILE", help="text file with one key per line; others are refused"
    )
    parser.add_argument("--page", action="store_true", help="also serve the web page, which asks for no key")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="JSON file with any limits, see docs/http-api.md")


def run(options: argparse.Namespace) -> None:
    """Serve the API until it is interrupted."""
    if options.api_keys is None and not _is_this_machine(options.host):
        options.usage_error(
            f"--host: other machines can reach {options.host}, and without keys anybody there could use this one. "
            "Name a file of keys with --api-keys FILE, or omit --host"
        )
    try:
        from dfutils.app.access import ApiKeys
        from dfutils.app.limits import ServerLimits
        from dfutils.app.server import serve
        from dfutils.files import read_json

        keys = None if options.api_keys is None else ApiKeys.read(options.api_keys)
        values = {} if options.settings is None else read_json(options.settings, advice="Name a JSON file with limits.")
        limits = ServerLimits.parse(values, source=str(options.settings))
        if options.page and not _is_this_machine(options.host):
            logger.warning("The page asks for no key: everybody who reaches %s can use it.", options.host)
        serve(
            model=options.model,
            host=options.host,
            port=options.port,
            limits=limits,
            page=options.page,
            api=True,
            keys=keys,
        )
    except ModuleNotFoundError as error:
        extra, what = ("app", "the web page") if error.name == "gradio" else ("serve", "the HTTP API")
        raise DfutilsError(f"{error.name}: is not installed, but {what} needs it. {how_to_install(extra)}.") from error


def _is_this_machine(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False
