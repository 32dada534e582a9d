"""``dfutils models``."""

from __future__ import annotations

import argparse

from dfutils.commands.base import print_result

EXAMPLE = "dfutils models"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no options: the command has none of its own."""


def run(options: argparse.Namespace) -> None:
    """List the included detectors with their measurements."""
    from dfutils.pretrained import describe, pretrained_names

    models = [describe(name) for name in pretrained_names()]
    lines = []
    for model in models:
        size = f"{model['size']} pixels, {model['bytes'] / 1e6:.0f} MB"
        lines.append(f"{model['name']}: {model['model']}, {size}. {model['about']}")
        lines += [f"  {words}: {value}" for words, value in model["measured"].items()]
        lines.append(f"  {model['licence']}")
    print_result(options, {"models": models}, lines or ["This package includes no detector. Train one: dfutils train."])
