"""The documents ``detector.json`` and ``export.json`` of a run folder."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dfutils.settings import DEFAULT_BACKBONE, BackboneWeights, ExtractionSettings, Settings


class MemberRecord(Settings):
    """One of the detectors that an ensemble averages."""

    folder: str = Field(pattern=r"^fold-\d+$")
    """Its run folder, inside the ensemble's."""
    sha256: str
    """SHA-256 of its ``detector.json``, which in turn holds the checksum of its weights."""


RULE_PATTERN = r"^(balanced_accuracy|fpr_\d+(\.\d+)?|cost_\d+(\.\d+)?)$"


class OperatingPoint(Settings):
    """A threshold on the calibrated probability, and how it was chosen on `DetectorRecord.fitted_on`."""

    rule: str = Field(pattern=RULE_PATTERN)
    """``balanced_accuracy``: its maximum. ``fpr_N``: the highest true-positive rate at a false-positive rate of at most
    N per cent. ``cost_N``: the lowest cost if a false positive counts N times as much as a missed FAKE."""
    threshold: float = Field(ge=0, le=1)
    """Scores of at least this value are FAKE."""
    false_positive_rate: float = Field(ge=0, le=1)
    """Share of the REAL clips that the threshold labels FAKE."""
    true_positive_rate: float = Field(ge=0, le=1)
    """Share of the FAKE clips that the threshold labels FAKE."""
    reals: int = Field(ge=0)
    """Number of REAL clips: a rate below one in this many cannot be told from 0."""
    fakes: int = Field(ge=0)
    """Number of FAKE clips."""

    @model_validator(mode="before")
    @classmethod
    def _read_older_files(cls, values: Any) -> Any:
        """Read the names of earlier versions."""
        if not isinstance(values, dict):
            return values
        renamed = {"false_alarms": "false_positive_rate", "found": "true_positive_rate"}
        return {renamed.get(name, name): value for name, value in values.items()}


class DetectorRecord(Settings):
    """Everything besides the weights that turns crops into a verdict: ``detector.json`` of a run folder."""

    name: str
    """Name of the detector. A run is named after its model, and its backbone if that is not the default; an ensemble's
    name ends with the number of its members."""
    version: str
    """Version of the package that made it."""
    model: str
    """Name in the table of `dfutils.training.model`."""
    extraction: ExtractionSettings
    """How the training crops were cut; prediction cuts them the same way."""
    backbone: str = DEFAULT_BACKBONE
    """Name in the table of `dfutils.training.backbones`."""
    backbone_weights: BackboneWeights
    """Origin of the backbone's weights: a name in `dfutils.weights`, ``random`` or a file name."""
    backbone_checksum: str
    """Checksum of those weights; ``seed-N`` for random ones, `weights_sha256` for an ensemble of several backbones."""
    weights_sha256: str
    """SHA-256 of ``model.weights.h5``; for an ensemble, over the checksums of its members."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logit (Guo et al. 2017). 1 for an ensemble, whose members are calibrated before they are averaged."""
    calibration: Literal["temperature", "isotonic"] = "temperature"
    """How a raw probability becomes a calibrated one."""
    fitted_on: Literal["validation", "out_of_fold"] = "validation"
    """Clips that calibration, thresholds and band were fitted on: the run's own validation split, or all clips of folds
    of the same recipe, each scored by the fold that was not trained on it."""
    isotonic: tuple[tuple[float, float], ...] = ()
    """For ``calibration="isotonic"``: ascending raw logits and their calibrated probabilities; linear in between."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds by the standard rules."""
    operating_point: str = "balanced_accuracy"
    """Rule by which `threshold` was chosen."""
    undecided: tuple[float, float] | None = None
    """Calibrated probabilities between these two values are UNDECIDED; None for no such band."""
    min_face_pixels: int = Field(0, ge=0)
    """A person whose face is smaller than this in the input, by the longer side of its box, is scored but does not
    decide; if every face is smaller, the verdict is UNDECIDED."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Decision threshold on the calibrated probability, chosen on `fitted_on`; for an ensemble, the mean, as logits, of
    its members' thresholds."""
    members: tuple[MemberRecord, ...] = ()
    """Detectors whose calibrated logits are averaged; empty for a single detector."""

    @property
    def fitted_in_words(self) -> str:
        """`fitted_on` in words."""
        return "the validation split" if self.fitted_on == "validation" else "out-of-fold scores of its recipe"

    @model_validator(mode="after")
    def _check_decision(self) -> Self:
        if self.undecided is not None and not 0 <= self.undecided[0] <= self.threshold <= self.undecided[1] <= 1:
            raise ValueError(f"undecided must contain the threshold {self.threshold} and lie in 0..1")
        if self.calibration == "isotonic" and len(self.isotonic) < 2:
            raise ValueError("isotonic calibration needs at least two points")
        return self


class ExportRecord(Settings):
    """An export for OpenVINO, and how far it differs from Keras: ``export.json``."""

    precision: Literal["float32", "bfloat16", "int8"]
    """Number format that the backbone computes in."""
    weights_sha256: str
    """SHA-256 of the ``model.weights.h5`` that was exported."""
    files: dict[str, str]
    """SHA-256 of each file beside this one, by name."""
    split: str
    """Clips of the comparison: ``validation``, or ``all`` if the dataset has no validation split."""
    clips: int = Field(ge=1)
    """Number of those clips."""
    largest_difference: float = Field(ge=0)
    """Largest difference between the raw probabilities of both engines."""
    auc_keras: float | None
    """AUC of Keras on those clips; None if they lack a label."""
    auc: float | None
    """AUC of the export; None if they lack a label."""
    same_labels: float = Field(ge=0, le=1)
    """Share of the clips to which both engines give the same label."""
    openvino: str
    """Version of OpenVINO that wrote the files."""
