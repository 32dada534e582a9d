"""Descriptions for Kaggle's pages, made from the files themselves, and the last check of a face dataset."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfutils.errors import PublishError
from dfutils.extraction.dataset import FaceDataset
from dfutils.settings import DEFAULT_BACKBONE

TABLES = ("manifest.csv", "frames.csv", "skipped.csv", "extraction.json")

HEAD_SENTENCES = {
    "inception_mean": "A linear head scores each crop by itself; the video's score is their mean, in any order.",
    "inception_gru": "A recurrent head (GRU) reads them in order.",
    "inception_lstm_gru": "A recurrent head of two layers (LSTM, then GRU) reads them in order.",
}
FEATURE_WORDS = {"InceptionV3Blocks": "InceptionV3 features (means of all blocks)"}
SAMPLING_WORDS = {
    "motion": "the frames that move most",
    "uniform": "evenly spaced frames",
    "first": "the first frames",
}


def data_card(dataset: FaceDataset, *, about: str = "") -> str:
    """Describe a face dataset from its own tables, in Markdown; ``about`` opens the card."""
    settings, rows = dataset.settings, dataset.rows
    fakes, groups = sum(row.is_fake for row in rows), len({row.group for row in rows})
    datasets = sorted(Counter(row.dataset for row in rows).items())
    skipped = Counter(row["reason"] for row in dataset.skipped)
    reasons = ", ".join(f"{count} `{reason}`" for reason, count in sorted(skipped.items())) or "none"
    parts = [
        about,
        f"**What it is.** {sum(row.frames for row in rows):,} face crops in {len(rows):,} clips: "
        f"{len(rows) - fakes:,} REAL and {fakes:,} FAKE, from {groups:,} groups of videos that share a source. "
        f"Each clip has up to {settings.frames} crops, {settings.size} × {settings.size} pixels, "
        f"{settings.image_format.upper()}, cut around the face that YuNet found, with a margin of {settings.margin:g}.",
        "**Data sets:** " + ", ".join(f"{name} ({count:,} clips)" for name, count in datasets) + ".",
        f"**How frames were chosen:** {settings.sampling} sampling. **Videos without a clip:** {reasons}; "
        "`skipped.csv` names them.",
        "**Tables.** `manifest.csv` has one row per clip (label, group, source file and its checksum), `frames.csv` "
        "one per crop (time, motion, boxes, landmarks); `extraction.json` has every setting.",
        "**How to use it.** Split by `group`, never by clip: clips that share a source give the answer away. With "
        '`keras.utils.image_dataset_from_directory` pass `class_names=["real", "fake"]`, or fake becomes 0.',
        "**What it is not for.** Judging a person. A detector trained on these forgeries misses others.",
        "**Terms.** The terms of the source videos apply to the crops; faces belong to the people they show.",
    ]
    return "\n\n".join(part for part in parts if part)


def network_text(run: Path, detector: Mapping[str, Any]) -> str:
    """Say in two sentences what the detector of a run folder sees and how it computes its score.

    Raises:
        PublishError: Its head or sampling is unknown.
    """
    try:
        crops = detector["extraction"]["frames"]
        sampling = SAMPLING_WORDS[detector["extraction"]["sampling"]]
        head = HEAD_SENTENCES[detector["model"]]
    except (KeyError, TypeError) as error:
        raise PublishError(
            f"{run / 'detector.json'}: {error} is missing or unknown. "
            "Send it with the version of dfutils that made it, or train it again."
        ) from error
    name = detector.get("backbone", DEFAULT_BACKBONE)
    return f"{FEATURE_WORDS.get(name, f'{name} features')} of {crops} face crops from {sampling}. {head}"


def check_integrity(dataset: FaceDataset) -> dict[str, str]:
    """Open every crop and look for what would embarrass a publisher.

    Returns:
        The result of each check, by its name.

    Raises:
        DatasetError: A crop is missing, unreadable or of another size.
        PublishError: The same crop is both REAL and FAKE.
    """
    labels: dict[str, bool] = {}
    crops = 0
    for row in dataset.rows:
        dataset.load_clip(row)
        for file in dict.fromkeys(dataset.files[row.clip_id]):
            digest = hashlib.sha256((dataset.folder / file).read_bytes()).hexdigest()
            if labels.setdefault(digest, row.is_fake) is not row.is_fake:
                raise PublishError(f"{dataset.folder / file}: the same image also has the other label. Correct one.")
            crops += 1
    named = {file for files in dataset.files.values() for file in files}
    visible = (path for path in dataset.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    surplus = {path.relative_to(dataset.folder).as_posix() for path in visible} - named - set(TABLES)
    groups = {is_fake: {row.group for row in dataset.rows if row.is_fake is is_fake} for is_fake in (False, True)}
    return {
        "tables agree": f"{len(dataset.rows):,} clips, {len(named):,} crops",
        "crops that open and have the right size": f"{len(named):,} of {len(named):,}",
        "crops that are both REAL and FAKE": "none",
        "duplicate crops (short tracks repeat theirs)": str(crops - len(labels) or "none"),
        "groups with REAL and FAKE": f"{len(groups[False] & groups[True]):,} of {len(groups[False] | groups[True]):,}",
        "files that no table names and that are not sent": str(len(surplus) or "none"),
    }
