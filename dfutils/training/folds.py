"""Grouped cross-validation: a run folder a fold, and their ensemble as a detector."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dfutils
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv, read_json, sha256_of, write_csv, write_json
from dfutils.records import ClipRow, Label
from dfutils.runs.folder import BELIEVED_OF_FOLDS, PREDICTION_COLUMNS, checksums, members_checksum
from dfutils.runs.record import DetectorRecord, MemberRecord
from dfutils.runs.thresholds import mean_decision
from dfutils.settings import TrainingSettings
from dfutils.training.run import train, training_rows
from dfutils.training.run_folder import is_finished
from dfutils.training.splits import fold_videos, group_videos

logger = logging.getLogger(__name__)

OUT_OF_FOLD_COLUMNS = (
    *("clip_id", "video", "group", "fold", "is_fake", "raw_probability", "fake_probability", "label", "sha256"),
)
"""Of an ensemble's ``predictions.csv``: a row a clip, scored by the one member that was not trained on its group."""


def train_folds(
    faces: Path,
    run: Path,
    *,
    settings: TrainingSettings,
    folds: int,
    progress: bool = True,
) -> DetectorRecord:
    """Train a detector a fold and write their ensemble: `dfutils.prediction.detector.load_detector` takes ``run``.

    Every group is in the test split of exactly one fold, measured by `dfutils.evaluation.out_of_fold.summarise_folds`.
    What is finished is left alone, so that the same call goes on where it was interrupted.

    Args:
        faces: A face dataset folder; official splits are ignored.
        run: Gets ``fold-0`` and so on, each an ordinary run folder, ``predictions.csv`` with `OUT_OF_FOLD_COLUMNS`,
            ``detector.json`` and ``settings.json``; ``run.json``, last, says that all is there.
        settings: Of every fold. ``settings.split`` deals the folds, but for its test fraction, which is 1 / k. A time
            budget is that of all folds together.
        folds: k, at least 2.
        progress: Show bars on a terminal.

    Returns:
        The ensemble's settings.

    Raises:
        RunError: ``run`` or one of its folds is finished with other settings or data, or the time budget is used up.
        SplitError: There are too few groups of each label.
        ValueError: ``folds`` is below 2.
    """
    started = time.monotonic()
    rows = training_rows(read_face_dataset(faces))
    split = settings.split
    plan = fold_videos(rows, folds=folds, seed=split.seed, validation_fraction=split.validation_fraction)
    identity = {
        "settings": settings.identity(),
        "dataset": sha256_of(faces / "manifest.csv"),
        "folds": folds,
    }
    if is_finished(run, identity):
        logger.info("%s: is finished already", run)
        return DetectorRecord.read(run / "detector.json")
    if any(row.split for row in rows):
        logger.warning("official splits are not used: every video is tested in one fold and trained on in others")
    members = []
    for fold, assignment in enumerate(plan):
        logger.info("Fold %d of %d", fold + 1, folds)
        folder = run / _name(fold)
        members.append(
            train(
                faces,
                folder,
                settings=settings,
                assignment=assignment,
                since=started,
                progress=progress,
            )
        )
    settings.write(run / "settings.json")
    write_csv(run / "predictions.csv", OUT_OF_FOLD_COLUMNS, _out_of_fold(run, rows, members))
    detector = _ensemble(run, members)
    detector.write(run / "detector.json")
    write_json(run / "run.json", _about(run, identity, folds))
    return detector


def _name(fold: int) -> str:
    return f"fold-{fold}"


def _out_of_fold(run: Path, rows: Sequence[ClipRow], members: Sequence[DetectorRecord]) -> Iterator[dict[str, str]]:
    """Test clips of every fold, called at the operating point of that fold's member."""
    groups = {video: group.name for group in group_videos(rows) for video in group.videos}
    files = {row.video: row.sha256 for row in rows}
    for fold, member in enumerate(members):
        for row in read_csv(run / _name(fold) / "predictions.csv", PREDICTION_COLUMNS):
            if row.pop("split") == "test":
                called_fake = float(row["fake_probability"]) >= member.threshold
                label = Label.FAKE if called_fake else Label.REAL
                found = {"group": groups[row["video"]], "fold": str(fold), "label": str(label)}
                yield {**row, **found, "sha256": files[row["video"]]}


def _ensemble(run: Path, members: Sequence[DetectorRecord]) -> DetectorRecord:
    """Settings of the mean of the members' calibrated logits.

    No video is left that none of them was trained on, so nothing can be fitted to the mean itself. Each member has its
    temperature and threshold from its own validation part. The mean of the thresholds, as logits, is the point where
    the members' distances to their own thresholds cancel out. The out-of-fold predictions would be no better: they are
    of single members, which spread wider than their mean, and one threshold for all would compare different models.
    """
    names = [_name(fold) for fold in range(len(members))]
    known = tuple(MemberRecord(folder=name, sha256=sha256_of(run / name / "detector.json")) for name in names)
    checksum = members_checksum(known)
    backbones = {member.backbone_checksum for member in members}
    return members[0].model_copy(
        update={
            "name": f"{members[0].name}_of_{len(members)}_folds",
            "version": dfutils.__version__,
            "backbone_checksum": backbones.pop() if len(backbones) == 1 else checksum,
            "weights_sha256": checksum,
            **mean_decision(members),
            "members": known,
        }
    )


def _about(run: Path, identity: dict[str, Any], folds: int) -> dict[str, Any]:
    """What ``run.json`` says: as the members', without what is of one fold only."""
    members = [read_json(run / _name(fold) / "run.json") for fold in range(folds)]
    shared = {name: members[0][name] for name in ("clips", "groups", "backbone", "versions", "commit")}
    seconds = round(sum(member["seconds"] for member in members), 1)
    return {"identity": identity, **shared, "seconds": seconds, "files": checksums(run, BELIEVED_OF_FOLDS)}
