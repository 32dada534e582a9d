"""``dfutils export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import count, print_result

EXAMPLE = "dfutils export run faces --precision int8"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("detector", metavar="RUN", help="run folder, or a name that `dfutils models` lists")
    parser.add_argument("faces", type=Path, metavar="FACES", help="face dataset that it was trained on")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "int8"],
        default="float32",
        help="int8 also needs nncf (default: %(default)s)",
    )
    parser.add_argument("--most", type=count, metavar="N", help="compare on at most N clips (default: all)")


def run(options: argparse.Namespace) -> None:
    """Export the network for OpenVINO, and compare it with Keras."""
    from dfutils.prediction.export import export_detector
    from dfutils.pretrained import resolve_detector

    folder = resolve_detector(options.detector)
    exports = export_detector(folder, options.faces, precision=options.precision, most=options.most)
    lines = [
        f"{folder}: exported to {one.precision}; on {one.clips} clips the largest difference in probability is "
        f"{one.largest_difference:.2g}, {one.same_labels:.1%} of the labels are the same"
        + ("" if one.auc is None else f", AUC {one.auc:.4f} (Keras {one.auc_keras:.4f})")
        for one in exports
    ]
    print_result(options, {"run": str(folder), "exports": [one.model_dump(mode="json") for one in exports]}, lines)
