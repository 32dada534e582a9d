"""The data card of a face dataset, and what was checked before anybody else gets to see it."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from dfutils.errors import PublishError
from dfutils.extraction.dataset import FaceDataset

USED_AT_TOP = {"manifest.csv", "frames.csv", "skipped.csv", "extraction.json"}


def data_card(dataset: FaceDataset, *, about: str = "") -> str:
    """What a stranger has to know of a face dataset, in Markdown, from its own tables.

    Args:
        dataset: The dataset.
        about: Opens the card.
    """
    settings, rows = dataset.settings, dataset.rows
    fakes, groups = sum(row.is_fake for row in rows), len({row.group for row in rows})
    crop = f"{settings.size} × {settings.size} pixels, {settings.image_format.upper()}"
    skipped = Counter(row["reason"] for row in dataset.skipped)
    reasons = ", ".join(f"{count} `{reason}`" for reason, count in sorted(skipped.items())) or "none"
    parts = [
        about,
        f"**What it is.** {sum(row.frames for row in rows):,} face crops of {len(rows):,} clips: "
        f"{len(rows) - fakes:,} REAL and {fakes:,} FAKE, from {groups:,} groups of videos that share a source. "
        f"Up to {settings.frames} crops a clip, {crop}, cut around the face that YuNet found, with a margin of "
        f"{settings.margin:g}.",
        "**Data sets:** " + ", ".join(f"{name} ({count:,} clips)" for name, count in _datasets(dataset)) + ".",
        f"**How frames were chosen:** {settings.sampling} sampling. **Videos that gave no clip:** {reasons}; "
        "`skipped.csv` names them.",
        "**Tables.** `manifest.csv` has a row a clip (label, group, source file and its checksum), `frames.csv` one a "
        "crop (time, motion, boxes, landmarks), `extraction.json` every setting.",
        "**How to use it.** Split by `group`, never by clip: whatever shares a source gives the answer away. With "
        '`keras.utils.image_dataset_from_directory` pass `class_names=["real", "fake"]`, or fake becomes 0.',
        "**What it is not for.** Judging a person. A detector trained on these forgeries misses others.",
        "**Terms.** The terms of the source videos apply to the crops; faces belong to the people they show.",
    ]
    return "\n\n".join(part for part in parts if part)


def _datasets(dataset: FaceDataset) -> list[tuple[str, int]]:
    return sorted(Counter(row.dataset for row in dataset.rows).items())


def check_integrity(dataset: FaceDataset) -> dict[str, str]:
    """Open every crop and look for what would embarrass a publisher.

    Returns:
        Each check, and what it found.

    Raises:
        DatasetError: A crop is missing, unreadable or of another size.
        PublishError: The same crop is both REAL and FAKE.
    """
    labels: dict[str, bool] = {}
    again = 0
    for row in dataset.rows:
        dataset.load_clip(row)
        for file in dict.fromkeys(dataset.files[row.clip_id]):
            digest = hashlib.sha256((dataset.folder / file).read_bytes()).hexdigest()
            if labels.setdefault(digest, row.is_fake) is not row.is_fake:
                raise PublishError(f"{dataset.folder / file}: the same image is also there with the other label.")
            again += 1
    named = {file for files in dataset.files.values() for file in files}
    surplus, twice = _surplus(dataset.folder, named), again - len(labels)
    mixed = {row.group for row in dataset.rows if row.is_fake} & {row.group for row in dataset.rows if not row.is_fake}
    return {
        "tables agree": f"{len(dataset.rows):,} clips, {len(named):,} crops",
        "crops that open and have the right size": f"{len(named):,} of {len(named):,}",
        "crops that are REAL and FAKE at once": "none",
        "crops that are there twice (short tracks repeat theirs)": str(twice or "none"),
        "groups with REAL and FAKE": f"{len(mixed):,} of {len({row.group for row in dataset.rows}):,}",
        "files that no table names, and that stay here": str(len(surplus) or "none"),
    }


def _surplus(folder: Path, named: set[str]) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    names = (path.relative_to(folder).as_posix() for path in files)
    return sorted(name for name in names if name not in named and name not in USED_AT_TOP)
