"""Command-line options that are fields of settings: their name, type, choices, default and help are the field's own."""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from dfutils.files import read_json
from dfutils.settings import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)


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
        about = f"{_first_sentence(field.description or '')} (default: {field.default})".replace("%", "%%")
        kind, choices = _kind_of(field.annotation)
        common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": about}
        if kind is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, **common)
        elif choices:
            parser.add_argument(option, choices=choices, **common)
        else:
            parser.add_argument(option, type=kind, metavar={int: "N", float: "X"}.get(kind, "NAME"), **common)


def settings_of(options: argparse.Namespace, settings: type[AnySettings]) -> AnySettings:
    """Return the settings of the file, overridden by the options that were given.

    Raises:
        DfutilsError: The file cannot be read, or a value is impossible; says which.
    """
    values: dict[str, Any] = {}
    if options.settings:
        document = read_json(options.settings)
        # What extraction writes beside a face dataset holds its settings among other facts.
        values = document.get("settings", document) if isinstance(document, dict) else document
        settings.parse(values, source=str(options.settings))
    given = {name: value for name, value in vars(options).items() if name in settings.model_fields}
    return settings.parse({**values, **given}, source="options")


def _kind_of(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """The type that parses an option's text, and its choices if they are named; ``T | None`` counts as ``T``."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = (kind for kind in typing.get_args(annotation) if kind is not type(None))
    if typing.get_origin(annotation) is typing.Literal:
        return str, typing.get_args(annotation)
    return annotation, ()


def _first_sentence(text: str) -> str:
    """Without the markup of docstrings."""
    return " ".join(text.replace("`", "").split()).split(". ")[0].rstrip(".")
