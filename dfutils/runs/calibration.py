"""A finished run decides anew: calibration, operating point and band fitted again on clips it was not trained on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.errors import RunError
from dfutils.files import read_csv, sha256_of, write_csv
from dfutils.records import Label
from dfutils.runs.folder import (
    BELIEVED_OF_FOLDS,
    PREDICTION_COLUMNS,
    members_checksum,
    read_about,
    read_detector,
    refresh_checksums,
)
from dfutils.runs.record import RULE_PATTERN, DetectorRecord
from dfutils.runs.thresholds import (
    STANDARD_RULES,
    Flags,
    Floats,
    calibrated_logits,
    choose_band,
    fit_isotonic,
    fit_temperature,
    mean_decision,
    operating_points,
    sigmoid,
)


def recalibrate(
    run: Path,
    *,
    method: str = "temperature",
    rule: str = "balanced_accuracy",
    undecided: tuple[float, float] | None = None,
    max_error: float | None = None,
    min_face_pixels: int | None = None,
    out_of_fold: Path | None = None,
) -> DetectorRecord:
    """Fit what surrounds a trained network again, on clips it was not trained on, and freeze it in ``detector.json``.

    The weights stay as they are; ``fake_probability`` in ``predictions.csv`` follows. Of an ensemble every member is
    fitted on its own validation split, and the ensemble takes their means.

    These are its validation split. Where that is small, folds of the same settings and data have scored every clip
    with a network that was not trained on it, and all of those scores can be fitted on instead (Platt 1999). They are
    of networks that saw less than this one, so that it is a little better than they promise.

    Args:
        run: A finished run folder.
        method: ``temperature`` or ``isotonic``.
        rule: The operating point, as `dfutils.runs.record.OperatingPoint.rule`.
        undecided: Band of calibrated probabilities that are UNDECIDED.
        max_error: Choose the narrowest band outside of which at most this share of these clips is wrong.
        min_face_pixels: People with smaller faces do not decide; None leaves it as it is. What is fitted is fitted on
            all clips, whatever their faces.
        out_of_fold: A finished run of folds with ``run``'s own settings, data and start. Where they started from a run,
            it must not have been trained on these clips: nobody can check that here. Not for an ensemble.

    Raises:
        RunError: A folder is incomplete or altered, the clips that are fitted on lack a class, ``out_of_fold`` is of
            other settings or data, or no band is good enough.
        DfutilsError: A value is impossible.
    """
    if not re.fullmatch(RULE_PATTERN, rule):
        raise RunError(f"operating point {rule!r}: there is no such rule. Choose one of {', '.join(STANDARD_RULES)}.")
    detector = read_detector(run)
    if (run / "run.json").is_file():  # an alteration must not be signed
        read_about(run)
    if min_face_pixels is not None:
        detector = _updated(detector, {"min_face_pixels": min_face_pixels})
    wanted = _Wanted(method, rule, undecided, max_error)
    if not detector.members:
        return _recalibrate_one(run, detector, wanted, out_of_fold=out_of_fold)
    if out_of_fold is not None:
        raise RunError(f"{run}: is an ensemble, whose members have a validation split each. Leave out-of-fold out.")
    members = []
    for known in detector.members:
        folder = run / known.folder
        if not (folder / "detector.json").is_file() or sha256_of(folder / "detector.json") != known.sha256:
            raise RunError(f"{folder / 'detector.json'}: is missing or was altered. Copy the run folder again, whole.")
        members.append(_recalibrate_one(folder, read_detector(folder), wanted))
    known_members = tuple(
        known.model_copy(update={"sha256": sha256_of(run / known.folder / "detector.json")})
        for known in detector.members
    )
    update = {
        **mean_decision(members),
        "operating_point": rule,
        "members": known_members,
        "weights_sha256": members_checksum(known_members),
    }
    detector = _updated(detector, update)
    _relabel_out_of_fold(run, members)
    detector.write(run / "detector.json")
    refresh_checksums(run, BELIEVED_OF_FOLDS)
    return detector


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be fitted, as `recalibrate` was asked."""

    method: str
    rule: str
    undecided: tuple[float, float] | None
    max_error: float | None


def _recalibrate_one(
    run: Path, detector: DetectorRecord, wanted: _Wanted, *, out_of_fold: Path | None = None
) -> DetectorRecord:
    predictions = read_csv(run / "predictions.csv", PREDICTION_COLUMNS)
    held = [row for row in predictions if row["split"] == "validation"]
    is_fake, raw = _scores(held if out_of_fold is None else _read_out_of_fold(run, out_of_fold))
    if not (is_fake.any() and (~is_fake).any()):
        raise RunError(
            f"{out_of_fold or run}: REAL and FAKE clips are needed that were not trained on, and it has scores of none "
            "or of one kind. Train with both in the validation split, or name a run of folds (--out-of-fold)."
        )
    fitted_on = "validation" if out_of_fold is None else "out_of_fold"
    changed = _fitted(_updated(detector, {"fitted_on": fitted_on}), wanted, is_fake, raw)
    of_all = sigmoid(calibrated_logits(changed, _scores(predictions)[1]))
    for row, value in zip(predictions, of_all, strict=True):
        row["fake_probability"] = f"{value:.9g}"
    write_csv(run / "predictions.csv", PREDICTION_COLUMNS, predictions)
    changed.write(run / "detector.json")
    refresh_checksums(run, ["detector.json"])
    return changed


def _fitted(detector: DetectorRecord, wanted: _Wanted, is_fake: Flags, raw: Floats) -> DetectorRecord:
    """The detector with what was wanted, fitted on clips of both labels with their raw probabilities."""
    update: dict[str, Any] = {"calibration": wanted.method, "isotonic": (), "temperature": 1.0, "undecided": None}
    if wanted.method == "isotonic":
        update["isotonic"] = fit_isotonic(is_fake, raw)
    else:
        update["temperature"] = fit_temperature(is_fake, raw)
    probability = sigmoid(calibrated_logits(_updated(detector, update), raw))
    rules = tuple(dict.fromkeys((*STANDARD_RULES, wanted.rule)))
    points = operating_points(is_fake, probability, rules)
    threshold = next(point.threshold for point in points if point.rule == wanted.rule)
    undecided = wanted.undecided
    if wanted.max_error is not None:
        undecided = choose_band(is_fake, probability, threshold, max_error=wanted.max_error)
    update |= {"operating_points": points, "operating_point": wanted.rule, "threshold": threshold}
    return _updated(detector, {**update, "undecided": undecided})


def _read_out_of_fold(run: Path, folds: Path) -> list[dict[str, str]]:
    """Predictions of folds, after a check that they were trained as ``run`` was."""
    about, about_folds = read_about(run), read_about(folds)
    ours, theirs = about["identity"], about_folds["identity"]
    if "folds" not in theirs:
        raise RunError(f"{folds}: is no run of folds. Make one with `dfutils train FACES --out FOLDS --folds 5`.")
    if ours["dataset"] != theirs["dataset"]:
        raise RunError(f"{folds}: was trained on other data than {run}. Train folds on the same face dataset.")
    # How clips were dealt has to differ, and a start is known by its weights, not by where it lay.
    different = [
        name
        for name in {**ours["settings"], **theirs["settings"]}
        if name not in ("split", "init_from") and ours["settings"].get(name) != theirs["settings"].get(name)
    ]
    if about["backbone"]["checksum"] != about_folds["backbone"]["checksum"]:
        different.append("what training started from")
    if different:
        raise RunError(
            f"{folds}: was trained with other settings than {run} ({', '.join(different)}). Train folds with the same."
        )
    return read_csv(folds / "predictions.csv", ("is_fake", "raw_probability"))


def _scores(rows: Sequence[Mapping[str, str]]) -> tuple[Flags, Floats]:
    is_fake = np.array([row["is_fake"] == "true" for row in rows], dtype=bool)
    return is_fake, np.array([float(row["raw_probability"]) for row in rows])


def _relabel_out_of_fold(run: Path, members: list[DetectorRecord]) -> None:
    rows = read_csv(run / "predictions.csv", ("fold", "raw_probability", "fake_probability", "label"))
    for row in rows:
        member = members[int(row["fold"])]
        value = float(sigmoid(calibrated_logits(member, np.array([float(row["raw_probability"])])))[0])
        row["fake_probability"] = f"{value:.9g}"
        row["label"] = str(Label.FAKE if value >= member.threshold else Label.REAL)
    write_csv(run / "predictions.csv", tuple(rows[0]), rows)


def _updated(detector: DetectorRecord, update: dict[str, Any]) -> DetectorRecord:
    """A validated copy: `model_copy` alone would believe anything."""
    return DetectorRecord.parse({**detector.model_dump(), **update}, source="decision")
