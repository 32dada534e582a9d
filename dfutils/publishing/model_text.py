"""What Kaggle's pages say of a detector, from its own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError
from dfutils.publishing.templates import read_document
from dfutils.runs.folder import RunFolder
from dfutils.settings import DEFAULT_BACKBONE

HEAD_SENTENCES = {
    "inception_mean": "A linear head scores each crop by itself, and their mean is the video's: order means nothing.",
    "inception_gru": "A recurrent head (GRU) reads them in order.",
    "inception_lstm_gru": "A recurrent head of two layers (LSTM, then GRU) reads them in order.",
}
SAMPLING_WORDS = {
    "motion": "the frames that move most",
    "uniform": "frames at even distances",
    "first": "the first frames",
}


def network_text(run: Path) -> str:
    """Two sentences of what the detector looks at and how it comes to its score.

    Raises:
        PublishError: ``detector.json`` names a head or sampling that is not known.
    """
    document = RunFolder(run).detector_file
    detector = read_document(document)
    try:
        extraction = detector["extraction"]
        crops, where = extraction["frames"], SAMPLING_WORDS[extraction["sampling"]]
        head = HEAD_SENTENCES[detector["model"]]
    except (KeyError, TypeError) as error:
        raise PublishError(
            f"{document}: says nothing that is known of {error}. "
            "Send it with the version of dfutils that made it, or train it again."
        ) from error
    return f"{detector.get('backbone', DEFAULT_BACKBONE)} features of {crops} face crops from {where}. {head}"


def described(
    run: Path, model: Mapping[str, Any], variation: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both metadata with the network, and the terms of the weights where the run folder has some.

    Raises:
        PublishError: ``detector.json`` names a head or sampling that is not known.
    """
    network, licence = network_text(run), run / "LICENSE"
    parts = [str(model["description"]), f"# Network\n\n{network}"]
    if licence.is_file():
        parts.append(f"# Terms of the weights\n\n{licence.read_text(encoding='utf-8').strip()}")
    return {**model, "description": "\n\n".join(parts)}, {**variation, "overview": network}
