"""From a face dataset to a complete run folder."""

import json
import logging
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from training_helpers import traced_steps

from dfutils.errors import DatasetError, RunError, SplitError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import only_job, read_csv, write_csv
from dfutils.prediction.detector import load_detector
from dfutils.pretrained import DEFAULT
from dfutils.settings import TrainingSettings
from dfutils.training.features import clip_features
from dfutils.training.fit import BestEpoch, fit_head
from dfutils.training.folds import train_folds
from dfutils.training.run import _start, train
from dfutils.training.saved_network import load_network


def settings_of(run):
    return TrainingSettings.read(run / "settings.json")


def test_the_run_folder_has_every_file_of_its_contract(demo_run):
    names = {path.name for path in demo_run.iterdir()}
    assert names == {
        "settings.json", "splits.csv", "history.csv", "leaks.json", "model.weights.h5",
        "predictions.csv", "detector.json", "run.json",
    }  # fmt: skip
    assert len(read_csv(demo_run / "history.csv", ())) == 3
    assert {"loss", "accuracy", "precision", "recall", "auc", "val_auc"} <= set(
        read_csv(demo_run / "history.csv", ())[0]
    )


def test_no_group_of_a_run_is_in_two_splits(demo_run):
    splits = {}
    for row in read_csv(demo_run / "splits.csv", ()):
        splits.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert set.union(*splits.values()) == {"train", "validation", "test"}


def test_every_clip_has_a_raw_and_a_calibrated_probability(demo_run, demo_faces):
    rows = read_csv(demo_run / "predictions.csv", ())
    assert {row["clip_id"] for row in rows} == {row.clip_id for row in read_face_dataset(demo_faces).rows}
    detector = json.loads((demo_run / "detector.json").read_text())
    for row in rows:
        raw, probability = float(row["raw_probability"]), float(row["fake_probability"])
        raw = min(max(raw, 1e-6), 1 - 1e-6)
        logit = np.log(raw / (1 - raw)) / detector["temperature"] + detector["bias"]
        assert probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-3)


def test_the_same_seed_trains_the_same_run(demo_faces, demo_run, tmp_path):
    train(demo_faces, tmp_path / "again", settings=settings_of(demo_run), progress=False)
    for name in ("history.csv", "predictions.csv", "splits.csv", "detector.json"):
        before, after = (demo_run / name).read_text(), (tmp_path / "again" / name).read_text()
        if name == "detector.json":  # the file of the weights holds times, the weights themselves show in predictions
            before, after = ({**json.loads(text), "weights_sha256": ""} for text in (before, after))
        assert after == before, name


def test_a_finished_run_is_left_alone(demo_faces, demo_run):
    before = (demo_run / "model.weights.h5").stat().st_mtime_ns
    train(demo_faces, demo_run, settings=settings_of(demo_run), progress=False)
    assert (demo_run / "model.weights.h5").stat().st_mtime_ns == before


def test_a_finished_run_is_not_overwritten_by_other_settings(demo_faces, demo_run):
    other = settings_of(demo_run).model_copy(update={"epochs": 5})
    with pytest.raises(RunError, match="other settings"):
        train(demo_faces, demo_run, settings=other, progress=False)


def test_a_splits_file_keeps_groups_where_they_were(demo_faces, demo_run, tmp_path):
    other = settings_of(demo_run).model_copy(update={"seed": 5, "backbone": "MobileNet"})
    train(demo_faces, tmp_path / "run", settings=other, splits_file=demo_run / "splits.csv", progress=False)
    assert (tmp_path / "run" / "splits.csv").read_text() == (demo_run / "splits.csv").read_text()


def test_too_few_groups_are_refused_with_advice(demo_faces, tmp_path):
    faces = shutil.copytree(demo_faces, tmp_path / "faces")
    rows = read_csv(faces / "manifest.csv", ())[:4]
    write_csv(faces / "manifest.csv", tuple(rows[0]), rows)
    with pytest.raises(SplitError):
        train(faces, tmp_path / "run", settings=TrainingSettings(backbone_weights="random"), progress=False)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_model_of_clips_is_not_trained_on_still_images(demo_faces, tmp_path):
    faces = tmp_path / "faces"
    shutil.copytree(demo_faces, faces, ignore=shutil.ignore_patterns("*.png"))
    for name, kept in (("frames.csv", {"index": "0"}), ("manifest.csv", {})):
        rows = [row for row in read_csv(faces / name, ()) if kept.items() <= row.items()]
        write_csv(faces / name, tuple(rows[0]), [{**row, **({} if kept else {"frames": "1"})} for row in rows])
    settings = TrainingSettings(model="inception_gru", backbone_weights="random")
    with pytest.raises(
        RunError, match=r"model inception_gru: needs clips, .* Choose a model with a frame head such as"
    ):
        train(faces, tmp_path / "run", settings=settings, progress=False)
    assert not (tmp_path / "run").exists()


def test_weights_of_a_run_with_crops_of_another_size_are_refused(demo_faces, demo_run, tmp_path):
    settings = settings_of(demo_run).model_copy(update={"init_from": str(demo_run), "size": 80})
    with pytest.raises(RunError, match=r"of 96 pixels, but the setting size is 80\. Set size to 96, or leave"):
        train(demo_faces, tmp_path / "run", settings=settings, progress=False)
    settings = settings.model_copy(update={"init_from": DEFAULT, "size": None})
    with pytest.raises(DatasetError, match=r"96 pixels, but 224 are needed\. Extract again with --size 224 or more"):
        train(demo_faces, tmp_path / "run", settings=settings, progress=False)
    assert not (tmp_path / "run").exists()


def test_crops_that_are_larger_than_those_of_the_first_network_are_reduced(demo_faces, demo_run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first, second = tmp_path / "first", tmp_path / "second"
    settings = settings_of(demo_run).model_copy(update={"epochs": 1, "size": 75, "backbone": "MobileNet"})
    train(demo_faces, first, settings=settings, progress=False)
    settings = settings.model_copy(update={"init_from": str(first), "size": None})
    assert train(demo_faces, second, settings=settings, progress=False).extraction.size == 75
    assert f"{first}: takes crops of 75 pixels; those of 96 are reduced" in caplog.messages
    assert load_detector(second, engine="keras").settings.extraction.size == 75


@pytest.mark.parametrize(("backbone", "channels"), [("InceptionV3", 2048), ("InceptionV3Blocks", 10048)])
def test_training_starts_from_a_network_of_which_it_may_take_other_features(demo_faces, demo_run, backbone, channels):
    changes = {"init_from": str(demo_run), "mode": "finetune", "backbone": backbone}
    start = _start(settings_of(demo_run).model_copy(update=changes), read_face_dataset(demo_faces))
    weights, _ = load_network(demo_run)
    assert start.backbone.family == backbone
    assert start.backbone.model.output.shape == (None, channels)
    for one, other in zip(start.backbone.model.get_weights(), weights.backbone.get_weights(), strict=True):
        assert np.array_equal(one, other)
    assert (start.head is not None) == (backbone == "InceptionV3")  # the head reads other features


def test_an_unknown_backbone_is_named_before_anything_is_read(demo_run, tmp_path):
    settings = settings_of(demo_run).model_copy(update={"init_from": str(demo_run), "backbone": "InceptionV33"})
    for begin in (train, partial(train_folds, folds=2)):
        with pytest.raises(RunError, match=r"there is no 'InceptionV33'. Choose one of: InceptionV3, InceptionV3B"):
            begin(tmp_path / "no faces", tmp_path / "run", settings=settings, progress=False)


class CountingBackbone:
    """Stands for a backbone; its features are the mean colour of each crop."""

    def __init__(self):
        self.crops = 0

    def features(self, images):
        self.crops += len(images)
        return images.mean(axis=(1, 2), dtype=np.float32)


def test_features_are_computed_once_and_again_when_a_pixel_changes(demo_faces, tmp_path, monkeypatch):
    monkeypatch.setenv("DFUTILS_CACHE", str(tmp_path / "cache"))
    faces = shutil.copytree(demo_faces, tmp_path / "faces")
    dataset = read_face_dataset(faces)
    backbone = CountingBackbone()
    first = clip_features(dataset, dataset.rows, backbone.features, cache_key="a", progress=False)
    assert backbone.crops == 120
    assert np.array_equal(clip_features(dataset, dataset.rows, backbone.features, cache_key="a", progress=False), first)
    assert backbone.crops == 120
    clip_features(dataset, dataset.rows, backbone.features, cache_key="b", progress=False)
    assert backbone.crops == 240
    one, two = dataset.files[dataset.rows[0].clip_id][:2]
    shutil.copy(faces / one, faces / two)
    changed = clip_features(dataset, dataset.rows, backbone.features, cache_key="a", progress=False)
    assert backbone.crops == 250
    assert np.array_equal(changed[0, 0], changed[0, 1])


def test_augmented_views_are_cached_and_depend_on_their_clip_alone(demo_faces, tmp_path, monkeypatch):
    monkeypatch.setenv("DFUTILS_CACHE", str(tmp_path / "cache"))
    dataset, backbone = read_face_dataset(demo_faces), CountingBackbone()

    def view(number, rows=dataset.rows):
        return clip_features(dataset, rows, backbone.features, cache_key="a", copy=number, progress=False)

    plain, first, second = view(0), view(1), view(2)
    assert not np.array_equal(first, plain)
    assert not np.array_equal(first, second)
    assert backbone.crops == 360
    assert np.array_equal(view(1), first)
    assert backbone.crops == 360
    monkeypatch.setenv("DFUTILS_CACHE", str(tmp_path / "another"))
    assert np.array_equal(view(1, dataset.rows[3:5]), first[3:5])


COPIES = TrainingSettings(
    model="inception_mean",
    backbone_weights="random",
    epochs=1,
    augmented_copies=2,
    split={"test_fraction": 0.34, "validation_fraction": 0.34},
)


def test_only_training_clips_are_augmented(demo_faces, tmp_path, monkeypatch):
    asked = []

    def features(dataset, rows, *_, copy=0, **__):
        asked.append((copy, len(rows)))
        return np.random.default_rng(copy).normal(size=(len(rows), 10, 2048)).astype(np.float32)

    monkeypatch.setattr("dfutils.training.run.clip_features", features)
    train(demo_faces, tmp_path / "run", settings=COPIES, progress=False)
    assert asked == [(0, 6), (1, 6), (2, 6), (0, 2), (0, 12)]


def test_clips_of_different_lengths_are_refused(demo_faces):
    dataset = read_face_dataset(demo_faces)
    rows = [dataset.rows[0], replace(dataset.rows[1], frames=1)]
    with pytest.raises(DatasetError, match=r"clips of \[1, 10\] frames"):
        clip_features(dataset, rows, CountingBackbone().features, cache_key="a", progress=False)


class Epochs:
    """Stands for a model whose weights are the number of its epoch."""

    stop_training = False

    def __init__(self):
        self.epoch = -1

    def get_weights(self):
        return [self.epoch]


@pytest.mark.parametrize(
    ("aucs", "losses", "kept", "epochs"),
    [
        pytest.param([0.5, 0.8, 0.7, 0.6], [1, 1, 1, 1], 1, 4, id="best AUC, stopped two epochs later"),
        pytest.param([1.0, 1.0, 1.0, 1.0], [0.7, 0.5, 0.3, 0.4], 2, 4, id="of equal AUCs the lower loss"),
        pytest.param([0.9, 0.8, 0.8, 0.8], [0.7, 0.1, 0.1, 0.1], 0, 3, id="a lower loss does not make up for AUC"),
    ],
)
def test_the_best_epoch_is_kept(aucs, losses, kept, epochs):
    best, model = BestEpoch(patience=2), Epochs()
    best.set_model(model)
    for auc, loss in zip(aucs, losses, strict=True):
        if model.stop_training:
            break
        model.epoch += 1
        best.on_epoch_end(model.epoch, {"val_auc": auc, "val_loss": loss})
    assert best.weights == [kept]
    assert model.epoch + 1 == epochs


@pytest.mark.parametrize("model", ["inception_mean", "inception_gru", "inception_lstm_gru"])
def test_a_few_steps_on_separable_clips_lower_the_loss_and_are_traced_once(model, tmp_path):
    rng = np.random.default_rng(0)
    is_fake = np.arange(64) % 2 == 1
    features = rng.normal(0, 1, (64, 4, 2048)).astype(np.float32)
    features[is_fake, :, :50] += 2
    settings = TrainingSettings(model=model, epochs=8, patience=8)
    with traced_steps() as traces:
        fit_head(
            features[:48], is_fake[:48], validation=(features[48:], is_fake[48:]), settings=settings,
            history_file=tmp_path / "history.csv", progress=False,
        )  # fmt: skip
    assert len(traces) == 1
    history = read_csv(tmp_path / "history.csv", ())
    assert float(history[-1]["loss"]) < 0.5 * float(history[0]["loss"])
    assert float(history[-1]["val_auc"]) > 0.9


@pytest.mark.parametrize("mode", ["cached", "finetune"])
def test_a_training_that_diverges_stops_and_is_never_finished(mode, demo_faces, tmp_path):
    settings = TrainingSettings(
        model="inception_mean", mode=mode, backbone="MobileNet", backbone_weights="random", batch_size=4, epochs=2,
        learning_rate=1e30, finetune={"steps_per_epoch": 2},
    )  # fmt: skip
    with pytest.raises(
        RunError, match=r"diverged: [\w ]+ is not finite at a learning rate of 1e\+30. Lower learning_rate"
    ) as raised:
        train(demo_faces, tmp_path / "run", settings=settings, progress=False)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"run.json", "detector.json", "model.weights.h5"}
    loggers = [frame.locals["csv_log"] for frame in raised.traceback if "csv_log" in frame.locals]
    assert all(log.csv_file.closed for logs in loggers for log in logs)
    assert bool(loggers) == (mode == "cached")


def test_a_second_training_in_one_folder_says_so_and_ends(demo_faces, tmp_path):
    with only_job(tmp_path / "run"), pytest.raises(DatasetError, match=r"run: another job is writing there"):
        train(demo_faces, tmp_path / "run", settings=TrainingSettings(backbone_weights="random"), progress=False)
    assert not any((tmp_path / "run").iterdir())


def test_a_channel_that_was_constant_in_training_does_not_decide():
    features = np.random.default_rng(0).normal(0, 1, (24, 2, 16)).astype(np.float32)
    features[:, :, 0] = 0.0
    is_fake = np.arange(24) % 2 == 1
    settings = TrainingSettings(model="inception_mean", epochs=1)
    head = fit_head(features, is_fake, validation=(features, is_fake), settings=settings, progress=False)
    awake = features[:1].copy()
    awake[:, :, 0] = 0.002
    still, moved = head.predict(np.concatenate([features[:1], awake]), verbose=0)[:, 0]
    assert moved == pytest.approx(still, abs=0.05)


@pytest.mark.parametrize(("weighted", "expected"), [(False, 0.75), (True, 0.5)])
def test_class_weights_give_the_rarer_label_the_same_weight(weighted, expected):
    is_fake = np.arange(64) % 4 != 0
    features = np.ones((64, 2, 16), np.float32)  # nothing to tell them by: what is learnt is how often they come
    settings = TrainingSettings(
        model="inception_mean", epochs=30, patience=30, learning_rate=0.03, batch_size=16, class_weights=weighted
    )
    head = fit_head(features, is_fake, validation=(features, is_fake), settings=settings, progress=False)
    assert float(head.predict(features[:1], verbose=0)[0, 0]) == pytest.approx(expected, abs=0.05)
