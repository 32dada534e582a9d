"""Training in folds tests every clip once, resumes, and ends in an ensemble that is not evaluated on its own clips."""

import csv
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from rounding import HEAD, SCORE

from dfutils.cli import main
from dfutils.errors import ReportError, RunError
from dfutils.evaluation.out_of_fold import COLUMNS, summarise_folds
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.tables import MANIFEST_COLUMNS, manifest_row
from dfutils.files import read_csv, read_json, sha256_of, write_csv, write_json
from dfutils.prediction.detector import load_detector
from dfutils.prediction.members import Member, score_members
from dfutils.report import evaluate as evaluation
from dfutils.runs.calibration import recalibrate
from dfutils.runs.folder import RunFolder
from dfutils.runs.probabilities import calibrated_logits
from dfutils.runs.record import DetectorRecord
from dfutils.runs.thresholds import fit_platt, operating_points
from dfutils.settings import SplitSettings, TrainingSettings
from dfutils.training import folds
from dfutils.training.fold_process import train_in_process
from dfutils.training.folds import OUT_OF_FOLD_COLUMNS, train_fold, train_folds
from dfutils.training.run import train
from dfutils.training.saved_network import load_network

FOLDS = 2
SETTINGS = {"model": "inception_mean", "backbone": "MobileNet", "backbone_weights": "random", "epochs": 2}


def train_command(faces, run, *more):
    settings = run.parent / "settings.json"
    write_json(settings, SETTINGS | {"tensorboard": True})
    options = ["--folds", FOLDS, "--settings", settings]
    return main([str(part) for part in ("train", faces, "--out", run, *options, *more)])


@pytest.fixture(scope="module")
def run(demo_faces, tmp_path_factory):
    """Six people in two folds of six clips."""
    folder = tmp_path_factory.mktemp("folds") / "run"
    assert train_command(demo_faces, folder) == 0
    return folder


@pytest.fixture(scope="module")
def ensemble(run):
    return load_detector(run, engine="keras")


@pytest.fixture(scope="module")
def members(run):
    """Settings of the members."""
    return [DetectorRecord.read(run / f"fold-{fold}" / "detector.json") for fold in range(FOLDS)]


@pytest.fixture
def copied_run(run, tmp_path):
    """A copy to be damaged. Its files are links: replace them, never write into them."""
    return shutil.copytree(run, tmp_path / "run", copy_function=os.link)


def replace_text(path, text):
    path.unlink()
    path.write_text(text)


def predictions_of(run):
    return read_csv(run / "predictions.csv", OUT_OF_FOLD_COLUMNS)


def test_every_clip_is_tested_exactly_once(run, demo_faces):
    tested = sorted(row["clip_id"] for row in predictions_of(run))
    assert tested == sorted(row.clip_id for row in read_face_dataset(demo_faces).rows)
    assert {row["fold"] for row in predictions_of(run)} == {"0", "1"}


def test_every_fold_has_its_curves(run):
    for fold in range(FOLDS):
        assert (run / f"fold-{fold}" / "history.png").is_file()
        assert len(list((run / f"fold-{fold}" / "tensorboard").iterdir())) == 1


def test_a_clip_is_tested_by_a_member_that_saw_nothing_of_its_group(run):
    for row in predictions_of(run):
        splits = read_csv(run / f"fold-{row['fold']}" / "splits.csv", ("video", "group", "split"))
        assert {other["split"] for other in splits if other["group"] == row["group"]} == {"test"}
        assert row["group"] in {other["group"] for other in splits if other["video"] == row["video"]}


def test_out_of_fold_scores_and_labels_are_those_of_the_clips_own_member(run):
    for row in predictions_of(run):
        folder = run / f"fold-{row['fold']}"
        (own,) = (one for one in read_csv(folder / "predictions.csv", ()) if one["clip_id"] == row["clip_id"])
        assert (row["raw_probability"], row["fake_probability"]) == (own["raw_probability"], own["fake_probability"])
        own, probability = DetectorRecord.read(folder / "detector.json"), float(row["fake_probability"])
        answer = "FAKE" if probability >= own.fake_from else "REAL" if probability <= own.real_up_to else "UNDECIDED"
        assert (row["label"], row["called_fake"]) == (answer, str(probability >= own.threshold).lower())


def test_an_interrupted_training_continues_and_leaves_finished_folds_alone(copied_run, run, demo_faces):
    for name in ("run.json", "detector.json", "predictions.csv", "fold-1/run.json", "fold-1/model.weights.h5"):
        (copied_run / name).unlink()
    kept = (copied_run / "fold-0" / "model.weights.h5").stat().st_mtime_ns
    assert train_command(demo_faces, copied_run) == 0
    assert (copied_run / "fold-0" / "model.weights.h5").stat().st_mtime_ns == kept
    assert (copied_run / "predictions.csv").read_text() == (run / "predictions.csv").read_text()
    after, before = (DetectorRecord.read(folder / "detector.json") for folder in (copied_run, run))
    assert (after.name, after.threshold, len(after.members)) == (before.name, before.threshold, FOLDS)


def test_a_finished_training_is_left_alone_and_measured_again(run, demo_faces, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name in ("run.json", "model.weights.h5")}
    (run / "folds.csv").unlink()
    assert train_command(demo_faces, run, "--json") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    document = json.loads(capsys.readouterr().out)
    assert [row["fold"] for row in document["folds"]] == [0, 1, "all"]
    assert [member["folder"] for member in document["members"]] == ["fold-0", "fold-1"]
    assert len(read_csv(run / "folds.csv", COLUMNS)) == FOLDS + 1


def without_seconds(run):
    """All that a finished cross-validation says, but for how long it took."""
    weights = [DetectorRecord.read(run / f"fold-{fold}" / "detector.json").weights_sha256 for fold in range(FOLDS)]
    return [DetectorRecord.read(run / "detector.json"), *weights, (run / "predictions.csv").read_text()]


def test_folds_that_were_trained_one_by_one_are_joined_to_the_same_bits(run, demo_faces, tmp_path, capsys):
    for fold in reversed(range(FOLDS)):
        assert train_command(demo_faces, tmp_path / "cv", "--fold", fold) == 0
        assert f"run folder {tmp_path}/cv/fold-{fold}" in capsys.readouterr().out
        assert not (tmp_path / "cv" / "run.json").exists()
    assert train_command(demo_faces, tmp_path / "cv") == 0
    assert without_seconds(tmp_path / "cv") == without_seconds(run)


def test_folds_that_a_cluster_trained_are_the_same_to_the_bit(run, demo_faces, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        assert train_command(demo_faces, tmp_path / "cv", "--scheduler", cluster.scheduler_address) == 0
    assert without_seconds(tmp_path / "cv") == without_seconds(run)


def test_an_error_in_the_process_of_a_fold_is_its_message(tmp_path):
    with pytest.raises(RunError, match=f"^{tmp_path}: is not a finished face dataset"):
        train_in_process(tmp_path, tmp_path / "cv", settings=TrainingSettings(), folds=2, fold=0)


def keep_all(run):
    pass


def forget_joining(run):
    (run / "run.json").unlink()


def keep_an_unfinished_fold(run):
    forget_joining(run)
    shutil.rmtree(run / "fold-1")
    for path in (run / "fold-0").iterdir():
        if path.name not in ("settings.json", "splits.csv"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (keep_all, "holds a finished run of 2 folds, not of 3 folds"),
        (forget_joining, "its fold-0 has another number of folds than 3"),
        (keep_an_unfinished_fold, "its fold-0 has another number of folds than 3"),
    ],
)
def test_folds_of_another_number_are_refused_before_any_is_trained(copied_run, demo_faces, capsys, kept, words):
    kept(copied_run)
    before = sorted(copied_run.rglob("*"))
    settings = TrainingSettings.read(copied_run / "settings.json")
    with pytest.raises(RunError, match=words):
        train_folds(demo_faces, copied_run, settings=settings, folds=3, progress=False)
    options = ["--folds", "3", "--fold", "2", "--settings", str(copied_run / "settings.json")]
    assert main(["train", str(demo_faces), "--out", str(copied_run), *options]) == 1
    assert f"{copied_run}: {words}" in capsys.readouterr().err
    assert sorted(copied_run.rglob("*")) == before


def test_a_fold_of_a_smaller_number_of_folds_is_refused(copied_run, demo_faces):
    forget_joining(copied_run)
    (copied_run / "fold-1").rename(copied_run / "fold-7")
    shutil.rmtree(copied_run / "fold-0")
    settings = TrainingSettings.read(copied_run / "settings.json")
    with pytest.raises(RunError, match="its fold-7 has another number of folds than 2"):
        train_fold(demo_faces, copied_run, settings=settings, folds=FOLDS, fold=0, progress=False)


def test_a_fold_of_other_settings_or_data_is_refused_before_another_is_trained(copied_run, demo_faces, tmp_path):
    forget_joining(copied_run)
    settings = TrainingSettings.read(copied_run / "settings.json")
    other = settings.model_copy(update={"epochs": 7})
    with pytest.raises(RunError, match=r"its fold-0 has other settings \(epochs\)\. Choose another --out, or repeat"):
        train_fold(demo_faces, copied_run, settings=other, folds=FOLDS, fold=1, progress=False)
    faces = renamed(demo_faces, tmp_path / "faces")
    with pytest.raises(RunError, match="its fold-0 has other data"):
        train_fold(faces, copied_run, settings=settings, folds=FOLDS, fold=1, progress=False)


def test_the_log_numbers_a_fold_as_its_folder_does(copied_run, demo_faces, caplog):
    caplog.set_level("INFO")
    settings = TrainingSettings.read(copied_run / "settings.json")
    train_fold(demo_faces, copied_run, settings=settings, folds=FOLDS, fold=1, progress=False)
    assert "Fold 1 of 2 (fold-1)" in caplog.messages


def test_the_time_budget_is_for_all_folds_together(demo_faces, tmp_path, monkeypatch):
    begun = []

    def train(*_, since, **__):
        begun.append(since)
        if len(begun) == FOLDS:
            raise RunError("used up")

    monkeypatch.setattr(folds, "train", train)
    with pytest.raises(RunError, match="used up"):
        train_folds(demo_faces, tmp_path, settings=TrainingSettings(), folds=FOLDS)
    assert None not in begun
    assert len(set(begun)) == 1


@pytest.mark.parametrize(
    "more",
    [["--folds", "1"], ["--splits", "splits.csv"], ["--fold", 2], ["--fold", 0, "--scheduler", "tcp://127.0.0.1:9"]],
)
def test_one_fold_or_given_splits_are_wrong_use(more, tmp_path):
    with pytest.raises(SystemExit) as exited:
        train_command(tmp_path, tmp_path / "run", *more)
    assert exited.value.code == 2


def logit(probability):
    return np.log(probability / (1 - probability))


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def test_the_ensemble_answers_with_the_mean_calibrated_logit_of_its_members(ensemble, run, demo_faces, demo_labels):
    dataset = read_face_dataset(demo_faces)
    rows = dataset.rows[:4]
    scores = ensemble.score_dataset(dataset, rows, progress=False)
    written = [
        {row["clip_id"]: row for row in read_csv(run / f"fold-{fold}" / "predictions.csv", ("clip_id",))}
        for fold in range(FOLDS)
    ]
    for row, score in zip(rows, scores, strict=True):
        calibrated = [float(one[row.clip_id]["fake_probability"]) for one in written]
        assert score.fake_probability == pytest.approx(sigmoid(np.mean([logit(one) for one in calibrated])), abs=HEAD)
        raw = [float(one[row.clip_id]["raw_probability"]) for one in written]
        assert score.raw_probability == pytest.approx(np.mean(raw), abs=HEAD)
    verdict = ensemble.predict(demo_labels.parent / rows[0].video)
    assert verdict.fake_probability == pytest.approx(scores[0].fake_probability, abs=SCORE)


def test_frames_and_clips_are_averaged_alike_and_features_are_computed_once_per_backbone(ensemble):
    asked = []
    features = np.random.default_rng(0).normal(0, 1, (2, 10, 1024)).astype(np.float32)

    def features_of(member):
        asked.append(member.settings.backbone_checksum)
        return features

    own = ensemble.members
    assert len({id(member.network.backbone) for member in own}) == 1
    shared = score_members(own, features_of)
    assert len(asked) == 1
    alone = [score_members([member], features_of) for member in own]
    for n, score in enumerate(shared):
        clips = np.mean([logit(one[n].fake_probability) for one in alone])
        frames = np.mean([logit(np.array(one[n].frame_probabilities)) for one in alone], axis=0)
        assert score.fake_probability == pytest.approx(sigmoid(clips), abs=1e-9)
        assert score.frame_probabilities == pytest.approx(sigmoid(frames), abs=1e-9)
    asked.clear()
    several = [
        Member(member.settings.model_copy(update={"backbone_checksum": name}), member.network)
        for member, name in zip([*own, own[0]], "aba", strict=True)
    ]
    score_members(several, features_of)
    assert asked == ["a", "b"]


def test_the_operating_point_is_where_the_members_distances_to_theirs_cancel_out(run, members):
    settings = DetectorRecord.read(run / "detector.json")
    expected = sigmoid(np.mean([logit(member.threshold) for member in members]))
    assert settings.threshold == pytest.approx(expected, abs=1e-9)
    assert settings.temperature == 1


def test_the_ensemble_is_named_after_all_its_members(ensemble, members):
    assert ensemble.about["name"] == "mobilenet_mean_of_2_folds"
    assert len({ensemble.about["sha256"], *(member.weights_sha256 for member in members)}) == FOLDS + 1


def alter_weights(run):
    path = run / "fold-1" / "model.weights.h5"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.unlink()
    path.write_bytes(content)


def alter_threshold(run):
    settings = DetectorRecord.read(run / "fold-0" / "detector.json")
    replace_text(run / "fold-0" / "detector.json", settings.model_copy(update={"threshold": 0.1}).model_dump_json())


def swap_members(run):
    (run / "fold-0").rename(run / "other")
    (run / "fold-1").rename(run / "fold-0")
    (run / "other").rename(run / "fold-1")


def remove_member(run):
    shutil.rmtree(run / "fold-0")


def forget_member(run):
    settings = read_json(run / "detector.json")
    replace_text(run / "detector.json", json.dumps({**settings, "members": settings["members"][:1]}))


@pytest.mark.parametrize("damage", [alter_weights, alter_threshold, swap_members, remove_member, forget_member])
def test_an_ensemble_whose_members_are_not_its_own_is_refused(copied_run, damage):
    damage(copied_run)
    with pytest.raises(RunError, match=r"altered.* Copy the run folder again"):
        load_detector(copied_run)


def lower_threshold(run):
    replace_text(run / "detector.json", json.dumps({**read_json(run / "detector.json"), "threshold": 0.1}))


def lose_a_video(run):
    lines = (run / "predictions.csv").read_text().splitlines(keepends=True)
    replace_text(run / "predictions.csv", "".join(lines[:-1]))


@pytest.mark.parametrize("damage", [lower_threshold, lose_a_video])
def test_an_altered_ensemble_gives_no_report_and_is_not_recalibrated(copied_run, demo_faces, tmp_path, damage):
    damage(copied_run)
    with pytest.raises(RunError, match="altered since training"):
        evaluation.evaluate(copied_run, demo_faces, tmp_path / "report", progress=False)
    with pytest.raises(RunError, match="altered since training"):
        recalibrate(copied_run)


def test_a_recalibrated_ensemble_says_that_nothing_is_guaranteed_and_why(copied_run, caplog, capsys):
    assert main(["calibrate", str(copied_run), "--max-fpr", "0.01"]) == 0
    (said,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert said.startswith("--max-fpr 0.01 and --max-fnr 0.1 cannot be guaranteed for an ensemble, and no bound can be")
    assert "every clip was used to train some member" in said
    assert "Bounds for new people: none, since every clip was used to train some member" in capsys.readouterr().out


def test_a_recalibrated_ensemble_passes_its_checks_with_all_its_members(copied_run, run):
    before = DetectorRecord.read(run / "detector.json")
    assert recalibrate(copied_run, method="isotonic").members != before.members
    for folder in (copied_run, *(copied_run / member.folder for member in before.members)):
        assert RunFolder(folder).about()["files"]["detector.json"] == sha256_of(folder / "detector.json")
    assert (copied_run / "predictions.csv").read_text() != (run / "predictions.csv").read_text()


def test_one_network_cannot_be_loaded_of_an_ensemble(run):
    with pytest.raises(RunError, match=r"is an ensemble.*fold-0"):
        load_network(run)


@pytest.fixture(scope="module")
def same_recipe(demo_faces, tmp_path_factory):
    """One network, trained with the settings of the folds except for the split."""
    folder = tmp_path_factory.mktemp("same")
    known = TrainingSettings(**SETTINGS, split=SplitSettings(seed=3))
    train(demo_faces, folder, settings=known, progress=False)
    return folder


@pytest.fixture
def single(same_recipe, tmp_path):
    return shutil.copytree(same_recipe, tmp_path / "single")


def test_a_detector_is_calibrated_on_the_out_of_fold_scores_of_all_clips(single, run, capsys):
    small = recalibrate(single).operating_points[0]
    assert DetectorRecord.read(single / "detector.json").fitted_on == "validation"
    assert main(["calibrate", str(single), "--operating-point", "fpr_5", "--out-of-fold", str(run)]) == 0
    rows = predictions_of(run)
    is_fake = np.array([row["is_fake"] == "true" for row in rows])
    raw = np.array([float(row["raw_probability"]) for row in rows])
    found = DetectorRecord.read(single / "detector.json")
    assert (found.temperature, found.bias) == fit_platt(is_fake, raw)
    assert (found.operating_point, found.fitted_on) == ("fpr_5", "out_of_fold")
    probability = sigmoid(calibrated_logits(found, raw))
    expected = next(one for one in operating_points(is_fake, probability) if one.rule == "fpr_5")
    assert found.threshold == pytest.approx(expected.threshold)
    (point,) = (one for one in found.operating_points if one.rule == "fpr_5")
    assert (point.reals, point.fakes) == ((~is_fake).sum(), is_fake.sum())
    assert point.reals + point.fakes > small.reals + small.fakes
    for row in read_csv(single / "predictions.csv", ()):
        own = sigmoid(calibrated_logits(found, np.array([float(row["raw_probability"])])))[0]
        assert float(row["fake_probability"]) == pytest.approx(own, abs=1e-8)
    assert RunFolder(single).about()["files"]["detector.json"] == sha256_of(single / "detector.json")


def other_epochs(folds_run):
    replace_identity(folds_run, settings={**read_json(folds_run / "run.json")["identity"]["settings"], "epochs": 7})


def other_data(folds_run):
    replace_identity(folds_run, dataset="0" * 64)


def other_start(folds_run):
    about = read_json(folds_run / "run.json")
    replace_text(folds_run / "run.json", json.dumps({**about, "backbone": {**about["backbone"], "checksum": "0"}}))


def replace_identity(folds_run, **changes):
    about = read_json(folds_run / "run.json")
    replace_text(folds_run / "run.json", json.dumps({**about, "identity": {**about["identity"], **changes}}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_epochs, r"other settings than .*single \(epochs\)"),
        (other_data, "other data"),
        (other_start, "the starting weights"),
        (lower_threshold, "altered since training"),
    ],
)
def test_folds_of_another_recipe_calibrate_nothing(single, copied_run, change, words):
    before = (single / "detector.json").read_bytes()
    change(copied_run)
    with pytest.raises(RunError, match=words):
        recalibrate(single, out_of_fold=copied_run)
    assert (single / "detector.json").read_bytes() == before


def test_folds_of_an_earlier_version_calibrate_too(single, copied_run):
    old = dict(read_json(copied_run / "run.json")["identity"]["settings"])
    old["views"] = old.pop("augmented_copies") + 1
    finetune = {name: value for name, value in old["finetune"].items() if name != "donor_share"}
    finetune["gradient_norm"] = finetune.pop("clip_norm")
    old["finetune"] = finetune
    replace_identity(copied_run, settings=old)
    assert recalibrate(single, out_of_fold=copied_run).fitted_on == "out_of_fold"


def test_only_folds_calibrate_and_only_one_network_is_calibrated_on_them(single, run, copied_run):
    with pytest.raises(RunError, match="is not a run with folds"):
        recalibrate(single, out_of_fold=single)
    with pytest.raises(RunError, match="is an ensemble"):
        recalibrate(copied_run, out_of_fold=run)


def renamed(faces, folder, *, keep_group_of=""):
    """The same clips under names and groups that no training knows, but for the group of one clip."""
    dataset = read_face_dataset(faces)
    shutil.copytree(faces, folder, copy_function=os.link)
    (folder / "manifest.csv").unlink()
    rows = [
        replace(row, video=f"new {row.video}", group=row.group if row.video == keep_group_of else f"new {row.group}")
        for row in dataset.rows
    ]
    write_csv(folder / "manifest.csv", MANIFEST_COLUMNS, map(manifest_row, rows))
    return folder


@pytest.mark.parametrize("split", ["test", "train", "all"])
def test_an_ensemble_is_not_evaluated_on_what_its_members_were_trained_on(run, demo_faces, tmp_path, split):
    with pytest.raises(ReportError, match=r"out-of-fold scores are measured in .*folds\.csv.*fold-0"):
        evaluation.evaluate(run, demo_faces, tmp_path / "report", split=split, progress=False)
    assert not (tmp_path / "report").exists()


def test_an_ensemble_is_evaluated_on_new_videos_only(run, ensemble, demo_faces, tmp_path, monkeypatch):
    known = read_face_dataset(demo_faces).rows[0].video
    faces = renamed(demo_faces, tmp_path / "faces", keep_group_of=known)
    monkeypatch.setattr(evaluation, "load_detector", lambda _run, **_: ensemble)
    monkeypatch.setattr(evaluation, "write_report", lambda _folder, content, **_: content)
    content = evaluation.evaluate(run, faces, tmp_path / "report", progress=False)
    assert len(content.predictions) == 11
    assert f"new {known}" not in set(content.predictions["video"])
    (leaks,) = (section for section in content.sections if section.name == "leaks")
    assert leaks.document["trained_under_another_name"] == 11  # the names are new, the files are not
    assert "The files of 11 measured clips were used in training" in leaks.flag
    assert content.threshold == DetectorRecord.read(run / "detector.json").threshold
    with pytest.raises(ReportError, match="out-of-fold"):
        evaluation.evaluate(run, faces, tmp_path / "report", split="all", progress=False)


def write_out_of_fold(folder, rows):
    """Rows of fold, group, truth, score and call."""
    folder.mkdir()
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(OUT_OF_FOLD_COLUMNS)
        for number, (fold, group, is_fake, score, label) in enumerate(rows):
            called_fake = str(label == "FAKE").lower()
            truth = str(is_fake).lower()
            writer.writerow([f"c{number}", f"v{number}", group, fold, truth, score, score, label, called_fake, ""])
    return folder


def test_the_summary_compares_clips_of_one_fold_only(tmp_path):
    # Each fold ranks its own clips right, on a scale of its own; over both, 3 of 4 pairs would be right.
    rows = [
        (0, "a", True, 0.9, "FAKE"),
        (0, "b", False, 0.8, "FAKE"),
        (1, "c", True, 0.2, "FAKE"),
        (1, "d", False, 0.1, "REAL"),
    ]
    rows[3] = (*rows[3][:4], "UNDECIDED")  # an answer, which the two-class threshold does not know
    run = write_out_of_fold(tmp_path / "run", rows)
    first, second, together = summarise_folds(run, resamples=100)
    assert [one.estimates["auc"]["value"] for one in (first, second, together)] == [1, 1, 1]
    assert [one.estimates["balanced_accuracy"]["value"] for one in (first, second, together)] == [0.5, 1, 0.75]
    losses = -np.log([0.9, 0.2, 0.2, 0.9])
    assert together.estimates["log_loss"]["value"] == pytest.approx(losses.mean(), abs=1e-4)
    assert (together.clips, together.groups, together.real, together.fake) == (4, 4, 2, 2)
    written = read_csv(run / "folds.csv", COLUMNS)
    assert [row["fold"] for row in written] == ["0", "1", "all"]
    assert written[2]["log_loss"] == str(together.estimates["log_loss"]["value"])
    assert read_json(run / "folds.json")["all"] == together.document()


def test_intervals_of_the_summary_draw_whole_groups(tmp_path):
    # Ten clips of two groups hold no more than two clips would: only the share of each group varies.
    rows = [(0, group, is_fake, score, "REAL") for group, is_fake, score in [("a", True, 0.5), ("b", False, 0.2)] * 5]
    (fold, _) = summarise_folds(write_out_of_fold(tmp_path / "run", rows), resamples=200)
    low, high = fold.estimates["log_loss"]["low"], fold.estimates["log_loss"]["high"]
    assert (low, high) == pytest.approx((-np.log(0.8), -np.log(0.5)), abs=1e-4)
    assert fold.estimates["auc"]["low"] is None
