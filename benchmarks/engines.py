"""OpenVINO against Keras: on DFDC's test crops, new to it, and on FaceForensics++ c23 clips, which it saw.

    python -m benchmarks.engines WORK --model inception-cross-1 --trained WORK/runs/averaged

WORK is that of ``benchmarks.train_detector``. Of a detector that comes with an export, both are compared: the float32
network that the engine builds of the weights, and what was exported; and, where the run is named that was packed into
half precision, that run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.train_detector import crops_of
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.files import write_json, write_text
from dfutils.prediction import runtime
from dfutils.prediction.export import differences, raw_scores
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.records import ClipRow
from dfutils.runs.folder import RunFolder


def read_tests(work: Path) -> dict[str, tuple[FaceDataset, list[ClipRow]]]:
    """Face datasets and the clips of each that are scored."""
    crops, clips = read_face_dataset(work / "dfdc"), read_face_dataset(work / "ffpp")
    tested = crops_of(work, "test")
    return {
        "DFDC, test crops": (crops, [row for row in crops.rows if row.video in tested]),
        "FaceForensics++, c23 clips": (clips, [row for row in clips.rows if "_c23" in row.dataset]),
    }


def compare(run: Path, faces: FaceDataset, rows: Sequence[ClipRow], *, trained: Path | None = None) -> dict[str, Any]:
    """AUC of every engine, and how far it is from Keras: largest difference of a probability, share of equal labels."""
    settings, is_fake = RunFolder(run).detector(), np.array([row.is_fake for row in rows])
    head, export = runtime.read_numpy_head(run, settings), runtime.read_export(run, settings)
    backbone = runtime.compile_backbone(runtime.read_backbone(run, settings))
    engines: dict[str, runtime.Network] = {
        "keras": runtime.network_loader("keras")(run, settings)[0],
        "float32": runtime.OpenVinoNetwork(lambda: backbone, head),
    }
    if export is not None and export.precision != "float32":
        engines[export.precision] = runtime.network_loader("openvino")(run, settings)[0]
    if trained is not None:
        engines["keras, weights before packing"] = runtime.network_loader("keras")(
            trained, RunFolder(trained).detector()
        )[0]
    raw = {name: raw_scores(network, map(faces.load_clip, rows)) for name, network in engines.items()}
    found = {name: differences(settings, is_fake, raw["keras"], scores) for name, scores in raw.items()}
    return {name: {"clips": len(rows), **figures} for name, figures in found.items()}


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| clips | engine | AUC | largest difference in probability | same labels as Keras |",
        "|---|---|---|---|---|",
    ]
    for words, engines in results.items():
        for name, row in engines.items():
            lines.append(
                f"| {words} ({row['clips']:,}) | {name} | {row['auc']:.4f} | {row['largest_difference']:.1e} | "
                f"{row['same_labels']:.1%} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default=DEFAULT, help="run folder or name (default: %(default)s)")
    parser.add_argument("--trained", type=Path, help="the run folder that the model was packed from")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    options = parser.parse_args()
    run = resolve_detector(options.model)
    results = {words: compare(run, *test, trained=options.trained) for words, test in read_tests(options.work).items()}
    write_json(options.out / "engines.json", {"machine": describe_machine(), "tests": results})
    write_text(options.out / "engines.md", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
