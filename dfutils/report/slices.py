"""The sections of the report that compare parts of the videos: data sets, values of a column, new data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

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


def column_section(predictions: pd.DataFrame, column: str, *, threshold: float, resamples: int) -> Section:
    """Show the answers and the AUC for each value of a column of the labels, and which values differ for certain."""
    rows, differences = by_column(predictions, column, threshold=threshold, resamples=resamples)
    name = column.removeprefix(SLICE)
    key = f"slice_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}"
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
