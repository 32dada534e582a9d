"""The documents ``detector.json`` and ``export.json`` of a run folder."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dfutils.records import Label
from dfutils.settings import DEFAULT_BACKBONE, BackboneWeights, ExtractionSettings, Settings, View


class MemberRecord(Settings):
    """One of the detectors that an ensemble averages."""

    folder: str = Field(pattern=r"^fold-\d+$")
    """Its run folder, inside the ensemble's."""
    sha256: str
    """SHA-256 of its ``detector.json``, which in turn holds the checksum of its weights."""


RULE_PATTERN = r"^(balanced_accuracy|fpr_\d+(\.\d+)?|cost_\d+(\.\d+)?)$"
RULE_FORMS = "balanced_accuracy, fpr_N such as fpr_1 or fpr_0.5, or cost_N such as cost_10"
"""What `RULE_PATTERN` accepts, in words."""


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


class Rate(Settings):
    """A share with its 95 % interval over groups; see `dfutils.statistics.bootstrap`. Too few groups have none."""

    value: float = Field(ge=0, le=1)
    """The share."""
    low: float | None = None
    """Lower end."""
    high: float | None = None
    """Upper end."""


class AnswerCosts(Settings):
    """Errors of the three answers on the clips that they were fitted on, and bounds on those for new groups.

    A bound holds for a random clip (one person in one video) of a new group, on average over fits, if its group is
    exchangeable with those of the fit; see `dfutils.statistics.conformal`. With n groups no bound is below 1 / (n + 1).
    It is approximate where the fit's own network was chosen on the same clips (early stopping), and where the scores
    are those of other networks (``fitted_on="out_of_fold"``). The rates are of the clips that chose the thresholds, so
    they are a little too good.
    """

    max_false_positive_rate: float = Field(gt=0, lt=1)
    """Wanted share of REAL that is called FAKE, at most."""
    max_false_negative_rate: float = Field(gt=0, lt=1)
    """Wanted share of FAKE that is called REAL, at most."""
    false_positive_bound: float = Field(gt=0, le=1)
    """Bound on the probability that a REAL clip of a new group is called FAKE."""
    false_negative_bound: float = Field(gt=0, le=1)
    """Bound on the probability that a FAKE clip of a new group is called REAL."""
    false_positive_rate: Rate
    """Share of the REAL clips that are called FAKE."""
    false_negative_rate: Rate
    """Share of the FAKE clips that are called REAL."""
    undecided: Rate
    """Share of the clips that are UNDECIDED, at an even mix."""
    real_groups: int = Field(ge=1)
    """Number of groups with REAL clips."""
    fake_groups: int = Field(ge=1)
    """Number of groups with FAKE clips."""


class FamiliarityRecord(Settings):
    """How unlike its training crops a face may look for a detector to answer; see `dfutils.runs.familiarity`."""

    sha256: str
    """SHA-256 of ``familiarity.npz``."""
    limit: float = Field(gt=0)
    """Distance beyond which the answer is UNDECIDED."""
    bound: float = Field(gt=0, le=1)
    """Bound on the probability that a REAL clip of a new group lies beyond it, under the assumption of
    `AnswerCosts`."""
    real_groups: int = Field(ge=1)
    """Number of groups with REAL clips that the limit was fitted on."""


CalibrationMethod = Literal["platt", "isotonic"]


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
    """Name in `dfutils.training.families.FAMILIES`."""
    backbone_weights: BackboneWeights
    """Origin of the backbone's weights: a name in `dfutils.weights`, ``random`` or a file name."""
    backbone_checksum: str
    """Checksum of those weights; ``he-normal-SEED`` for random ones, `weights_sha256` for an ensemble of several
    backbones."""
    weights_sha256: str
    """SHA-256 of ``model.weights.h5``; for an ensemble, over the checksums of its members."""
    calibration: CalibrationMethod = "platt"
    """How a raw probability becomes a calibrated one, for the `prior`. ``platt``: the logit divided by `temperature`,
    plus `bias` (Platt 1999). ``isotonic``: see `isotonic`."""
    temperature: float = Field(1.0, gt=0)
    """For ``calibration="platt"``; 1 for an ensemble, whose members are calibrated before they are averaged."""
    bias: float = 0.0
    """For ``calibration="platt"``; 0 for a detector of an earlier version, and for an ensemble."""
    isotonic: tuple[tuple[float, float], ...] = ()
    """For ``calibration="isotonic"``: ascending raw logits and their calibrated probabilities; linear in between."""
    fitted_on: Literal["validation", "out_of_fold"] = "validation"
    """Clips that calibration and thresholds were fitted on: the run's own validation split, or all clips of folds
    of the same recipe, each scored by the fold that was not trained on it."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds by the standard rules."""
    operating_point: str = "balanced_accuracy"
    """Rule by which `threshold` was chosen."""
    real_up_to: float | None = Field(None, ge=0, le=1)
    """Up to this calibrated probability the answer is REAL: at most one half. None for a detector of an earlier version
    that has one `threshold`; one with a band of UNDECIDED has the ends of that band here, wherever they lie."""
    fake_from: float | None = Field(None, ge=0, le=1)
    """From this calibrated probability on the answer is FAKE: at least one half, or None. Between the two it is
    UNDECIDED."""
    answer_costs: AnswerCosts | None = None
    """What these two thresholds cost; None for an ensemble, and for a detector of an earlier version."""
    familiarity: FamiliarityRecord | None = None
    """Beyond which distance from the training crops a face is unfamiliar. None for a detector of an earlier version,
    and for a run with too few people in its validation split to tell; an ensemble has that of its first member."""
    views: tuple[View, ...] = ()
    """Copies of the crops that are scored beside them; see `dfutils.prediction.views`. Without any, a verdict rests on
    the crops as they are."""
    min_face_pixels: int = Field(0, ge=0)
    """A person whose face is smaller than this in the input, by the longer side of its box, is scored but does not
    decide; if every face is smaller, the verdict is UNDECIDED."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Threshold between two classes on the calibrated probability, chosen on `fitted_on`, for metrics such as balanced
    accuracy; for an ensemble, the mean, as logits, of its members' thresholds."""
    members: tuple[MemberRecord, ...] = ()
    """Detectors whose calibrated logits are averaged; empty for a single detector."""

    @property
    def backbone_key(self) -> str:
        """Name and checksum of the backbone; detectors with equal keys get the same features from it."""
        return f"{self.backbone} {self.backbone_checksum}"

    @property
    def fitted_in_words(self) -> str:
        """`fitted_on` in words."""
        return "the validation split" if self.fitted_on == "validation" else "out-of-fold scores of its recipe"

    @property
    def prior(self) -> float:
        """Share of FAKE that calibrated probabilities are for: 0.5; in earlier versions, that of the fitted clips."""
        point = next(iter(self.operating_points), None)
        is_even = self.answer_costs is not None or (self.members and self.real_up_to is not None)
        if is_even or point is None or not (point.fakes and point.reals):
            return 0.5
        return point.fakes / (point.fakes + point.reals)

    @property
    def answer_range(self) -> tuple[float, float]:
        """Highest probability that is REAL and lowest that is FAKE; equal for a detector that always answers."""
        if self.real_up_to is None or self.fake_from is None:
            return self.threshold, self.threshold
        return self.real_up_to, self.fake_from

    def label(self, fake_probability: float) -> Label:
        """Return the answer to a calibrated probability."""
        return label_of(fake_probability, self.answer_range)

    @model_validator(mode="before")
    @classmethod
    def _read_older_files(cls, values: Any) -> Any:
        """Read the names of earlier versions: a temperature alone, and a band of UNDECIDED around the threshold."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if values.get("calibration") == "temperature":
            values["calibration"] = "platt"
        if (band := values.pop("undecided", None)) is not None:
            values["real_up_to"], values["fake_from"] = band
        return values

    @model_validator(mode="after")
    def _check_decision(self) -> Self:
        low, high = self.answer_range
        if (self.real_up_to is None) != (self.fake_from is None) or low > high:
            raise ValueError("real_up_to must not be above fake_from, and neither is given without the other")
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
    same_sides: float | None = Field(None, ge=0, le=1)
    """Share of the clips that both engines put on the same side of a threshold of the answers, for the threshold where
    it is smaller; None in exports of earlier versions."""
    openvino: str
    """Version of OpenVINO that wrote the files."""


def label_of(fake_probability: float, answer_range: tuple[float, float]) -> Label:
    """Return REAL up to the lower end of a range, FAKE from its upper end on, and UNDECIDED between them."""
    real_up_to, fake_from = answer_range
    if fake_probability >= fake_from:
        return Label.FAKE
    return Label.REAL if fake_probability <= real_up_to else Label.UNDECIDED
