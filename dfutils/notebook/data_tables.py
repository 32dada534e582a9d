"""Tables about videos, face datasets, and what is staged for Kaggle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.dataset import FaceDataset
from dfutils.extraction.layouts import LABELS
from dfutils.notebook.display import Markdown, TextTable, counted_table, facts_table, text_table
from dfutils.publishing.staging import Staged
from dfutils.records import ClipRow

NOTEBOOK = "deepfakes-2-publish-the-face-dataset"
"""Slug of the notebook that stages the faces, as in ``kaggle-metadata/``."""


def catalogue_table(catalogue: Catalogue) -> pd.DataFrame:
    """Count videos and groups per data set."""
    videos = [(video.dataset, video.is_fake, video.group) for video in catalogue.videos]
    return counted_table(pd.DataFrame(videos, columns=["dataset", "is_fake", "group"]), "dataset")


def labels_table(catalogue: Catalogue, *, rows: int = 6) -> TextTable:
    """Show the first videos of a catalogue with their labels and groups."""
    shown = catalogue.videos[:rows]
    columns = ["video", "label", "group"]
    return text_table(((video.name, "FAKE" if video.is_fake else "REAL", video.group) for video in shown), columns)


def balance_table(catalogue: Catalogue) -> pd.DataFrame:
    """Count what is left of a catalogue when REAL and FAKE are balanced by groups."""
    videos = pd.DataFrame(
        [(video.group, video.is_fake, video.name) for video in catalogue.videos], columns=["group", "is_fake", "name"]
    )
    both = videos.groupby("group")["is_fake"].transform("nunique") == 2
    kept = {
        "all videos": videos,
        "groups with REAL and FAKE": videos[both],
        "one REAL and one FAKE of each of these": videos[both].drop_duplicates(["group", "is_fake"]),
    }
    named = pd.concat([rows.assign(kept=name) for name, rows in kept.items()])
    return counted_table(named, "kept").reindex(list(kept), fill_value=0)


def dataset_table(dataset: FaceDataset) -> TextTable:
    """Show the size of a face dataset and how its crops were made."""
    settings = dataset.settings
    facts = {
        "clips": len(dataset.rows),
        "crops": sum(row.frames for row in dataset.rows),
        "videos without a clip": len(dataset.skipped),
        "frames per clip": f"{settings.frames}, {settings.sampling} sampling",
        "size of a crop": f"{settings.size} × {settings.size} pixels",
        "face detector": "YuNet",
    }
    return facts_table(facts, "value")


def media_table(dataset: FaceDataset) -> TextTable:
    """Compare durations, frame rates, bit rates and sizes of REAL and FAKE videos that gave a clip."""
    videos = {row.video: row for row in dataset.rows}.values()
    by_label = {label: [row for row in videos if row.is_fake is is_fake] for label, is_fake in LABELS.items()}

    def spread(values: Sequence[float], digits: int) -> str:
        if not values:
            return "–"
        low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
        return low if low == high else f"{low} to {high}"

    facts: list[tuple[str, Callable[[ClipRow], float], int]] = [
        ("duration in seconds", lambda row: row.duration_seconds, 1),
        ("frames per second", lambda row: row.fps, 1),
        ("kilobits per second", lambda row: row.bits_per_second / 1000, 0),
        ("width", lambda row: row.width, 0),
        ("height", lambda row: row.height, 0),
    ]
    table: list[tuple[object, ...]] = [("videos", *(len(rows) for rows in by_label.values()))]
    for name, fact, digits in facts:
        table.append((name, *(spread([fact(row) for row in rows], digits) for rows in by_label.values())))
    return text_table(table, ["", *by_label])


def manifest_table(dataset: FaceDataset, *, rows: int = 6) -> pd.DataFrame:
    """Show the first clips of the manifest, with its most readable columns."""
    columns = ["clip_id", "video", "is_fake", "group", "frames", "fps", "duration_seconds"]
    table = pd.DataFrame([{name: getattr(row, name) for name in columns} for row in dataset.rows[:rows]])
    return table.set_index("clip_id").rename_axis(index=None, columns="clip_id")


def skipped_table(dataset: FaceDataset) -> TextTable:
    """Count the videos that gave a clip and, by reason, those that did not."""
    reasons = pd.Series([row["reason"] for row in dataset.skipped], dtype=str).value_counts().sort_index()
    clips = len({row.video for row in dataset.rows})
    return facts_table(
        {"gave a clip": clips, **{f"skipped: {name}": count for name, count in reasons.items()}}, "videos"
    )


def skipped_rows_table(dataset: FaceDataset) -> TextTable:
    """List every video that gave no clip, with the reason as one word and as a sentence."""
    rows = ((row["video"], row["reason"], row["detail"].split(f"{row['video']}: ")[-1]) for row in dataset.skipped)
    return text_table(rows, ["video", "reason", "detail"])


def staged_table(staged: Staged) -> TextTable:
    """Show what is staged, without the data card."""
    facts = {
        "folder": staged.folder.as_posix(),
        "clips": len({name.rpartition("/")[0] for name in staged.files if "/" in name}),
        "files": len(staged.files),
        "size": f"{sum(staged.files.values()) / 1e6:.1f} MB",
        "private": "yes" if staged.metadata["isPrivate"] else "no",
        "licence": staged.metadata["licenses"][0]["name"],
        **{name: staged.metadata[name] for name in ("id", "title")},
    }
    return facts_table(facts)


def card_text(staged: Staged) -> Markdown:
    """Show the data card as people will read it on Kaggle."""
    return Markdown(staged.metadata["description"])


def contents_table(staged: Staged) -> TextTable:
    """Show the content of a version of the dataset: everything, since a version replaces the previous one."""
    kinds = {"real/": "crops of REAL clips", "fake/": "crops of FAKE clips", "": "tables and settings"}
    rows = []
    for start, meaning in kinds.items():
        sizes = [size for name, size in staged.files.items() if (name.startswith(start) if start else "/" not in name)]
        rows.append((meaning, len(sizes), f"{sum(sizes) / 1e6:.1f} MB"))
    return text_table(rows, ["what", "files", "size"])


def commands_table(staged: Staged, *, notebook: str = NOTEBOOK) -> TextTable:
    """List the commands that turn the output of a notebook on Kaggle into a dataset on Kaggle.

    The first one restores the notebook's output, so that the others find the staged folder under the same name.
    """
    owner = staged.metadata["id"].split("/")[0]
    rows = [
        ("download what this notebook staged on Kaggle", f"kaggle kernels output {owner}/{notebook} -p ."),
        *staged.shell_commands(),
    ]
    return text_table(rows, ["to", "command"])
