"""The whole pipeline on made-up clips, with the functions that the notebooks and the command line call."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfutils.demo.clips import make_demo_videos
from dfutils.demo.examples import DEMO_TRAINING, demo_extraction, make_faceless_video
from dfutils.demo.rendering import DemoSettings
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.extract import extract_dataset
from dfutils.figures.history import write_history_figure
from dfutils.files import read_csv, refuse_other_content, write_json
from dfutils.prediction.detector import load_detector, verdict_document
from dfutils.prediction.outputs import verdict_line
from dfutils.records import Verdict
from dfutils.report.evaluate import evaluate
from dfutils.report.verdict_words import ONLY_FACES
from dfutils.report.wording import headline
from dfutils.runs.folder import RunFolder
from dfutils.training.run import train

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        folder: Folder with ``source`` (videos and labels), ``faces``, ``run`` and ``report``.
        metrics: Content of ``metrics.json``.
        detector: Name, version and checksum of the detector.
        verdicts: Verdicts on test videos and on a video without a face.
    """

    folder: Path
    metrics: Mapping[str, Any]
    detector: Mapping[str, Any]
    verdicts: Sequence[Verdict]

    def document(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {"report": str(self.folder / "report" / "report.html"), "metrics": self.metrics, **self.detector}

    def lines(self) -> list[str]:
        """Return the result in words."""
        return [
            "",
            "Verdicts on clips that were not trained on, and on one without a face:",
            *(f"  {verdict_line(verdict)}" for verdict in self.verdicts),
            ONLY_FACES,
            "",
            "The people, clips and forgeries are made up: a program drew them.",
            headline(self.metrics),
            f"Report: {self.folder / 'report' / 'report.html'}",
        ]


def run_demo(out: Path, *, people: int = 24, workers: int = 2, progress: bool = True) -> DemoResult:
    """Make clips, extract faces, split by person, train, evaluate, predict and report.

    The same call continues an interrupted demo.

    Args:
        out: Folder for everything.
        people: Number of made-up people, each with a REAL and a FAKE clip.
        workers: Videos decoded at a time.
        progress: Show progress bars on a terminal.

    Raises:
        DfutilsError: ``out`` cannot be written, or holds a demo with other settings or something else.
    """
    refuse_other_content(out, "a demo")
    source, faces, run = out / "source", out / "faces", out / "run"
    logger.info("1/5 Drawing %d clips of %d made-up people", 2 * people, people)
    labels = make_demo_videos(source, settings=DemoSettings(people=people), progress=progress)
    logger.info("2/5 Extracting motion-chosen faces")
    summary = extract_dataset(
        read_catalogue(source, labels), faces, settings=demo_extraction(), workers=workers, progress=progress
    )
    logger.info("%s", summary.lines()[0])
    logger.info("3/5 Training on groups that share no person with the test split")
    train(faces, run, settings=DEMO_TRAINING, progress=progress)
    write_history_figure(run)
    logger.info("4/5 Evaluating on people who were not trained on")
    metrics = evaluate(run, faces, out / "report", progress=progress)
    logger.info("5/5 Predicting")
    detector = load_detector(run)
    inputs = [*held_out_videos(run, source)[:4], make_faceless_video(source / "no-face.mp4")]
    verdicts = list(detector.predict_many(inputs))
    document = verdict_document(detector, verdicts)
    write_json(out / "verdicts.json", document)
    return DemoResult(out, metrics, document, verdicts)


def held_out_videos(run: Path, source: Path) -> list[Path]:
    """Return the videos of the run's test split, sorted by name."""
    rows = read_csv(RunFolder(run).splits_file, ("video", "split"))
    return sorted(source / row["video"] for row in rows if row["split"] == "test")
