"""Grouped cross-validation: one run folder per fold, and their ensemble as a detector."""

from __future__ import annotations

import functools
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dfutils
from dfutils.errors import RunError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.work import connected_cluster
from dfutils.files import read_csv, read_json, refuse_other_content, sha256_of, write_csv, write_json
from dfutils.records import ClipRow, SplitName
from dfutils.runs.folder import CHECKSUMMED_OF_FOLDS, PREDICTION_COLUMNS, RunFolder, members_checksum
from dfutils.runs.identity import RunIdentity, is_finished
from dfutils.runs.record import DetectorRecord, MemberRecord
from dfutils.runs.thresholds import mean_decision
from dfutils.settings import TrainingSettings
from dfutils.training.families import family_of
from dfutils.training.fold_process import train_in_process
from dfutils.training.run import train, training_rows
from dfutils.training.splits import fold_videos, group_videos, read_splits

logger = logging.getLogger(__name__)

OUT_OF_FOLD_COLUMNS = (
    *("clip_id", "video", "group", "fold", "is_fake", "raw_probability", "fake_probability"),
    *("label", "called_fake", "sha256"),
)
"""Columns of an ensemble's ``predictions.csv``: one row per clip, scored by the member that was not trained on its
group. ``label`` is that member's answer, ``called_fake`` whether its two-class threshold is reached."""


def train_folds(
    faces: Path,
    run: Path,
    *,
    settings: TrainingSettings,
    folds: int,
    scheduler: str = "",
    progress: bool = True,
) -> DetectorRecord:
    """Train one detector per fold and write their ensemble, which `dfutils.prediction.detector.load_detector` loads.

    Every group is in the test split of exactly one fold, measured by `dfutils.evaluation.out_of_fold.summarise_folds`.
    Finished folds are left alone, so that the same call continues after an interruption, and joins folds that
    `train_fold` trained elsewhere.

    Args:
        faces: A face dataset folder; official splits are ignored.
        run: The folder to write: ``fold-0`` and so on, each an ordinary run folder, ``predictions.csv`` with
            `OUT_OF_FOLD_COLUMNS`, ``detector.json``, ``settings.json`` and, last, ``run.json``.
        settings: Settings of every fold. ``settings.split`` assigns the folds, but the test fraction is 1 / k. A time
            budget covers all folds together; on a cluster, each of them.
        folds: k, at least 2.
        scheduler: Address of a Dask scheduler whose workers train one fold each; they must see ``faces`` and ``run``
            under the same paths.
        progress: Show bars on a terminal.

    Returns:
        The ensemble's settings.

    Raises:
        RunError: ``run`` or one of its folds is finished with other settings or data, or the time budget is used up.
        SplitError: There are too few groups of each label.
        ValueError: ``folds`` is below 2.
    """
    started = time.monotonic()
    family_of(settings.backbone)
    rows = training_rows(read_face_dataset(faces))
    folder = RunFolder(run)
    identity = RunIdentity(settings, dataset=sha256_of(faces / "manifest.csv"), folds=folds)
    if is_finished(folder, identity):
        logger.info("%s: is already finished", run)
        return folder.detector()
    if any(row.split for row in rows):
        logger.warning("official splits are not used: every video is tested in one fold and trained on in others")
    if scheduler:
        with connected_cluster(scheduler) as client:
            task = functools.partial(
                train_in_process, faces.absolute(), run.absolute(), settings=settings, folds=folds, folder=Path.cwd()
            )
            from distributed import KilledWorker

            try:
                client.gather([client.submit(task, fold=fold, pure=False) for fold in range(folds)])
            except KilledWorker as error:
                raise RunError(f"{run}: the cluster lost workers ({error}). Repeat the command to continue.") from error
    members = [
        train_fold(faces, run, settings=settings, folds=folds, fold=fold, since=started, progress=progress)
        for fold in range(folds)
    ]
    settings.write(folder.settings_file)
    write_csv(folder.predictions_file, OUT_OF_FOLD_COLUMNS, _out_of_fold(folder, rows, members))
    detector = _ensemble(folder, members)
    detector.write(folder.detector_file)
    # Keep what all members share, and add up their seconds.
    abouts = [read_json(folder.fold(fold).about_file) for fold in range(folds)]
    shared = {name: abouts[0][name] for name in ("clips", "groups", "backbone", "versions", "commit")}
    seconds = round(sum(about["seconds"] for about in abouts), 1)
    checksums = {"seconds": seconds, "files": folder.checksums(CHECKSUMMED_OF_FOLDS)}
    write_json(folder.about_file, {"identity": identity.document(), **shared, **checksums})
    return detector


def train_fold(
    faces: Path,
    run: Path,
    *,
    settings: TrainingSettings,
    folds: int,
    fold: int,
    since: float | None = None,
    progress: bool = True,
) -> DetectorRecord:
    """Train one fold of `train_folds`, on its own or as a part of it: the result is the same.

    Args:
        faces: As for `train_folds`.
        run: The folder of all folds; this one is written into ``fold-I``.
        settings: As for `train_folds`.
        folds: k, at least 2.
        fold: I, from 0 to k - 1.
        since: When the time budget began, by `time.monotonic`; by default now.
        progress: Show bars on a terminal.

    Returns:
        The settings of the fold's detector.

    Raises:
        RunError: ``run`` holds a fold with other settings or data or of another number of folds, or the time budget is
            used up.
        DatasetError: ``run`` holds something else than a run.
        SplitError: There are too few groups of each label.
        ValueError: ``folds`` is below 2, or ``fold`` is not one of them.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold: must be from 0 to {folds - 1}. Received: {fold}")
    refuse_other_content(run, "a run")
    rows, split = training_rows(read_face_dataset(faces)), settings.split
    plan = fold_videos(rows, folds=folds, seed=split.seed, validation_fraction=split.validation_fraction)
    identity = RunIdentity(settings, dataset=sha256_of(faces / "manifest.csv"), folds=folds)
    is_finished(RunFolder(run), identity)  # an error if the folds were joined with other settings or data
    _require_same_job(RunFolder(run), identity, plan)
    own = RunFolder(run).fold(fold).path
    logger.info("Fold %d of %d (%s)", fold, folds, own.name)
    return train(faces, own, settings=settings, assignment=plan[fold], since=since, progress=progress)


def _require_same_job(run: RunFolder, identity: RunIdentity, plan: Sequence[Mapping[str, SplitName]]) -> None:
    """Refuse to train a fold that could not be joined with those that are there, finished or not.

    Raises:
        RunError: One of them has other settings or data, or is one of another number of folds.
    """
    for path in sorted(run.path.glob("fold-*")):
        known, number = RunFolder(path), path.name.removeprefix("fold-")
        if not (number.isdecimal() and known.settings_file.is_file() and known.splits_file.is_file()):
            continue
        dataset, splits = identity.dataset, read_splits(known.splits_file)
        if known.about_file.is_file():
            dataset = read_json(known.about_file)["identity"]["dataset"]
        settings = RunIdentity(TrainingSettings.read(known.settings_file), dataset=dataset).settings
        names = TrainingSettings.model_fields
        if different := [name for name in names if getattr(settings, name) != getattr(identity.settings, name)]:
            what = f"other settings ({', '.join(different)})"
        elif dataset != identity.dataset or set(splits) != set(plan[0]):
            what = "other data"
        elif int(number) >= len(plan) or splits != plan[int(number)]:
            what = f"another number of folds than {len(plan)}"
        else:
            continue
        raise RunError(
            f"{run}: its {path.name} has {what}. Choose another --out, or repeat the command that started it."
        )


def _out_of_fold(
    run: RunFolder, rows: Sequence[ClipRow], members: Sequence[DetectorRecord]
) -> Iterator[dict[str, str]]:
    """Yield the test clips of every fold, with the answers of that fold's member."""
    groups = {video: group.name for group in group_videos(rows) for video in group.videos}
    files = {row.video: row.sha256 for row in rows}
    for fold, member in enumerate(members):
        for row in read_csv(run.fold(fold).predictions_file, PREDICTION_COLUMNS):
            if row.pop("split") == "test":
                probability = float(row["fake_probability"])
                yield {
                    **row,
                    "group": groups[row["video"]],
                    "fold": str(fold),
                    "label": str(member.label(probability)),
                    "called_fake": str(probability >= member.threshold).lower(),
                    "sha256": files[row["video"]],
                }


def _ensemble(run: RunFolder, members: Sequence[DetectorRecord]) -> DetectorRecord:
    """Return the record of the ensemble, which averages the members' calibrated logits.

    Every video was used to train some member, so nothing can be fitted to the mean itself. The calibration and
    thresholds of each member come from its own validation split. The mean of the thresholds, as logits, is the point
    where the members' distances to their own thresholds cancel out. Fitting on the out-of-fold predictions would be no
    better: they come from single members, whose scores spread wider than their mean, and one threshold for all would
    compare different models.
    """
    folders = [run.fold(fold) for fold in range(len(members))]
    if members[0].familiarity is not None:  # the folds share their clips, but for one part in each
        shutil.copyfile(folders[0].familiarity_file, run.familiarity_file)
    known = tuple(MemberRecord(folder=one.path.name, sha256=sha256_of(one.detector_file)) for one in folders)
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
