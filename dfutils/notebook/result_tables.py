"""Tables of what a detector is worth, and of what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.notebook.page import Markdown, TextTable, text_table
from dfutils.records import Verdict
from dfutils.report.wording import all_numbers, baselines, headline
from dfutils.statistics.formatting import with_interval


def headline_text(metrics: Mapping[str, Any]) -> Markdown:
    """The one sentence of a report that says whether the detector beats chance."""
    return Markdown(f"> {headline(metrics)}")


def metrics_table(metrics: Mapping[str, Any]) -> TextTable:
    """Every metric with its interval and its meaning."""
    rows = ((number.name, number.value, number.interval, number.meaning) for number in all_numbers(metrics))
    return text_table(rows, ["metric", "value", "95\xa0%\xa0interval", "meaning"])


def baselines_table(metrics: Mapping[str, Any]) -> TextTable:
    """The detector beside answers that look at no video."""
    rows = ((line.name, line.accuracy, line.balanced_accuracy, line.auc, line.log_loss) for line in baselines(metrics))
    return text_table(rows, ["answer", "accuracy", "balanced accuracy", "AUC", "log loss"])


def datasets_table(metrics: Mapping[str, Any]) -> TextTable:
    """The headline numbers of each data set, or manipulation where the data sets are named by it."""
    rows = (
        (row["dataset"], row["videos"], row["real"], row["fake"], row["unscored"], *_worded(row))
        for row in metrics["datasets"]
    )
    return text_table(rows, ["data set", "videos", "REAL", "FAKE", "no score", "AUC", "accuracy"])


def _worded(row: Mapping[str, Any]) -> Iterator[str]:
    return (with_interval(name, row[name]) for name in ("auc", "accuracy"))


def thresholds_table(predictions: pd.DataFrame, thresholds: Mapping[str, float]) -> TextTable:
    """What drawing the line between REAL and FAKE at each of some places would give."""
    scored = predictions.dropna(subset=["fake_probability"])
    reals, fakes = (scored[scored["is_fake"] == side]["fake_probability"] for side in (False, True))
    rows = (
        (
            name,
            f"{line:.2f}",
            f"{(fakes >= line).sum()} of {len(fakes)}",
            f"{(reals >= line).sum()} of {len(reals)}",
            f"{((fakes >= line).mean() + (reals < line).mean()) / 2:.0%}",
        )
        for name, line in thresholds.items()
    )
    return text_table(rows, ["line", "at", "fakes found", "false alarms", "balanced accuracy"])


def report_text(report: Path) -> Markdown:
    """A link to the report, and how large the one file is."""
    page = report / "report.html"
    return Markdown(f"[{page.as_posix()}]({page.as_posix()}), {page.stat().st_size / 1e6:.1f} MB, one file")


def verdicts_table(verdicts: Sequence[Verdict]) -> TextTable:
    """A row an input: the verdict, the score, how many people, and why where there is no score."""
    rows = (
        (
            Path(verdict.input).name,
            str(verdict.label),
            "–" if verdict.fake_probability is None else f"{verdict.fake_probability:.2f}",
            len(verdict.tracks),
            str(verdict.reason),
            verdict.detail,
        )
        for verdict in verdicts
    )
    return text_table(rows, ["input", "verdict", "fake\xa0probability", "people", "reason", "detail"])


def submission_table(rows: Sequence[Mapping[str, str]], *, most: int = 6) -> TextTable:
    """The first rows of a submission, and how many there are."""
    shown = text_table(((row["filename"], row["label"]) for row in rows[:most]), ["filename", "label"])
    return shown.rename_axis(columns=f"filename ({len(rows)} rows)")
