"""The detector's benchmark: who is grouped with whom, what counts as a false alarm, and a table that hides nothing."""

import numpy as np
import pytest

from benchmarks import detector, train_detector
from dfutils.pretrained import DEFAULT, FOLDER
from dfutils.records import ClipRow
from dfutils.runs.record import DetectorRecord, OperatingPoint


def clip(number, *, is_fake, dataset="ffpp_c23_real", group="g0"):
    return ClipRow(f"c{number}", f"v{number}", is_fake, dataset, group, None, 0, 1, 1, 1, 1.0, 1.0, 1, "")


def test_crops_are_grouped_by_person_not_by_video():
    row = {"file": "a.jpg", "label": "REAL", "group": "dfdc_x", "person": "p7"}
    assert train_detector._by_person(row) == {"file": "a.jpg", "label": "REAL", "dataset": "dfdc", "group": "p7"}


def test_false_alarms_are_counted_on_real_clips_only():
    rows = [clip(k, is_fake=k >= 4, group=f"g{k % 4}") for k in range(8)]
    called = np.array([True, False, False, False, *[True] * 4])
    estimate = detector._false_alarms(rows, called)
    assert estimate["value"] == 0.25
    assert estimate["low"] <= 0.25 <= estimate["high"]


def test_no_false_alarm_among_few_groups_is_no_proof_of_none():
    rows = [clip(k, is_fake=False, group=f"g{k % 5}") for k in range(10)]
    estimate = detector._false_alarms(rows, np.zeros(10, bool))
    assert (estimate["value"], estimate["low"]) == (0, 0)
    assert estimate["high"] == pytest.approx(0.5218, abs=1e-4)  # scipy.stats.binomtest(0, 5).proportion_ci()


def test_qualities_are_told_apart_by_the_name_of_the_data_set():
    rows = [clip(0, is_fake=True, dataset="ffpp_c23_faceswap"), clip(1, is_fake=False, dataset="ffpp_c40")]
    chosen = {name: flags.tolist() for name, flags in detector._by_quality(rows)}
    assert chosen == {"c23": [True, False], "c40": [False, True]}


@pytest.fixture
def folds(tmp_path, monkeypatch):
    """Two trainings in two folds: the first separates the labels, the second scores them the other way round."""
    rows = [clip(k, is_fake=k % 2 == 1, group=f"g{k // 2}") for k in range(8)]
    rows.append(clip(8, is_fake=True, dataset="ffpp_c40_faceswap", group="g0"))
    monkeypatch.setattr(detector, "read_face_dataset", lambda _folder: type("Faces", (), {"rows": rows}))

    point = OperatingPoint(
        rule="fpr_5", threshold=0.5, true_positive_rate=1.0, false_positive_rate=0.0, reals=4, fakes=4
    )
    shipped = DetectorRecord.read(FOLDER / DEFAULT / "detector.json")
    settings = shipped.model_copy(update={"operating_points": (point,)})

    def write(run, score, fold_of=lambda k: k // 4 % 2):
        lines = [f"f{k},ffpp/real/c{k}/00.png,{fold_of(k)},{score(k)}" for k in reversed(range(9))]
        folder = tmp_path / "runs" / run
        for fold in range(2):
            (folder / f"fold-{fold}").mkdir(parents=True)
            settings.write(folder / f"fold-{fold}" / "detector.json")
        (folder / "predictions.csv").write_text("\n".join(["clip_id,video,fold,fake_probability", *lines]))
        return folder

    write("good", lambda k: 0.9 if k % 2 else 0.1)
    write("bad", lambda k: 0.1 if k % 2 else 0.9)
    return write


def recipe(name):
    return detector.Recipe(None, name)


def test_what_fine_tuning_gains_is_paired_and_of_c23_clips_only(folds, tmp_path):
    gain = detector.compare_folds(tmp_path, recipe("good"), recipe("bad"))
    assert gain["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert detector.compare_folds(tmp_path, recipe("good"), recipe("good"))["auc"]["value"] == 0


def test_a_clip_scored_frame_by_frame_has_the_mean_logit_of_its_frames(folds, tmp_path):
    table = folds("frames", lambda _: 0.5) / "predictions.csv"
    table.write_text(table.read_text().replace("c0/00.png,0,0.5", "c0/00.png,0,0.9\nf0b,ffpp/real/c0/01.png,0,0.3"))
    rows, scores = detector.read_folds(tmp_path, recipe("frames"))
    assert rows[0].clip_id == "c0"
    # Odds of 9 and 3/7: their geometric mean.
    assert scores.probability[0, 0] == pytest.approx((27 / 7) ** 0.5 / (1 + (27 / 7) ** 0.5))
    assert scores.called_fake[0, 0]


def test_trainings_in_other_folds_are_not_compared(folds, tmp_path):
    folds("other", lambda _: 0.5, fold_of=lambda k: k % 2)
    with pytest.raises(ValueError, match="other folds"):
        detector.compare_folds(tmp_path, recipe("good"), recipe("other"))


def test_what_s_forgot_is_counted_on_crops_of_dfdc_within_their_folds(folds, tmp_path, monkeypatch):
    crops = [clip(k, is_fake=k % 2 == 1, dataset="dfdc", group=f"p{k // 2}") for k in range(8)]
    frame = clip(8, is_fake=True, dataset="ffpp_c40_faceswap", group="g0")
    monkeypatch.setattr(detector, "read_face_dataset", lambda _: type("Faces", (), {"rows": [*crops, frame]}))
    # S ranks every crop of its own fold rightly, though fold 1 scores all crops higher than fold 0.
    lines = [f"c{k},{k // 4 % 2},{0.1 * (k % 2) + 0.5 * (k // 4 % 2)}" for k in range(9)]
    folder = tmp_path / "runs" / "folds"
    folder.mkdir(parents=True)
    (folder / "predictions.csv").write_text("\n".join(["clip_id,fold,fake_probability", *lines]))

    def score_as_x(_work, run, _faces, rows):
        assert (run, rows) == (detector.RECIPES[detector.CROSS].run, crops)
        worse = np.array([0.9 if k in (0, 1) else 0.1 + 0.1 * (k % 2) for k in range(8)])
        return worse, worse >= 0.5

    monkeypatch.setattr(detector, "_score", score_as_x)
    kept = detector.measure_forgotten(tmp_path)
    assert kept[detector.MIXED]["value"] == 1
    # Of four pairs in fold 0, one is tied and one is the wrong way round.
    assert kept[detector.CROSS]["value"] == pytest.approx((4 + 4 - 1.5) / 8)
    assert kept["difference"]["value"] == pytest.approx(1.5 / 8)


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (None, "not measured"),
        ({"value": None, "low": None, "high": None}, "not measured"),
        ({"value": 0.814, "low": 0.79, "high": 0.83}, "0.81 (0.79 to 0.83)"),
        ({"value": 0.5, "low": None, "high": None}, "0.50"),
    ],
)
def test_a_missing_figure_is_called_missing(estimate, words):
    assert detector.cell(estimate) == words


def test_the_table_has_every_test_measured_or_not_and_no_target():
    figures = {"dfdc_auc": {"value": 0.6, "low": 0.58, "high": 0.62}}
    text = detector.table({"recipes": {detector.CROSS: figures}})
    assert "| 0.60 (0.58 to 0.62) |\n" in text
    assert all(words in text for words, _ in detector.FIGURES.values())
    assert not any(target and target in text for _, target in detector.FIGURES.values())
