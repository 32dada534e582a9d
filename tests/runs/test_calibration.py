"""Calibration, operating points and the three answers: fitted on validation only, saved and applied."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import SCORE
from sklearn.isotonic import IsotonicRegression

from dfutils.cli import main
from dfutils.errors import DfutilsError, RunError
from dfutils.files import read_csv, read_json, write_csv, write_json
from dfutils.prediction.detector import Detector, load_detector
from dfutils.records import Label, Reason
from dfutils.runs.calibration import recalibrate
from dfutils.runs.folder import CHECKSUMMED, RunFolder
from dfutils.runs.probabilities import calibrated_logits, logit, sigmoid
from dfutils.runs.record import DetectorRecord
from dfutils.runs.thresholds import STANDARD_RULES, choose_threshold, fit_isotonic, mean_decision, operating_points
from dfutils.statistics.formatting import rate_text


@pytest.fixture
def run(demo_run, tmp_path):
    return shutil.copytree(demo_run, tmp_path / "run")


@pytest.fixture(scope="module")
def known(demo_run):
    return DetectorRecord.read(demo_run / "detector.json")


@st.composite
def two_classes(draw):
    labels = draw(st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda values: len(set(values)) == 2))
    scores = draw(st.lists(st.integers(1, 99), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(scores) / 100


@settings(max_examples=60, deadline=None)
@given(two_classes(), st.sampled_from([1, 5, 20]))
def test_no_more_reals_than_allowed_are_called_fake_and_no_better_threshold_exists(labelled, percent):
    is_fake, scores = labelled
    called = scores >= choose_threshold(is_fake, scores, f"fpr_{percent}")
    assert called[~is_fake].mean() <= percent / 100
    for other in np.unique(scores):
        if (scores >= other)[~is_fake].mean() <= percent / 100:
            assert (scores >= other)[is_fake].mean() <= called[is_fake].mean()


@settings(max_examples=60, deadline=None)
@given(two_classes(), st.sampled_from([1, 3, 10]))
def test_no_threshold_costs_less_than_that_of_the_cost_rule(labelled, ratio):
    is_fake, scores = labelled

    def cost(threshold):
        called = scores >= threshold
        return ratio * called[~is_fake].mean() + (~called)[is_fake].mean()

    best = cost(choose_threshold(is_fake, scores, f"cost_{ratio}"))
    assert best <= min(cost(threshold) for threshold in [*np.unique(scores), 1.1]) + 1e-9


def test_every_detector_has_the_standard_operating_points_frozen(known):
    assert tuple(point.rule for point in known.operating_points) == STANDARD_RULES
    assert known.operating_points[0].threshold == known.threshold
    assert all(point.reals and point.fakes for point in known.operating_points)


@settings(max_examples=40, deadline=None)
@given(two_classes())
def test_isotonic_calibration_is_that_of_scikit_learn(labelled):
    is_fake, scores = labelled
    fakes, reals = is_fake.sum(), (~is_fake).sum()
    targets = np.where(is_fake, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    weights = np.where(is_fake, 0.5 / fakes, 0.5 / reals)
    reference = IsotonicRegression(out_of_bounds="clip").fit(logit(scores), targets, sample_weight=weights)
    grid = np.linspace(0, 1, 51)
    steps = fit_isotonic(is_fake, scores)
    ours = np.interp(logit(grid), *np.array(steps).T)
    assert ours == pytest.approx(reference.predict(logit(grid)), abs=1e-9)
    assert np.all(np.diff(ours) >= 0)
    assert 0 < ours.min() <= ours.max() < 1


def test_calibrated_logits_follow_the_isotonic_steps(known):
    isotonic = known.model_copy(update={"calibration": "isotonic", "isotonic": ((-1.0, 0.2), (1.0, 0.9))})
    probabilities = sigmoid(calibrated_logits(isotonic, np.array([0.0, 0.5, 1.0])))
    assert probabilities == pytest.approx([0.2, 0.55, 0.9])


def test_only_the_validation_split_counts(run):
    path = run / "predictions.csv"
    before = recalibrate(run)
    rows = read_csv(path, ())
    for row in rows:
        if row["split"] != "validation":
            row["raw_probability"] = "0.123"
            row["is_fake"] = "true"
    write_csv(path, tuple(rows[0]), rows)
    assert recalibrate(run) == before


def test_recalibrating_with_the_defaults_equals_training(run, known):
    again = recalibrate(run)
    assert (again.temperature, again.bias) == (known.temperature, pytest.approx(known.bias))
    assert again.answer_range == pytest.approx(known.answer_range, abs=1e-6)
    assert again.threshold == pytest.approx(known.threshold, abs=1e-6)


def alter_threshold(run):
    document = read_json(run / "detector.json")
    write_json(run / "detector.json", {**document, "threshold": 0.123})


def test_recalibration_signs_its_own_changes_and_no_others(run):
    recalibrate(run, rule="fpr_5")
    assert set(RunFolder(run).about()["files"]) == set(CHECKSUMMED)
    alter_threshold(run)
    for reading in (lambda run: RunFolder(run).about(), recalibrate):
        with pytest.raises(RunError, match=r"detector\.json: .*altered since training.*`dfutils calibrate`"):
            reading(run)


@pytest.mark.parametrize("known_files", [None, ["splits.csv", "leaks.json", "history.csv"]])
def test_a_run_of_an_earlier_version_is_trusted_and_signed_by_recalibration(run, known_files):
    about = read_json(run / "run.json")
    files = about.pop("files")
    if known_files:
        about["files"] = {name: files[name] for name in known_files}
    write_json(run / "run.json", about)
    alter_threshold(run)
    assert RunFolder(run).about() == about
    recalibrate(run)
    alter_threshold(run)
    with pytest.raises(RunError, match="altered since training"):
        RunFolder(run).about()


def test_a_detector_without_a_run_document_is_recalibrated_and_gets_none(run):
    (run / "run.json").unlink()
    recalibrate(run)
    assert not (run / "run.json").exists()
    assert load_detector(run).settings == DetectorRecord.read(run / "detector.json")


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_predictions_and_prediction_follow_the_new_calibration(run, demo_faces, method):
    from dfutils.extraction.dataset import read_face_dataset

    recalibrate(run, method=method, rule="fpr_5")
    detector, dataset = load_detector(run), read_face_dataset(demo_faces)
    assert (detector.settings.calibration, detector.settings.operating_point) == (method, "fpr_5")
    written = {row["clip_id"]: float(row["fake_probability"]) for row in read_csv(run / "predictions.csv", ())}
    rows = dataset.rows[:4]
    scores = detector.score_dataset(dataset, rows, progress=False)
    assert [score.fake_probability for score in scores] == pytest.approx(
        [written[row.clip_id] for row in rows], abs=SCORE
    )


def test_between_the_two_thresholds_the_verdict_is_undecided_and_says_why(run, demo_videos):
    set_answers(run, 0.0, 1.0)
    verdict = load_detector(run).predict(demo_videos[0])
    assert (verdict.label, verdict.reason) == (Label.UNDECIDED, Reason.LOW_CONFIDENCE)
    assert verdict.fake_probability is not None
    assert "lies between 0.00 and 1.00, where this detector does not decide" in verdict.detail


def set_answers(run, real_up_to, fake_from):
    document = read_json(run / "detector.json")
    write_json(run / "detector.json", {**document, "real_up_to": real_up_to, "fake_from": fake_from})


def test_a_stricter_bound_moves_its_own_threshold_only(run, capsys):
    before = recalibrate(run)
    after = recalibrate(run, max_false_positive_rate=0.6)
    assert after.real_up_to == before.real_up_to
    assert 0.5 <= after.fake_from <= before.fake_from
    assert main(["calibrate", str(run), "--max-fpr", "0.6"]) == 0
    said, costs = capsys.readouterr().out, after.answer_costs
    assert f"Bounds for new, similar people: 60\xa0% and {rate_text(costs.false_negative_bound)}." in said
    assert costs.false_negative_bound > 0.1
    assert f"{costs.fake_groups} groups with FAKE clips are too few for a bound of 10\xa0%" in said
    assert "groups with REAL clips are too few" not in said  # 60 % is kept


def test_a_rate_that_cannot_be_guaranteed_is_a_warning_with_the_number_of_groups_that_it_takes(run, caplog):
    costs = recalibrate(run, max_false_positive_rate=0.01, max_false_negative_rate=0.6).answer_costs
    (said,) = caplog.messages
    assert said == (
        "--max-fpr 0.01 cannot be guaranteed: that takes 99 groups with REAL videos, and the thresholds were fitted on "
        f"{costs.real_groups} (the validation split); the bound is {rate_text(1 / (costs.real_groups + 1))}."
    )
    caplog.clear()
    recalibrate(run, max_false_positive_rate=0.6, max_false_negative_rate=0.04)
    (said,) = caplog.messages
    assert said.startswith("--max-fnr 0.04 cannot be guaranteed: that takes 24 groups with FAKE videos, and ")
    caplog.clear()
    recalibrate(run, max_false_positive_rate=0.6, max_false_negative_rate=0.6)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--max-fpr", "max_false_positive_rate", 0.0),
        ("--max-fnr", "max_false_negative_rate", 1.0),
        ("--max-fpr", "max_false_positive_rate", float("nan")),
    ],
)
def test_a_rate_that_is_no_share_is_refused_and_changes_nothing(run, option, name, value):
    before = (run / "detector.json").read_bytes()
    with pytest.raises(RunError, match=f"{option}: must be above 0 and below 1, such as 0.05. Received: {value:g}"):
        recalibrate(run, **{name: value})
    assert (run / "detector.json").read_bytes() == before


def test_the_smallest_face_that_decides_is_saved_kept_and_applied(run, demo_videos, capsys):
    assert main(["calibrate", str(run), "--min-face-pixels", "5000"]) == 0
    assert "faces from 5000 pixels" in capsys.readouterr().out
    assert recalibrate(run, rule="fpr_5").min_face_pixels == 5000
    verdict = load_detector(run).predict(demo_videos[0])
    assert (verdict.label, verdict.reason) == (Label.UNDECIDED, Reason.LOW_CONFIDENCE)
    assert recalibrate(run, min_face_pixels=0).min_face_pixels == 0


def test_an_impossible_size_of_faces_is_refused_and_changes_nothing(run):
    before = (run / "detector.json").read_bytes(), (run / "predictions.csv").read_bytes()
    with pytest.raises(DfutilsError, match="min_face_pixels"):
        recalibrate(run, method="isotonic", min_face_pixels=-1)
    assert ((run / "detector.json").read_bytes(), (run / "predictions.csv").read_bytes()) == before


@pytest.mark.parametrize(("real_up_to", "fake_from"), [(0.6, 0.5), (0.5, None)])
def test_answers_that_overlap_or_lack_one_threshold_are_refused(run, real_up_to, fake_from):
    set_answers(run, real_up_to, fake_from)
    with pytest.raises(DfutilsError, match="real_up_to must not be above fake_from"):
        DetectorRecord.read(run / "detector.json")


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        (None, [Label.REAL, Label.REAL, Label.FAKE, Label.FAKE]),
        ([0.4, 0.6], [Label.REAL, Label.UNDECIDED, Label.UNDECIDED, Label.FAKE]),
    ],
)
def test_a_detector_of_an_earlier_version_answers_as_before(run, band, expected):
    document = read_json(run / "detector.json")
    for name in ("bias", "real_up_to", "fake_from", "answer_costs"):
        del document[name]
    older = {"calibration": "temperature", "threshold": 0.5, "undecided": band}
    write_json(run / "detector.json", {**document, **older})
    record = DetectorRecord.read(run / "detector.json")
    assert (record.calibration, record.bias, record.answer_costs) == ("platt", 0, None)
    assert [record.label(value) for value in (0.3, 0.45, 0.55, 0.7)] == expected
    assert record.label(0.5) == (Label.FAKE if band is None else Label.UNDECIDED)


def test_probabilities_of_an_earlier_version_are_for_the_mix_that_it_was_fitted_on(known, demo_run):
    point = known.operating_points[0].model_copy(update={"reals": 20, "fakes": 80})
    changes = {"answer_costs": None, "real_up_to": None, "fake_from": None, "operating_points": (point,)}
    older = Detector(known.model_copy(update={**changes, "threshold": 0.72}), [], demo_run)
    assert older.prior == 0.8
    # 0.8 of that mix is worth nothing: at an even mix it is one half.
    assert older.for_prior(0.5).decide(0.8)[0] == Label.FAKE
    assert older.for_prior(0.49).decide(0.8)[0] == Label.UNDECIDED
    assert older.for_prior(0.5).answer_range == pytest.approx((0.5 / (0.5 + 0.5 * 0.28 * 4 / 0.72), 0.5), abs=0.12)


def test_an_ensemble_takes_the_means_of_its_members(known):
    is_fake, scores = np.array([False, True, False, True]), np.array([0.1, 0.6, 0.4, 0.9])
    members = [
        known.model_copy(
            update={
                "threshold": 0.5,
                "real_up_to": real_up_to,
                "fake_from": 0.6,
                "operating_points": operating_points(is_fake, scores, ("fpr_5",)),
                "calibration": "isotonic",
            }
        )
        for real_up_to in (0.4, 0.5)
    ]
    decision = mean_decision(members)
    assert decision["threshold"] == pytest.approx(0.5)
    assert decision["real_up_to"] == pytest.approx(float(sigmoid(np.mean(logit(np.array([0.4, 0.5]))))))
    assert decision["fake_from"] == pytest.approx(0.6)
    assert decision["calibration"] == "platt"  # its members are calibrated already
    assert decision["answer_costs"] is None  # nothing was measured for their mean
    (point,) = decision["operating_points"]
    assert (point.reals, point.fakes, point.threshold) == (4, 4, pytest.approx(0.5))


def test_an_ensemble_with_a_member_of_an_earlier_version_always_answers(known):
    older = known.model_copy(update={"real_up_to": None, "fake_from": None})
    decision = mean_decision([known, older])
    assert (decision["real_up_to"], decision["fake_from"]) == (None, None)


def test_another_prior_changes_the_probability_and_makes_answers_rarer_but_never_bolder(known, demo_run):
    detector = Detector(known.model_copy(update={"real_up_to": 0.3, "fake_from": 0.7}), [], demo_run)
    assert [detector.decide(value)[0] for value in (0.2, 0.5, 0.8)] == [Label.REAL, Label.UNDECIDED, Label.FAKE]
    rare = detector.for_prior(0.1)
    label, reason, detail = rare.decide(0.8)
    assert (label, reason) == (Label.UNDECIDED, Reason.LOW_CONFIDENCE)
    assert detail == "the fake probability 0.31 lies between 0.05 and 0.50, where this detector does not decide"
    assert detector.decide(0.3001)[2].startswith("the fake probability 0.3001 lies between 0.3000 and 0.7000,")
    assert detector.for_prior(0.01).decide(0.8)[2].startswith("the fake probability 0.04 lies between 0.004 and 0.50,")
    assert [rare.decide(value)[0] for value in (0.2, 0.5, 0.95)] == [Label.REAL, Label.UNDECIDED, Label.FAKE]
    assert detector.prior == 0.5
    for prior in (0, 1e-9, 1, float("nan")):
        with pytest.raises(RunError, match=r"must be from 0\.000001 to 0\.999999"):
            detector.for_prior(prior)


def test_a_network_that_gives_nan_is_an_error_and_no_verdict(run, demo_faces):
    from dfutils.extraction.dataset import read_face_dataset

    detector, dataset = load_detector(run, engine="keras"), read_face_dataset(demo_faces)
    head = detector.members[0].network.head
    is_real = [weights.dtype.kind == "f" for weights in head.get_weights()]
    head.set_weights(
        [np.full_like(w, np.nan) if real else w for w, real in zip(head.get_weights(), is_real, strict=True)]
    )
    with pytest.raises(RunError, match="NaN for 2 of 2 clips"):
        detector.score_dataset(dataset, dataset.rows[:2], progress=False)
