"""``dfutils export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfutils.commands.base import count, print_result, show

EXAMPLE = "dfutils export run faces --precision int8"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "detector", metavar="RUN", help="run folder, a name that `dfutils models` lists, or hf://OWNER/NAME@REVISION"
    )
    parser.add_argument(
        "faces",
        nargs="?",
        type=Path,
        metavar="FACES",
        help="face dataset that it was trained on, to compare on; may be omitted with --format onnx",
    )
    parser.add_argument(
        "--format",
        choices=["openvino", "onnx"],
        default="openvino",
        help="openvino exports backbones into the run folder, onnx the whole detector into one file for other programs "
        "(default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="ONNX file (default: named after RUN)")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "int8"],
        default="float32",
        help="int8 also needs nncf (default: %(default)s)",
    )
    parser.add_argument("--most", type=count, metavar="N", help="compare on at most N clips (default: all)")


def run(options: argparse.Namespace) -> None:
    """Export the detector, and compare it with Keras."""
    from dfutils.pretrained import resolve_detector

    if options.format == "onnx":
        if options.precision != "float32":
            options.usage_error("--precision is for OpenVINO: an ONNX file is in float32")
        from dfutils.prediction.onnx_export import export_onnx

        folder = resolve_detector(options.detector)
        name = Path(options.detector.partition("@")[0]).name or folder.resolve().name
        out = options.out or Path(f"{name}.onnx")
        show(options, export_onnx(folder, out, faces=options.faces, most=options.most))
        return
    if options.faces is None:
        options.usage_error("the following arguments are required: FACES")
    if options.out is not None:
        options.usage_error("--out is for --format onnx: OpenVINO's files are written into the run folder")
    if options.detector.startswith("hf:"):
        options.usage_error(
            "a detector of the Hub cannot be changed: give --format onnx, or export it before it is published"
        )
    from dfutils.prediction.export import export_detector

    folder = resolve_detector(options.detector)
    exports = export_detector(folder, options.faces, precision=options.precision, most=options.most)
    lines = [
        f"{folder}: exported to {one.precision}; on {one.clips} clips the largest difference in probability is "
        f"{one.largest_difference:.2g}, {one.same_labels:.1%} of the answers are the same"
        + ("" if one.auc is None else f", AUC {one.auc:.4f} (Keras {one.auc_keras:.4f})")
        for one in exports
    ]
    print_result(options, {"run": str(folder), "exports": [one.model_dump(mode="json") for one in exports]}, lines)
