"""The first release: who is trained on and measured, what is a false positive, and which candidate is shipped."""

from types import SimpleNamespace

import numpy as np
import pytest

from dfutils.files import read_json
from dfutils.pretrained import DEFAULT, FOLDER
from dfutils.records import ClipRow
from dfutils.runs.record import DetectorRecord, OperatingPoint
from research.first_release import ablation, detector, recipe, ship


def clip(number, *, is_fake, dataset="ffpp_c23_real", group="g0"):
    return ClipRow(f"c{number}", f"v{number}", is_fake, dataset, group, None, 0, 1, 1, 1, 1.0, 1.0, 1, "")


def test_crops_are_grouped_by_person_not_by_video():
    row = {"file": "a.jpg", "label": "REAL", "group": "dfdc_x", "person": "p7"}
    assert recipe.row_by_person(row) == {"file": "a.jpg", "label": "REAL", "dataset": "dfdc", "group": "p7"}


def test_false_positives_are_counted_on_real_clips_only():
    rows = [clip(k, is_fake=k >= 4, group=f"g{k % 4}") for k in range(8)]
    called = np.array([True, False, False, False, *[True] * 4])
    estimate = detector.false_positive_rate(rows, called)
    assert estimate["value"] == 0.25
    assert estimate["low"] <= 0.25 <= estimate["high"]


def test_no_false_positive_in_few_groups_still_has_an_upper_bound():
    rows = [clip(k, is_fake=False, group=f"g{k % 5}") for k in range(10)]
    estimate = detector.false_positive_rate(rows, np.zeros(10, bool))
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


def folds_of(name):
    return detector.Recipe(None, name)


def test_what_fine_tuning_gains_is_paired_and_of_c23_clips_only(folds, tmp_path):
    gain = detector.compare_folds(tmp_path, folds_of("good"), folds_of("bad"))
    assert gain["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert detector.compare_folds(tmp_path, folds_of("good"), folds_of("good"))["auc"]["value"] == 0


def test_a_clip_scored_frame_by_frame_has_the_mean_logit_of_its_frames(folds, tmp_path):
    table = folds("frames", lambda _: 0.5) / "predictions.csv"
    table.write_text(table.read_text().replace("c0/00.png,0,0.5", "c0/00.png,0,0.9\nf0b,ffpp/real/c0/01.png,0,0.3"))
    rows, scores = detector.read_folds(tmp_path, folds_of("frames"))
    assert rows[0].clip_id == "c0"
    # Odds of 9 and 3/7: their geometric mean.
    assert scores.probability[0, 0] == pytest.approx((27 / 7) ** 0.5 / (1 + (27 / 7) ** 0.5))
    assert scores.called_fake[0, 0]


def test_trainings_in_different_folds_are_not_compared(folds, tmp_path):
    folds("other", lambda _: 0.5, fold_of=lambda k: k % 2)
    with pytest.raises(ValueError, match="different folds"):
        detector.compare_folds(tmp_path, folds_of("good"), folds_of("other"))


def test_what_s_forgot_is_measured_on_dfdc_crops_within_their_folds(folds, tmp_path, monkeypatch):
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


@pytest.fixture
def crops(monkeypatch):
    """Sixty people with four crops each, in the splits of candidate X."""
    rows = [SimpleNamespace(video=f"{person}-{k}", group=f"p{person}") for person in range(60) for k in range(4)]
    people = {"train": range(40), "validation": range(40, 52), "test": range(52, 60)}
    monkeypatch.setattr(ablation, "read_face_dataset", lambda _: SimpleNamespace(rows=rows))
    monkeypatch.setattr(
        ablation, "crops_of", lambda _, split: {row.video for row in rows if int(row.group[1:]) in people[split]}
    )
    monkeypatch.setattr(ablation, "TRAINING_CROPS", 30)
    return rows, people


def test_the_ablation_splits_by_person_and_leaves_out_the_test_part(crops, tmp_path):
    rows, people = crops
    splits = ablation.assign_splits(tmp_path)
    assert splits == ablation.assign_splits(tmp_path)
    of_person = {}
    for row in rows:
        of_person.setdefault(int(row.group[1:]), set()).add(splits.get(row.video))
    assert all(len(found) == 1 for found in of_person.values())
    train, validation, test = (
        {one for one, found in of_person.items() if found == {split}} for split in ("train", "validation", "test")
    )
    assert train <= set(people["train"])
    assert len(train) == 8  # the first number of whole people that reaches 30 crops
    assert validation | test == set(people["validation"])
    assert len(validation) == len(test) == 6


def test_each_row_of_the_ablation_changes_one_setting():
    base = ablation.BASE.model_dump()
    for name, settings in ablation.ROWS.items():
        own = settings.model_dump()
        changed = {key for key in base["finetune"] if own["finetune"][key] != base["finetune"][key]}
        changed |= {key for key in base if key != "finetune" and own[key] != base[key]}
        assert len(changed) == (name != "base") or name == "backbone never trained", name


@pytest.mark.parametrize(
    ("difference", "chosen"),
    [(0.01, detector.MIXED), (-0.02, detector.MIXED), (-0.0201, detector.CROSS), (None, detector.CROSS)],
)
def test_s_is_not_shipped_if_it_forgot_the_people_of_dfdc(difference, chosen):
    assert ship.choose({} if difference is None else {"forgotten": {"difference": {"value": difference}}}) == chosen


def test_the_shipped_detector_does_not_claim_what_x_reached_on_clips_that_s_was_trained_on():
    metrics = read_json(FOLDER / DEFAULT / "metrics.json")
    claims = [words for words in metrics["measured"] if "never trained on" in words]
    assert bool(claims) == ("never on FaceForensics++" in metrics["about"])


@pytest.mark.parametrize("name", [detector.CROSS, detector.MIXED])
@pytest.mark.parametrize("int8", [False, True])
def test_shipping_writes_metrics_card_and_licence_of_the_chosen_candidate(tmp_path, monkeypatch, name, int8):
    results = read_json(detector.RESEARCH_RESULTS / "detector.json")
    if name == detector.CROSS:
        results.pop("forgotten")
    runs = tmp_path / "runs"
    documents = {
        tmp_path / "detector.json": results,
        runs / "averaged" / "detector.json": {"extraction": {"size": 224}},
        runs / "whole" / "detector.json": {"extraction": {"size": 224}},
        runs / "whole" / "run.json": {"clips": 23703, "backbone": {"weights": "nsfwjs"}},
        runs / "whole" / "leaks.json": {"near_duplicates": {"count": 3}},
    }
    monkeypatch.setattr(ship, "read_json", documents.__getitem__)
    shipped = DetectorRecord.read(FOLDER / DEFAULT / "detector.json")
    monkeypatch.setattr(ship, "pack_detector", lambda *_args, **_changes: shipped)
    monkeypatch.setattr(ship, "export_int8", lambda *_: "\nEXPORTED")
    monkeypatch.setattr(ship, "golden_scores", lambda _: {})
    folder = tmp_path / "made-up"
    assert ship.ship(tmp_path, tmp_path, folder, int8=int8) == name
    card = (folder / "MODEL_CARD.md").read_text()
    assert ("EXPORTED" in card) == int8
    assert ("never trained on" in card) == (name == detector.CROSS)
    assert ("FaceForensics++ (Rössler" in (folder / "LICENSE").read_text()) == (name == detector.MIXED)
    assert "{" not in card
