"""The sections of the report that compare parts of the videos: data sets, values of a column, new data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dfutils.evaluation.papers import PAPER_METRICS, estimate_paper_metrics
from dfutils.evaluation.slices import (
    FEWEST_GROUPS,
    LEVEL_METRICS,
    SLICE,
    by_column,
    by_group,
    by_level,
    by_manipulation,
)
from dfutils.report.elements import Column, Section, Table, metric_columns

_PAPER_MEANINGS = {
    "auc": "How often a random FAKE scores above a random REAL; ties count half. Chance is 0.5.",
    "eer": "Share of errors at the threshold where as many REAL are called FAKE as FAKE are missed. Chance is 0.5.",
    "average_precision": "Precision averaged over all thresholds. Chance is the share of FAKE: it depends on the mix.",
    "tpr_at_fpr_1": "Share of the FAKE that are found if at most 1 % of the REAL may be called FAKE. Chance is 0.01.",
    "tpr_at_fpr_5": "Share of the FAKE that are found if at most 5 % of the REAL may be called FAKE. Chance is 0.05.",
}

CROSS_METRICS = ("auc", "balanced_accuracy", "log_loss", "coverage")


def slices_section(
    predictions: pd.DataFrame, levels: Mapping[str, pd.DataFrame], *, threshold: float, resamples: int
) -> Section:
    """Show the scores by level, by manipulation and by group."""
    level_rows = by_level(levels, threshold=threshold, resamples=resamples)
    manipulations = by_manipulation(predictions, threshold=threshold, resamples=resamples)
    return Section(
        name="slices",
        title="By level, manipulation and group",
        tables=[
            Table(
                "levels",
                "By level",
                "A track is one person in a video and gives one clip; a video's score is that of its highest track. "
                "Chance is an AUC of 0.50 and a log loss of 0.693 at every level; resamples keep groups whole.",
                (Column("level", "Level"), Column("rows", "Number", "count"), *metric_columns(*LEVEL_METRICS)),
                level_rows,
            ),
            Table(
                "manipulations",
                "By manipulation",
                "Each kind of FAKE against all REAL videos of its family. The rows share these REAL videos, so they "
                "rise and fall together. Chance is an AUC of 0.50 and a balanced accuracy of 50 %.",
                (
                    Column("manipulation", "FAKE videos of"),
                    Column("fakes", "FAKE", "count"),
                    Column("against", "Against"),
                    Column("true_positive_rate", "FAKE found", "percent"),
                    *metric_columns("auc", "balanced_accuracy"),
                ),
                manipulations,
            ),
            Table(
                "groups",
                "By group, the worst first",
                "A group is one source or person. There is no interval, because a single group cannot be resampled. "
                "If a few groups hold all the mistakes, look at these groups first.",
                (
                    Column("group", "Group"),
                    Column("datasets", "Data sets"),
                    Column("real", "REAL", "count"),
                    Column("fake", "FAKE", "count"),
                    Column("wrong", "Wrong", "count"),
                    Column("share_wrong", "Share wrong", "percent"),
                    Column("mean_real", "Mean score of REAL", "decimal"),
                    Column("mean_fake", "Mean score of FAKE", "decimal"),
                ),
                by_group(predictions, threshold=threshold),
                shown=12,
            ),
        ],
        document={"levels": level_rows, "manipulations": manipulations},
    )


def papers_section(videos: pd.DataFrame, frames: pd.DataFrame | None, *, resamples: int) -> Section:
    """Show the metrics that papers give, per video and per frame.

    Args:
        videos: One row per video with a score.
        frames: One row per face crop with the label of its video; None for a model that does not score single frames.
        resamples: Bootstrap resamples behind each interval.
    """
    of_videos = estimate_paper_metrics(videos, resamples=resamples)
    of_frames = {} if frames is None else estimate_paper_metrics(frames, resamples=resamples)
    text = [
        "These numbers need no threshold of the detector. Two of them may be compared only if the videos, their "
        "compression, the split and the level (video or frame) are the same.",
    ]
    if frames is None:
        text.append(
            "This model scores whole clips and no single frames, so there are no numbers per frame: do not compare "
            "its numbers per video with a paper's numbers per frame."
        )
    else:
        text.append(
            f"Per video there are {len(videos):,} scores, those of the highest track; per frame there are "
            f"{len(frames):,}, one for each face crop with the label of its video."
        )
    if (reals := int((~videos["is_fake"].astype(bool)).sum())) < 100:
        text.append(
            f"With {reals} REAL videos, a false positive rate of 1 % allows none of them to be called FAKE, which is "
            "stricter than it sounds."
        )
    return Section(
        name="papers",
        title="Numbers as papers give them",
        text=text,
        tables=[
            Table(
                "papers",
                "Per video and per frame",
                "TPR: true positive rate, FPR: false positive rate. Intervals keep groups whole, so many frames of few "
                "sources do not look certain. What papers do otherwise is in docs/papers.md.",
                (
                    Column("metric", "Metric"),
                    Column("video", "Per video", "decimal3"),
                    Column("frame", "Per frame", "decimal3"),
                    Column("meaning", "What it is"),
                ),
                [
                    {
                        "metric": heading,
                        "video": of_videos[name],
                        "frame": of_frames.get(name),
                        "meaning": _PAPER_MEANINGS[name],
                    }
                    for name, heading in PAPER_METRICS.items()
                ],
            )
        ],
        document={"video": of_videos, "frame": of_frames or None},
    )


def column_sections(
    predictions: pd.DataFrame, columns: Sequence[str], *, threshold: float, resamples: int
) -> list[Section]:
    """Show the answers and the AUC for each value of columns of the labels, and which values differ for certain."""
    sections: dict[str, Section] = {}
    for column in columns:
        name = column.removeprefix(SLICE)
        key = first = "slice_" + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        number = 1
        while key in sections:  # of a name that differs in other characters only, such as "a b" and "a_b"
            number += 1
            key = f"{first}_{number}"
        measured = by_column(predictions, column, threshold=threshold, resamples=resamples)
        sections[key] = _column_section(key, name, measured)
    return list(sections.values())


def _column_section(key: str, name: str, measured: tuple[list[dict[str, Any]], list[str]]) -> Section:
    rows, differences = measured
    return Section(
        name=key,
        title=f"By {name}",
        text=[
            "A value with few groups has a wide interval. A difference is told where it is certain: its interval, at "
            f"95 % for all {len(rows)} values together, excludes 0, with {FEWEST_GROUPS} or more groups on each side."
        ],
        flag=" ".join(differences),
        tables=[
            Table(
                key,
                f"By {name}",
                "Videos that the label file does not list, or lists without a value, are in the row 'not stated'.",
                (
                    Column("value", name),
                    Column("videos", "Videos", "count"),
                    Column("groups", "Groups", "count"),
                    Column("real", "REAL", "count"),
                    Column("fake", "FAKE", "count"),
                    *metric_columns("answered", "answer_accuracy", "real_called_fake", "fake_called_fake", "auc"),
                ),
                rows,
            )
        ],
        document=[*rows],
    )


def cross_section(rows: Sequence[Mapping[str, Any]]) -> Section:
    """Compare one detector on several face datasets."""
    return Section(
        name="cross",
        title="Across data sets",
        text=["One detector, trained on one source and measured on each of these data sets."],
        tables=[
            Table(
                "cross",
                "Cross-dataset",
                "Known: the run was trained on other videos of this data set. Chance is an AUC of 0.50 and a balanced "
                "accuracy of 50 %.",
                (
                    Column("faces", "Face dataset"),
                    Column("known", "Known"),
                    Column("videos", "Videos", "count"),
                    Column("groups", "Groups", "count"),
                    *metric_columns(*CROSS_METRICS),
                ),
                rows,
            )
        ],
        document=list(rows),
    )
