"""Compare OpenVINO with Keras on DFDC's test crops and on FaceForensics++ c23 clips, which the detector has seen.

    python -m research.first_release.engines WORK --model inception-cross-1 --trained WORK/runs/averaged

WORK is that of ``research.first_release.recipe``. Compared are the float32 network that OpenVINO builds from the
weights, the detector's export if it has one, and, with ``--trained``, the run before its weights were packed into half
precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESEARCH_RESULTS, script_parser, write_results
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.prediction import runtime
from dfutils.prediction.export import clip_scores, differences
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.records import ClipRow
from dfutils.runs.folder import RunFolder
from research.first_release.recipe import crops_of


def read_tests(work: Path) -> dict[str, tuple[FaceDataset, list[ClipRow]]]:
    """Return the face datasets and the clips of each that are scored."""
    crops, clips = read_face_dataset(work / "dfdc"), read_face_dataset(work / "ffpp")
    tested = crops_of(work, "test")
    return {
        "DFDC, test crops": (crops, [row for row in crops.rows if row.video in tested]),
        "FaceForensics++, c23 clips": (clips, [row for row in clips.rows if "_c23" in row.dataset]),
    }


def compare(run: Path, faces: FaceDataset, rows: Sequence[ClipRow], *, trained: Path | None = None) -> dict[str, Any]:
    """Return every engine's AUC, largest difference in probability from Keras, and share of equal labels."""
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
    every = {name: clip_scores(settings, network, map(faces.load_clip, rows)) for name, network in engines.items()}
    found = {name: differences(settings, is_fake, every["keras"], scores) for name, scores in every.items()}
    return {name: {"clips": len(rows), **figures} for name, figures in found.items()}


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
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
    parser = script_parser(__doc__, out=RESEARCH_RESULTS)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default=DEFAULT, help="run folder or name (default: %(default)s)")
    parser.add_argument("--trained", type=Path, help="the run folder that the model was packed from")
    options = parser.parse_args()
    run = resolve_detector(options.model)
    results = {words: compare(run, *test, trained=options.trained) for words, test in read_tests(options.work).items()}
    write_results(options.out, "engines", {"tests": results}, table(results))
    print(table(results))


if __name__ == "__main__":
    main()
