"""Verdicts as a submission to the Deepfake Detection Challenge."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dfutils.files import write_csv
from dfutils.records import Verdict

UNDECIDED_PROBABILITY = 0.5
"""What the challenge's log loss punishes least where nothing is known."""
COLUMNS = ("filename", "label")


def write_submission(verdicts: Iterable[Verdict], path: Path, *, caution: float = 0.01) -> list[dict[str, str]]:
    """Write ``filename,label``, where the challenge's ``label`` is the probability of FAKE.

    Args:
        verdicts: On the challenge's test videos, whose folder does not matter.
        path: The CSV; on Kaggle ``submission.csv`` in the notebook's own folder.
        caution: Probabilities are kept this far from 0 and 1: one sure mistake would cost more log loss than a hundred
            sure hits gain.

    Returns:
        The rows, as they stand in the file.

    Raises:
        ValueError: ``caution`` is not in 0..0.5.
    """
    if not 0 <= caution < 0.5:
        raise ValueError(f"caution: must be at least 0 and below 0.5. Received: {caution}")
    rows = [
        {"filename": Path(verdict.input).name, "label": f"{_cautious(verdict.fake_probability, caution):.4f}"}
        for verdict in verdicts
    ]
    write_csv(path, COLUMNS, rows)
    return rows


def _cautious(probability: float | None, caution: float) -> float:
    return UNDECIDED_PROBABILITY if probability is None else min(max(probability, caution), 1 - caution)
