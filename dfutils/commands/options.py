"""Options of several commands, and options made from fields of settings: name, type, choices, default and help."""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dfutils.errors import DfutilsError
from dfutils.files import read_json
from dfutils.settings import Settings

if TYPE_CHECKING:
    from dfutils.extraction.shards import Shard

AnySettings = TypeVar("AnySettings", bound=Settings)


def add_engine_option(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the engine that runs a detector."""
    parser.add_argument(
        "--engine",
        choices=["auto", "keras", "openvino"],
        default="auto",
        help="what runs the network: openvino needs no TensorFlow; keras also runs on a GPU; auto (default) takes "
        "openvino if it is installed and supports the network",
    )


def add_setting_options(parser: argparse._ArgumentGroup, settings: type[Settings], names: Sequence[str]) -> None:
    """Add an option for each named field, and ``--settings`` for the file that may hold all of them.

    An option that is not given leaves no trace, so that it does not override the file.
    """
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="JSON file with any settings, such as the one that an earlier job wrote; options override it",
    )
    for name in names:
        field = settings.model_fields[name]
        option = "--" + name.replace("_", "-")
        first_sentence = " ".join((field.description or "").replace("`", "").split()).split(". ")[0].rstrip(".")
        default = "" if field.default is None else f" (default: {field.default})"
        about = f"{first_sentence}{default}".replace("%", "%%")
        kind: Any = field.annotation
        if typing.get_origin(kind) in (typing.Union, types.UnionType):  # ``T | None`` counts as ``T``
            (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
        common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": about}
        if kind is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, **common)
        elif typing.get_origin(kind) is typing.Literal:
            parser.add_argument(option, choices=typing.get_args(kind), **common)
        else:
            parser.add_argument(option, type=kind, metavar={int: "N", float: "X"}.get(kind, "NAME"), **common)


def shard(text: str) -> Shard:
    """Parse the value of ``--shard``."""
    from dfutils.extraction.shards import Shard

    try:
        return Shard.parse(text)
    except DfutilsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def settings_of(options: argparse.Namespace, settings: type[AnySettings]) -> AnySettings:
    """Return the settings of the file, overridden by the options that were given; an invalid option is wrong use.

    Raises:
        DfutilsError: The file cannot be read, or has an invalid value.
    """
    values: dict[str, Any] = {}
    if options.settings:
        document = read_json(options.settings, advice="Name a JSON file with settings, such as one that a job wrote.")
        # In the extraction.json of a face dataset the settings are one entry among others.
        values = document.get("settings", document) if isinstance(document, dict) else document
        settings.parse(values, source=str(options.settings))
    given = {name: value for name, value in vars(options).items() if name in settings.model_fields}
    try:
        return settings.parse({**values, **given}, source="options")
    except DfutilsError as error:
        options.usage_error(str(error))
        raise
