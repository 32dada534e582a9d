"""A finished run decides anew: calibration, operating point and band fitted again on its validation split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.errors import RunError
from dfutils.files import read_csv, sha256_of, write_csv
from dfutils.records import Label
from dfutils.settings import RULE_PATTERN, DetectorSettings
from dfutils.training.finished import BELIEVED_OF_FOLDS, members_checksum, read_about, read_detector, refresh_checksums
from dfutils.training.operating import (
    STANDARD_RULES,
    calibrated,
    calibrated_logits,
    choose_band,
    fit_isotonic,
    fit_temperature,
    mean_decision,
    operating_points,
    sigmoid,
)
from dfutils.training.run_folder import PREDICTION_COLUMNS


def recalibrate(
    run: Path,
    *,
    method: str = "temperature",
    rule: str = "balanced_accuracy",
    undecided: tuple[float, float] | None = None,
    max_error: float | None = None,
    min_face_pixels: int | None = None,
) -> DetectorSettings:
    """Fit what surrounds a trained network again, on the validation split only, and freeze it in ``detector.json``.

    The weights stay as they are; ``fake_probability`` in ``predictions.csv`` follows. Of an ensemble every member is
    fitted on its own validation split, and the ensemble takes their means.

    Args:
        run: A finished run folder.
        method: ``temperature`` or ``isotonic``.
        rule: The operating point, as `dfutils.settings.OperatingPoint.rule`.
        undecided: Band of calibrated probabilities that are UNDECIDED.
        max_error: Choose the narrowest band outside of which at most this share of the validation clips is wrong.
        min_face_pixels: People with smaller faces do not decide; None leaves it as it is. What is fitted is fitted on
            all clips, whatever their faces.

    Raises:
        RunError: The folder is incomplete or altered, its validation split lacks a class, or no band is good enough.
        DfutilsError: A value is impossible.
    """
    if not re.fullmatch(RULE_PATTERN, rule):
        raise RunError(f"operating point {rule!r}: there is no such rule. Choose one of {', '.join(STANDARD_RULES)}.")
    detector = read_detector(run)
    if (run / "run.json").is_file():  # an alteration must not be signed
        read_about(run)
    if min_face_pixels is not None:
        detector = _updated(detector, {"min_face_pixels": min_face_pixels})
    if not detector.members:
        return _recalibrate_one(run, detector, method=method, rule=rule, undecided=undecided, max_error=max_error)
    members = []
    for known in detector.members:
        folder = run / known.folder
        if not (folder / "detector.json").is_file() or sha256_of(folder / "detector.json") != known.sha256:
            raise RunError(f"{folder / 'detector.json'}: is missing or was altered. Copy the run folder again, whole.")
        own = read_detector(folder)
        members.append(
            _recalibrate_one(folder, own, method=method, rule=rule, undecided=undecided, max_error=max_error)
        )
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


def _recalibrate_one(
    run: Path,
    detector: DetectorSettings,
    *,
    method: str,
    rule: str,
    undecided: tuple[float, float] | None,
    max_error: float | None,
) -> DetectorSettings:
    rows = read_csv(run / "predictions.csv", PREDICTION_COLUMNS)
    is_fake = np.array([row["is_fake"] == "true" for row in rows])
    raw = np.array([float(row["raw_probability"]) for row in rows])
    held = np.array([row["split"] == "validation" for row in rows])
    if not (is_fake[held].any() and (~is_fake[held]).any()):
        raise RunError(f"{run}: its validation split needs REAL and FAKE clips to fit anything on. Train again.")
    update: dict[str, Any] = {"calibration": method, "undecided": None}
    if method == "isotonic":
        update["isotonic"] = fit_isotonic(is_fake[held], raw[held])
        update["temperature"] = 1.0
        probability = sigmoid(calibrated_logits(_updated(detector, update), raw))
    else:
        update["isotonic"] = ()
        update["temperature"] = fit_temperature(is_fake[held], raw[held])
        probability = calibrated(raw, update["temperature"])
    rules = tuple(dict.fromkeys((*STANDARD_RULES, rule)))
    points = operating_points(is_fake[held], probability[held], rules)
    threshold = next(point.threshold for point in points if point.rule == rule)
    if max_error is not None:
        undecided = choose_band(is_fake[held], probability[held], threshold, max_error=max_error)
    update |= {"operating_points": points, "operating_point": rule, "threshold": threshold, "undecided": undecided}
    changed = _updated(detector, update)
    for row, value in zip(rows, probability, strict=True):
        row["fake_probability"] = f"{value:.9g}"
    write_csv(run / "predictions.csv", PREDICTION_COLUMNS, rows)
    changed.write(run / "detector.json")
    refresh_checksums(run, ["detector.json"])
    return changed


def _relabel_out_of_fold(run: Path, members: list[DetectorSettings]) -> None:
    rows = read_csv(run / "predictions.csv", ("fold", "raw_probability", "fake_probability", "label"))
    for row in rows:
        member = members[int(row["fold"])]
        value = float(sigmoid(calibrated_logits(member, np.array([float(row["raw_probability"])])))[0])
        row["fake_probability"] = f"{value:.9g}"
        row["label"] = str(Label.FAKE if value >= member.threshold else Label.REAL)
    write_csv(run / "predictions.csv", tuple(rows[0]), rows)


def _updated(detector: DetectorSettings, update: dict[str, Any]) -> DetectorSettings:
    """A validated copy: `model_copy` alone would believe anything."""
    return DetectorSettings.parse({**detector.model_dump(), **update}, source="decision")
