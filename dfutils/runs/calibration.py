"""Refit calibration and thresholds of a finished run, on clips that it was not trained on."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.errors import RunError
from dfutils.files import read_csv, sha256_of, write_csv
from dfutils.runs.folder import CHECKSUMMED_OF_FOLDS, PREDICTION_COLUMNS, RunFolder, members_checksum
from dfutils.runs.identity import RunIdentity
from dfutils.runs.probabilities import Floats, calibrated_logits, sigmoid
from dfutils.runs.record import RULE_FORMS, RULE_PATTERN, CalibrationMethod, DetectorRecord
from dfutils.runs.thresholds import (
    MAX_FALSE_NEGATIVE_RATE,
    MAX_FALSE_POSITIVE_RATE,
    HeldOutScores,
    fit_decision,
    mean_decision,
)
from dfutils.statistics.conformal import fewest_groups
from dfutils.statistics.formatting import rate_text

logger = logging.getLogger(__name__)


def recalibrate(
    run: Path,
    *,
    method: CalibrationMethod = "platt",
    rule: str = "balanced_accuracy",
    max_false_positive_rate: float = MAX_FALSE_POSITIVE_RATE,
    max_false_negative_rate: float = MAX_FALSE_NEGATIVE_RATE,
    min_face_pixels: int | None = None,
    out_of_fold: Path | None = None,
) -> DetectorRecord:
    """Refit calibration and thresholds of a finished run and freeze them in ``detector.json``.

    The weights stay as they are; ``fake_probability`` in ``predictions.csv`` follows. The fit uses the run's validation
    split. In an ensemble every member is fitted on its own, and the ensemble takes their means.

    If the validation split is small, all clips of the dataset can be used instead: cross-validation with the same
    settings and data has scored each clip with a network that was not trained on it (Platt 1999). Those networks were
    trained on less data than this one, which is therefore a little better than their scores suggest.

    A rate that cannot be guaranteed is a warning of the log, and the thresholds are as strict as the clips allow.

    Args:
        run: A finished run folder.
        method: ``platt`` or ``isotonic``.
        rule: The operating point, as `dfutils.runs.record.OperatingPoint.rule`.
        max_false_positive_rate: Share of REAL videos of new groups that may be called FAKE. A lower one makes more
            videos UNDECIDED; with n groups no share below 1 / (n + 1) can be promised.
        max_false_negative_rate: The same for FAKE videos that are called REAL.
        min_face_pixels: People with smaller faces do not decide; None leaves the limit unchanged. It does not affect
            which clips are used for the fit.
        out_of_fold: A finished run with folds that has the settings, data and starting weights of ``run``. If those
            weights come from another run, it must not have been trained on these clips; this is not checked here. Not
            for an ensemble.

    Raises:
        RunError: A folder is incomplete or altered, or a detector without its scores; the clips for the fit lack a
            class; ``out_of_fold`` has other settings or data; or a rate or rule does not exist.
        DfutilsError: A value is invalid.
    """
    for name, rate in (("max-fpr", max_false_positive_rate), ("max-fnr", max_false_negative_rate)):
        if not 0 < rate < 1:
            raise RunError(f"--{name}: must be above 0 and below 1, such as 0.05. Received: {rate:g}")
    if not re.fullmatch(RULE_PATTERN, rule):
        raise RunError(f"operating point {rule!r}: there is no such rule. Give {RULE_FORMS}.")
    folder = RunFolder(run)
    detector = folder.detector()
    if folder.is_packed:
        raise RunError(
            f"{run}: cannot be calibrated anew, since detectors of the package or the Hub come without their "
            "validation scores. Apply a threshold of your own to fake_probability, use `dfutils predict --prior`, or "
            "train a run."
        )
    if folder.about_file.is_file():  # never sign an altered run
        folder.about()
    if min_face_pixels is not None:
        detector = _updated(detector, {"min_face_pixels": min_face_pixels})
    fit = functools.partial(
        fit_decision,
        method=method,
        rule=rule,
        max_false_positive_rate=max_false_positive_rate,
        max_false_negative_rate=max_false_negative_rate,
    )
    if not detector.members:
        detector = _recalibrate_one(folder, detector, fit, None if out_of_fold is None else RunFolder(out_of_fold))
        for sentence in missed_rates(detector):
            logger.warning("%s", sentence)
        return detector
    if out_of_fold is not None:
        raise RunError(f"{run}: is an ensemble, whose members have a validation split each. Omit --out-of-fold.")
    # The list makes sure that all members are checked before the first is changed.
    members = [_recalibrate_one(own, record, fit) for own, record in list(folder.members(detector))]
    known = tuple(
        member.model_copy(update={"sha256": sha256_of(RunFolder(run / member.folder).detector_file)})
        for member in detector.members
    )
    update = {"operating_point": rule, "members": known, "weights_sha256": members_checksum(known)}
    detector = _updated(detector, {**mean_decision(members), **update})
    rows = read_csv(folder.predictions_file, ("fold", "raw_probability", "fake_probability", "label"))
    for row in rows:
        member = members[int(row["fold"])]
        value = float(sigmoid(calibrated_logits(member, np.array([float(row["raw_probability"])])))[0])
        row["fake_probability"] = f"{value:.9g}"
        row["label"] = str(member.label(value))
        row["called_fake"] = str(value >= member.threshold).lower()
    write_csv(folder.predictions_file, tuple(rows[0]), rows)
    detector.write(folder.detector_file)
    folder.refresh_checksums(CHECKSUMMED_OF_FOLDS)
    logger.warning(
        "--max-fpr %g and --max-fnr %g cannot be guaranteed for an ensemble, and no bound can be given: its thresholds "
        "are means over its members, and no clip is left to check them on, since every clip was used to train some "
        "member. Measure it on new people with `dfutils evaluate`.",
        max_false_positive_rate,
        max_false_negative_rate,
    )
    return detector


def missed_rates(detector: DetectorRecord) -> list[str]:
    """Say which of the wanted error rates cannot be guaranteed, since the thresholds were fitted on too few groups."""
    if (costs := detector.answer_costs) is None:
        return []
    limits = (
        ("--max-fpr", costs.max_false_positive_rate, costs.false_positive_bound, "REAL", costs.real_groups),
        ("--max-fnr", costs.max_false_negative_rate, costs.false_negative_bound, "FAKE", costs.fake_groups),
    )
    return [
        f"{option} {wanted:g} cannot be guaranteed: that takes {fewest_groups(wanted)} groups with {label} videos, and "
        f"the thresholds were fitted on {groups} ({detector.fitted_in_words}); the bound is {rate_text(bound)}."
        for option, wanted, bound, label, groups in limits
        if bound > wanted
    ]


def _recalibrate_one(
    run: RunFolder,
    detector: DetectorRecord,
    fit: Callable[[HeldOutScores], dict[str, Any]],
    folds: RunFolder | None = None,
) -> DetectorRecord:
    if detector.views:
        raise RunError(
            f"{run}: its verdicts are means over views of the crops, and the saved scores are not. "
            "Remove views from its detector.json first, or train it again."
        )
    predictions = read_csv(run.predictions_file, PREDICTION_COLUMNS)
    if folds is None:
        groups = {row["video"]: row["group"] for row in read_csv(run.splits_file, ("video", "group"))}
        rows = [{"group": groups[row["video"]], **row} for row in predictions if row["split"] == "validation"]
    else:
        rows = _read_out_of_fold(run, folds)
    is_fake = np.array([row["is_fake"] == "true" for row in rows], dtype=bool)
    if not (is_fake.any() and (~is_fake).any()):
        raise RunError(
            f"{folds or run}: calibration needs scores of REAL and FAKE clips that were not trained on, but one label "
            "or both are missing. Train with both in the validation split, or name a run with folds (--out-of-fold)."
        )
    scores = HeldOutScores(is_fake, _raw_scores(rows), np.array([row["group"] for row in rows]))
    update = {"fitted_on": "validation" if folds is None else "out_of_fold", **fit(scores)}
    changed = _updated(detector, update)
    for row, value in zip(predictions, sigmoid(calibrated_logits(changed, _raw_scores(predictions))), strict=True):
        row["fake_probability"] = f"{value:.9g}"
    write_csv(run.predictions_file, PREDICTION_COLUMNS, predictions)
    changed.write(run.detector_file)
    run.refresh_checksums([run.detector_file.name])
    return changed


def _read_out_of_fold(run: RunFolder, folds: RunFolder) -> list[dict[str, str]]:
    """Return the predictions of folds, after checking that they were trained like ``run``."""
    about, about_folds = run.about(), folds.about()
    ours = RunIdentity.parse(about["identity"], source=str(run.about_file))
    theirs = RunIdentity.parse(about_folds["identity"], source=str(folds.about_file))
    if theirs.folds is None:
        raise RunError(f"{folds}: is not a run with folds. Make one with `dfutils train FACES --out FOLDS --folds 5`.")
    if ours.dataset != theirs.dataset:
        raise RunError(f"{folds}: was trained on other data than {run}. Train folds on the same face dataset.")
    # The splits have to differ, and starting weights are compared by checksum, not by path.
    names = [name for name in type(ours.settings).model_fields if name not in ("split", "init_from")]
    different = [name for name in names if getattr(ours.settings, name) != getattr(theirs.settings, name)]
    if about["backbone"]["checksum"] != about_folds["backbone"]["checksum"]:
        different.append("the starting weights")
    if different:
        raise RunError(
            f"{folds}: was trained with other settings than {run} ({', '.join(different)}). Train folds with the same."
        )
    return read_csv(folds.predictions_file, ("is_fake", "raw_probability", "group"))


def _raw_scores(rows: Sequence[Mapping[str, str]]) -> Floats:
    return np.array([float(row["raw_probability"]) for row in rows])


def _updated(detector: DetectorRecord, update: dict[str, Any]) -> DetectorRecord:
    """Return an updated copy that is validated, unlike that of `model_copy`."""
    return DetectorRecord.parse({**detector.model_dump(), **update}, source="decision")
