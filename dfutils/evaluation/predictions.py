"""The table of predictions that evaluation works on: one row per video with its label and its score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dfutils.errors import DatasetError, ReportError
from dfutils.files import COPY_OR_REPEAT, replacing
from dfutils.statistics.estimates import BoolArray, FloatArray

PREDICTION_COLUMNS = ("video", "dataset", "group", "is_fake", "fake_probability")


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Labels, scores and groups of the videos that have a score.

    Attributes:
        is_fake: ``(N,)`` bool.
        fake_probability: ``(N,)`` float64, 0..1.
        groups: ``(N,)`` names.
    """

    is_fake: BoolArray
    fake_probability: FloatArray
    groups: npt.NDArray[np.str_]

    @classmethod
    def of(cls, predictions: pd.DataFrame) -> Scores:
        """Check ``predictions`` and take the rows whose ``fake_probability`` is not NaN."""
        rows = check_predictions(predictions).dropna(subset=["fake_probability"])
        if rows.empty:
            raise ReportError("predictions: no video has a score. See the skipped videos for the reasons.")
        return cls(rows["is_fake"].to_numpy(), rows["fake_probability"].to_numpy(), rows["group"].to_numpy())

    @property
    def has_both_classes(self) -> bool:
        """Whether there are both REAL and FAKE videos."""
        return bool(self.is_fake.any() and not self.is_fake.all())


def check_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with plain column types: names as text, ``is_fake`` bool, ``fake_probability`` float64.

    Raises:
        ReportError: A column is missing, a video is listed twice, or a score is not in 0..1.
    """
    missing = [name for name in PREDICTION_COLUMNS if name not in predictions]
    if missing:
        raise ReportError(f"predictions: column {missing[0]!r} is missing. The table has: {list(predictions.columns)}.")
    if predictions.empty:
        raise ReportError("predictions: the table is empty. Is the split empty?")
    rows = predictions.reset_index(drop=True)
    _refuse_rows(rows[["video", "dataset", "group", "is_fake"]].isna().any(axis=1), rows, "a name or label is missing")
    rows = rows.assign(**{name: rows[name].astype(str).astype(object) for name in ("video", "dataset", "group")})
    _refuse_rows(~rows["is_fake"].isin([True, False]), rows, "is_fake is neither True nor False")
    rows["fake_probability"] = (
        pd.to_numeric(rows["fake_probability"], errors="coerce")
        .astype(float)
        .where(rows["fake_probability"].notna(), np.nan)
    )
    impossible = predictions["fake_probability"].notna().to_numpy() & ~rows["fake_probability"].between(0, 1)
    _refuse_rows(impossible, rows, "fake_probability is not in 0..1")
    if "label" in rows:
        wrong = ~rows["label"].isin(["REAL", "FAKE", "UNDECIDED"])
        _refuse_rows(wrong, rows, "label, the detector's answer, is not REAL, FAKE or UNDECIDED")
    _refuse_rows(rows.duplicated(["dataset", "video"]), rows, "it is listed twice; keep one row per video")
    return rows.assign(is_fake=rows["is_fake"].astype(bool))


def answers_of(predictions: pd.DataFrame, *, threshold: float) -> npt.NDArray[np.str_]:
    """Return REAL, FAKE or UNDECIDED ``(N,)``: the column ``label``, or, without it, what ``threshold`` says."""
    if "label" in predictions:
        return predictions["label"].to_numpy(str)
    probability = predictions["fake_probability"].to_numpy(float)
    called = np.where(probability >= threshold, "FAKE", "REAL")
    return np.where(np.isnan(probability), "UNDECIDED", called)


def _refuse_rows(wrong: pd.Series, rows: pd.DataFrame, problem: str) -> None:
    if count := int(wrong.sum()):
        first, noun = rows["video"][wrong].iloc[0], "row" if count == 1 else "rows"
        raise ReportError(f"predictions: {first}: {problem} ({count} {noun}). Correct the table.")


def write_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write all columns of ``predictions`` atomically, `PREDICTION_COLUMNS` first; floats keep all their digits."""
    others = [name for name in predictions if name not in PREDICTION_COLUMNS]
    with replacing(path) as temporary:
        predictions[[*PREDICTION_COLUMNS, *others]].to_csv(temporary, index=False, lineterminator="\n")


def read_predictions(path: Path) -> pd.DataFrame:
    """Read what `write_predictions` wrote, exactly; a video called ``NA`` or ``007`` keeps its name.

    Raises:
        DatasetError: The file is missing or is not a CSV.
        ReportError: It does not hold predictions.
    """
    try:
        names = ("video", "dataset", "group", "fake_probability")
        rows = pd.read_csv(path, dtype=dict.fromkeys(names, str), keep_default_na=False)
        if "fake_probability" in rows:  # pandas' own parser is not exact in every version
            rows["fake_probability"] = [float(text or "nan") for text in rows["fake_probability"]]
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). {COPY_OR_REPEAT}") from error
    except ValueError as error:
        raise DatasetError(f"{path}: is not a table of predictions ({error}). Make the report again.") from error
    return check_predictions(rows)
