"""What the notebooks show: small tables and pictures of the package's own objects, so that a cell stays short."""

from __future__ import annotations

import logging
import platform
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from dfutils.evaluation.plots import plot_contact_sheet
from dfutils.evaluation.predictions import read_predictions
from dfutils.evaluation.wording import all_numbers, baselines, headline
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.clips import Extraction
from dfutils.extraction.dataset import FaceDataset
from dfutils.files import read_csv, read_json
from dfutils.publishing.staging import StagedDataset
from dfutils.records import SPLIT_NAMES, ClipRow, SplitName, Verdict
from dfutils.settings import DetectorSettings, Settings

PACKAGES = ("dfutils", "numpy", "opencv-python", "opencv-python-headless", "av", "tensorflow", "keras")
LOG_WIDTH = 110
"""Characters in a line of a warning."""


class NotebookFolders(Settings):
    """Where the notebooks find and leave things; each reads what an earlier one wrote."""

    source: Path = Path("output/source")
    """Videos and their labels."""
    faces: Path = Path("output/faces")
    """The face dataset: written by 01, read by 02, 03 and 04."""
    staging: Path = Path("output/staging")
    """What 02 lays out for Kaggle."""
    run: Path = Path("output/run")
    """The run folder: written by 03, read by 04 and 05."""
    report: Path = Path("output/report")
    """The report folder: written by 04."""
    inputs: Path = Path("output/inputs")
    """Clips that 05 adds to look at."""


class TextTable(pd.DataFrame):
    """A table of words, which a notebook therefore shows aligned to the left."""

    @property
    def _constructor(self) -> type[TextTable]:
        return TextTable

    def _repr_html_(self) -> str:
        html: str = super()._repr_html_()
        for tag in ("<td>", "<th>"):
            html = html.replace(tag, f'{tag[:-1]} style="text-align: left;">')
        return html.replace('<tr style="text-align: right;">', '<tr style="text-align: left;">')


@dataclass(frozen=True, slots=True)
class Markdown:
    """Text that a notebook shows as Markdown."""

    text: str

    def _repr_markdown_(self) -> str:
        return self.text


class _Page(logging.Handler):
    """Writes warnings as plain text below the cell; one that several cells would repeat, below the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        if message not in self._seen:
            self._seen.add(message)
            sys.stdout.write(textwrap.fill(message, LOG_WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n")


def start_notebook() -> TextTable:
    """Let tables show whole sentences, and the package's warnings and long epochs stand on the page as text.

    Returns:
        The versions.
    """
    pd.set_option("display.max_colwidth", None)
    logger = logging.getLogger("dfutils")
    logger.handlers, logger.propagate = [_Page()], False
    logger.setLevel(logging.WARNING)
    logging.getLogger("dfutils.training.progress").setLevel(logging.INFO)  # in the place of a bar
    for chatty in ("absl", "tensorflow"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    return versions_table()


def versions_table() -> TextTable:
    """Versions of Python and of the packages that decide the numbers; the devices, where TensorFlow is in use."""
    facts = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            facts[name] = version(name)
    if "tensorflow" in sys.modules:
        devices = sys.modules["tensorflow"].config.list_logical_devices()
        facts["devices"] = ", ".join(device.name.removeprefix("/device:") for device in devices)
    return _facts(facts, "version")


def settings_table(settings: Settings) -> TextTable:
    """Every setting with its value and what it means."""
    return _text_table(_setting_rows(settings), ["setting", "value", "meaning"])


def catalogue_table(catalogue: Catalogue) -> pd.DataFrame:
    """Videos and groups of each data set."""
    videos = [(video.dataset, video.is_fake, video.group) for video in catalogue.videos]
    return _counted(pd.DataFrame(videos, columns=["dataset", "is_fake", "group"]), "dataset")


def dataset_table(dataset: FaceDataset) -> TextTable:
    """What a face dataset holds, and how it was cut."""
    settings = dataset.settings
    detectors = {"yunet": "YuNet", "haar": "OpenCV's Haar cascades, for want of YuNet's file: they miss turned faces"}
    facts = {
        "clips": len(dataset.rows),
        "crops": sum(row.frames for row in dataset.rows),
        "videos without a clip": len(dataset.skipped),
        "frames of a clip": f"{settings.frames}, {settings.sampling} sampling",
        "size of a crop": f"{settings.size} × {settings.size} pixels",
        "face detector": detectors.get(settings.detector, settings.detector),
    }
    return _facts(facts, "value")


def manifest_table(dataset: FaceDataset, *, rows: int = 6) -> pd.DataFrame:
    """The first clips of the manifest, the columns a person would read."""
    columns = ["clip_id", "video", "is_fake", "group", "frames", "width", "height", "fps", "duration_seconds"]
    table = pd.DataFrame([{name: getattr(row, name) for name in columns} for row in dataset.rows[:rows]])
    return table.set_index("clip_id").rename_axis(index=None, columns="clip_id")


def skipped_table(dataset: FaceDataset) -> TextTable:
    """How many videos gave a clip, and how many did not, by reason."""
    reasons = pd.Series([row["reason"] for row in dataset.skipped], dtype=str).value_counts().sort_index()
    clips = len({row.video for row in dataset.rows})
    return _facts({"gave a clip": clips, **{f"skipped: {name}": count for name, count in reasons.items()}}, "videos")


def plot_faces(dataset: FaceDataset, *, pairs: int = 5) -> Figure:
    """The middle crop of REAL clips, above FAKE ones of the same groups where there are any."""
    reals = {row.group: row for row in reversed(dataset.rows) if not row.is_fake}
    fakes = {row.group: row for row in reversed(dataset.rows) if row.is_fake}
    shared = sorted(reals.keys() & fakes.keys())
    pairs = min(pairs, *(len(shared or side) for side in (reals, fakes) if side))
    upper = [reals[group] for group in (shared or sorted(reals))[:pairs]]
    lower = [fakes[group] for group in (shared or sorted(fakes))[:pairs]]
    titles = [f"{'FAKE' if row.is_fake else 'REAL'} {row.group}" for row in (*upper, *lower)]
    return plot_contact_sheet(_middle_crops(dataset, [*upper, *lower]), titles=titles, columns=pairs)


def splits_table(rows: Sequence[ClipRow], assignment: Mapping[str, SplitName]) -> pd.DataFrame:
    """Videos and groups of each side of a split."""
    videos = {row.video: (assignment[row.video], row.is_fake, row.group) for row in rows}
    counts = _counted(pd.DataFrame(list(videos.values()), columns=["split", "is_fake", "group"]), "split")
    return counts.reindex(list(SPLIT_NAMES), fill_value=0)


def detector_table(detector: DetectorSettings) -> TextTable:
    """What was trained, and what surrounds it."""
    facts = {
        "model": detector.model,
        "backbone weights": detector.backbone_weights,
        "face detector": detector.extraction.detector,
        "temperature": f"{detector.temperature:.2f}",
        "operating point": f"{detector.threshold:.2f}",
    }
    return _facts(facts, "value")


def leaks_table(run: Path) -> TextTable:
    """The leak report of a run, a sentence a row."""
    return TextTable({"leak report": read_json(run / "leaks.json")["lines"]})


def read_history(run: Path) -> pd.DataFrame:
    """Training and validation loss and AUC of every epoch of a run."""
    names = ("epoch", "loss", "val_loss", "auc", "val_auc")
    rows = read_csv(run / "history.csv", names)
    return pd.DataFrame([{name: float(row[name]) for name in names} for row in rows])


def read_run_predictions(run: Path, *, split: SplitName) -> pd.DataFrame:
    """The scores that a run gave to the videos of one side of its split, as `dfutils.evaluation.plots` takes them."""
    groups = {row["video"]: row["group"] for row in read_csv(run / "splits.csv", ("video", "group"))}
    rows = read_csv(run / "predictions.csv", ("video", "split", "is_fake", "fake_probability"))
    table = [
        {
            "video": row["video"],
            "dataset": split,
            "group": groups[row["video"]],
            "is_fake": row["is_fake"] == "true",
            "fake_probability": float(row["fake_probability"]),
        }
        for row in rows
        if row["split"] == split
    ]
    return pd.DataFrame(table)


def headline_text(metrics: Mapping[str, Any]) -> Markdown:
    """The one sentence of a report that says whether the detector beats chance."""
    return Markdown(f"> {headline(metrics)}")


def metrics_table(metrics: Mapping[str, Any]) -> TextTable:
    """Every metric with its interval and its meaning."""
    rows = ((number.name, number.value, number.interval, number.meaning) for number in all_numbers(metrics))
    return _text_table(rows, ["metric", "value", "95\xa0%\xa0interval", "meaning"])


def baselines_table(metrics: Mapping[str, Any]) -> TextTable:
    """The detector beside answers that look at no video."""
    rows = ((line.name, line.accuracy, line.balanced_accuracy, line.auc, line.log_loss) for line in baselines(metrics))
    return _text_table(rows, ["answer", "accuracy", "balanced accuracy", "AUC", "log loss"])


def plot_called(report: Path, dataset: FaceDataset, *, most: int = 10) -> Figure:
    """A crop of each video of a report, the most FAKE first, with the truth and the score."""
    predictions = read_predictions(report / "predictions.csv").dropna(subset=["fake_probability"])
    scores = predictions.set_index("video")["fake_probability"].sort_values(ascending=False)
    main = {row.video: row for row in dataset.rows if row.track == 0}
    shown = [main[video] for video in scores.index if video in main][:most]
    titles = [f"{'FAKE' if row.is_fake else 'REAL'} {scores[row.video]:.2f}" for row in shown]
    return plot_contact_sheet(_middle_crops(dataset, shown), titles=titles)


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
    return _text_table(rows, ["input", "verdict", "fake\xa0probability", "people", "reason", "detail"])


def plot_verdict(verdict: Verdict, extraction: Extraction) -> Figure:
    """The crops that a verdict rests on, person by person in the order of time, with the score of each if known."""
    pictures = [picture for clip in extraction.clips for picture in clip.pictures]
    titles = [
        (f"person {number}, " if len(verdict.tracks) > 1 else "")
        + f"{frame.time_seconds:.1f} s"
        + ("" if frame.fake_probability is None else f": {frame.fake_probability:.2f}")
        for number, track in enumerate(verdict.tracks, start=1)
        for frame in track.frames
    ]
    return plot_contact_sheet(pictures, titles=titles)


def staged_table(staged: StagedDataset) -> TextTable:
    """What lies ready, in words and numbers."""
    facts = {
        "folder": staged.folder.as_posix(),
        "clips": staged.clips,
        "files": staged.files,
        "size": f"{staged.size_bytes / 1e6:.0f} MB",
        "private": "yes" if staged.metadata["isPrivate"] else "no",
        "licence": staged.metadata["licenses"][0]["name"],
        **{name: staged.metadata[name] for name in ("id", "title", "description")},
    }
    return _facts(facts, "value")


def commands_table(staged: StagedDataset) -> TextTable:
    """The commands that would send it, and what each is for."""
    rows = [
        ("make the dataset", staged.create_command),
        ("ask whether it is ready", staged.status_command),
        ("send a new version", staged.version_command),
    ]
    return _text_table(rows, ["to", "command"])


def _setting_rows(settings: Settings, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """A group of settings is one row while it is as the package has it, else a row a setting."""
    for name, field in type(settings).model_fields.items():
        value, meaning = getattr(settings, name), " ".join((field.description or "").replace("`", "").split())
        if not isinstance(value, Settings):
            yield f"{prefix}{name}", str(value), meaning
        elif value == type(value)():
            yield f"{prefix}{name}", "defaults", meaning
        else:
            yield from _setting_rows(value, f"{prefix}{name}.")


def _facts(facts: Mapping[str, object], column: str) -> TextTable:
    return TextTable({column: list(facts.values())}, index=list(facts), dtype=object)


def _text_table(rows: Iterable[tuple[object, ...]], columns: Sequence[str]) -> TextTable:
    """The first column names the rows, its heading in one line with the others."""
    table = TextTable(list(rows), columns=list(columns)).set_index(columns[0])
    return table.rename_axis(index=None, columns=columns[0])


def _counted(videos: pd.DataFrame, by: str) -> pd.DataFrame:
    videos = videos.assign(real=~videos["is_fake"].astype(bool))
    counts = videos.groupby(by).agg(
        groups=("group", "nunique"), videos=("group", "size"), REAL=("real", "sum"), FAKE=("is_fake", "sum")
    )
    return counts.astype(int).rename_axis(index=None, columns=by)


def _middle_crops(dataset: FaceDataset, rows: Sequence[ClipRow]) -> list[Any]:
    return [dataset.load_clip(row)[row.frames // 2] for row in rows]
