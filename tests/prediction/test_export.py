"""Exports are written only if they prove equal to Keras, and read only if they are intact."""

import dataclasses
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rounding import SCORE

from dfutils import cli
from dfutils.errors import RunError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.files import read_csv
from dfutils.prediction.detector import load_detector
from dfutils.prediction.export import (
    LARGEST_DIFFERENCE,
    _require_equal,
    _write_model,
    clip_scores,
    differences,
    export_detector,
    quantised,
)
from dfutils.prediction.members import ClipScore, score_members
from dfutils.prediction.runtime import OpenVinoNetwork
from dfutils.runs.folder import RunFolder
from dfutils.runs.probabilities import calibrated_logits, sigmoid
from dfutils.runs.record import ExportRecord
from dfutils.settings import TrainingSettings
from dfutils.training.folds import train_folds
from dfutils.training.run import train

pytest.importorskip("openvino")

SMALL = TrainingSettings(model="inception_mean", backbone="MobileNet", backbone_weights="random", epochs=1)
"""Has a quarter of InceptionV3's layers, for tests of what happens around a conversion."""


@pytest.fixture(scope="module")
def small_run(demo_faces, tmp_path_factory):
    run = tmp_path_factory.mktemp("small") / "run"
    train(demo_faces, run, settings=SMALL, progress=False)
    return run


@pytest.fixture(scope="module")
def exported(demo_run, demo_faces, tmp_path_factory):
    run = shutil.copytree(demo_run, tmp_path_factory.mktemp("exported") / "run")
    assert cli.main(["export", str(run), str(demo_faces)]) == 0
    return run


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "run")


def test_an_export_says_how_far_it_differs_on_the_validation_split(exported):
    export = json.loads((exported / "export" / "export.json").read_text())
    validation = [row for row in read_csv(exported / "splits.csv", ("split",)) if row["split"] == "validation"]
    assert (export["precision"], export["split"], export["clips"]) == ("float32", "validation", len(validation))
    assert export["largest_difference"] <= LARGEST_DIFFERENCE
    assert export["same_labels"] == 1
    assert export["auc"] == pytest.approx(export["auc_keras"])


def test_a_backbone_that_cannot_be_built_for_openvino_runs_on_it_once_exported(demo_faces, demo_videos, tmp_path):
    # The hardest family: OpenVINO's converter takes EfficientNet's activations for outputs.
    family = "EfficientNetB0"
    settings = TrainingSettings(model="inception_mean", backbone=family, backbone_weights="random", epochs=1)
    train(demo_faces, tmp_path / "run", settings=settings, progress=False)
    reference = load_detector(tmp_path / "run")
    assert reference.engine == "keras"
    with pytest.raises(RunError, match=f"{family} has to be exported first"):
        load_detector(tmp_path / "run", engine="openvino")
    export_detector(tmp_path / "run", demo_faces, precision="float32")
    ported = load_detector(tmp_path / "run")
    assert ported.engine == "openvino"
    assert ported.predict(demo_videos[0]).fake_probability == pytest.approx(
        reference.predict(demo_videos[0]).fake_probability, abs=SCORE
    )


@pytest.mark.parametrize("name", ["backbone.xml", "backbone.bin"])
def test_an_altered_export_is_refused(copied, name):
    path = copied / "export" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RunError, match=f"{name}: is missing or was altered"):
        load_detector(copied, engine="openvino")
    path.unlink()
    with pytest.raises(RunError, match=f"{name}: is missing or was altered"):
        load_detector(copied, engine="openvino")


def test_an_export_of_other_weights_is_refused(copied):
    path = copied / "export" / "export.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": "0" * 64}))
    with pytest.raises(RunError, match="was exported from other weights"):
        load_detector(copied, engine="openvino")


def gate(**changes):
    same = {"largest_difference": 0.0, "auc_keras": 0.8, "auc": 0.8, "same_labels": 1.0, "same_sides": 1.0}
    about = {"weights_sha256": "", "files": {}, "split": "validation", "clips": 100, "openvino": ""}
    return ExportRecord.parse({**about, **same, **changes}, source="test")


@pytest.mark.parametrize(
    "figures",
    [
        {"precision": "float32", "largest_difference": 0.9e-4},
        {"precision": "int8", "auc": 0.7951, "same_labels": 0.96, "same_sides": 0.98, "largest_difference": 0.2},
    ],
)
def test_an_export_as_good_as_keras_passes(figures, tmp_path):
    _require_equal(tmp_path, gate(**figures))


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"precision": "float32", "largest_difference": 1.1e-4}, "differ from Keras' by up to 0.00011"),
        ({"precision": "int8", "auc": 0.794}, "int8 costs 0.0060 of AUC"),
        ({"precision": "bfloat16", "same_sides": 0.97}, "97.0% of 100 clips stay on the same side"),
        ({"precision": "int8", "auc": None, "auc_keras": None}, "needs REAL and FAKE clips"),
    ],
)
def test_an_export_worse_than_keras_is_refused(figures, reason, tmp_path):
    with pytest.raises(RunError, match=reason):
        _require_equal(tmp_path, gate(**figures))


def test_an_export_without_the_validation_clips_is_refused_and_writes_nothing(small_run, demo_faces, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    rows = (run / "splits.csv").read_text()
    (run / "splits.csv").write_text(rows.replace("validation", "test"))
    with pytest.raises(RunError, match="holds no clip of the validation split"):
        export_detector(run, demo_faces)
    assert not (run / "export").exists()


def test_a_detector_without_its_splits_is_compared_on_all_clips_and_says_so(small_run, demo_faces, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    (run / "splits.csv").unlink()
    (export,) = export_detector(run, demo_faces, most=2)
    assert (export.split, export.clips) == ("all", 2)
    with pytest.raises(RunError, match="int8 calibration needs training clips"):
        quantised(None, read_face_dataset(demo_faces), ())


@pytest.mark.parametrize(
    ("precision", "missing"),
    [("float32", ["openvino"]), ("int8", ["nncf"]), ("int8", ["openvino", "nncf"])],
    ids=str,
)
def test_an_export_without_its_libraries_says_what_to_install(demo_run, demo_faces, monkeypatch, precision, missing):
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    needed = f"^export to {precision}: needs {' and '.join(missing)}\\. .*'\\.\\[export\\]'"
    with pytest.raises(RunError, match=needed):
        export_detector(demo_run, demo_faces, precision=precision)
    assert not (demo_run / "export").exists()


def test_a_disk_that_is_full_while_the_export_is_written_is_an_error(tmp_path):
    from dfutils.prediction.openvino_backend import ops, ov

    given = ops.parameter([1, 4], np.float32)
    model = ov.Model([ops.relu(given)], [given], "small")
    (tmp_path / "backbone.xml").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"cannot be written \(.*\)\. Make room on the disk and repeat the command"):
        _write_model(model, tmp_path, "float32")


def test_the_bfloat16_export_is_the_one_that_was_judged(demo_run, demo_faces, tmp_path):
    from dfutils.prediction.openvino_backend import ov

    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bfloat16")
    run = shutil.copytree(demo_run, tmp_path / "run")
    (export,) = export_detector(run, demo_faces, precision="bfloat16")
    assert (export.precision, export.same_sides >= 0.98) == ("bfloat16", True)
    dataset = read_face_dataset(demo_faces)
    held = {row["video"] for row in read_csv(run / "splits.csv", ("split",)) if row["split"] == "validation"}
    rows = [row for row in dataset.rows if row.video in held]
    networks = [load_detector(run, engine=engine).members[0].network for engine in ("openvino", "keras")]
    settings = load_detector(run).settings
    ported, reference = (
        np.array([(score.raw_probability, score.fake_probability) for score in clip_scores(settings, network, clips)])
        for network, clips in ((network, map(dataset.load_clip, rows)) for network in networks)
    )
    assert abs(ported - reference).max() == pytest.approx(export.largest_difference, abs=1e-6)
    assert export.largest_difference > 1e-4


@pytest.fixture(scope="module")
def ensemble(demo_faces, tmp_path_factory):
    run = tmp_path_factory.mktemp("ensemble") / "run"
    train_folds(demo_faces, run, settings=SMALL, folds=2, progress=False)
    return run


def test_all_members_of_an_ensemble_are_exported_or_none(ensemble, demo_faces, tmp_path, monkeypatch):
    run = shutil.copytree(ensemble, tmp_path / "run")
    judged = []

    def refuse_the_second(own_run, _export):
        judged.append(own_run)
        if len(judged) == 2:
            raise RunError("not exported")

    monkeypatch.setattr("dfutils.prediction.export._require_equal", refuse_the_second)
    with pytest.raises(RunError, match="not exported"):
        export_detector(run, demo_faces)
    assert not list(run.rglob("export*")) + list(run.rglob(".export*"))


def test_each_member_s_head_runs_on_the_export_it_was_judged_with(ensemble, demo_faces, tmp_path):
    run = shutil.copytree(ensemble, tmp_path / "run")
    export_detector(run, demo_faces)
    members = load_detector(run, engine="openvino").members
    asked = []

    def features_of(member):
        asked.append(member)
        return np.ones((1, 10, 1024), np.float32)

    # Each fold has an export of its own after a quantisation.
    other = dataclasses.replace(members[1], export_key=members[1].export_key + " another")
    score_members([members[0], other], features_of)
    assert {id(member) for member in asked} == {id(members[0]), id(other)}
    asked.clear()
    score_members([members[0], dataclasses.replace(other, export_key=members[0].export_key)], features_of)
    assert len(asked) == 1


def test_an_export_worse_than_keras_is_not_written(small_run, demo_faces, tmp_path, monkeypatch):
    run = shutil.copytree(small_run, tmp_path / "run")

    score = OpenVinoNetwork.score

    def worse(network, features):
        clips, frames = score(network, features)
        return clips + 0.01, frames

    monkeypatch.setattr(OpenVinoNetwork, "score", worse)
    with pytest.raises(RunError, match=r"not exported: probabilities differ from Keras' by up to 0\.\d+"):
        export_detector(run, demo_faces)
    assert not (run / "export").exists()


def test_calibrated_probabilities_are_compared_too(demo_run):
    settings = (
        RunFolder(demo_run)
        .detector()
        .model_copy(update={"temperature": 0.05, "bias": 0.0, "real_up_to": 0.4, "fake_from": 0.6})
    )
    is_fake = np.array([True, False])

    def scores(first):
        raw = np.array([first, 0.9])
        return [ClipScore(*one, None) for one in zip(raw, sigmoid(calibrated_logits(settings, raw)), strict=True)]

    found = differences(settings, is_fake, scores(0.5), scores(0.50009))
    assert found["largest_difference"] == pytest.approx(0.00009 * 4 / 0.05 / 4, rel=0.02)
    for changed, same in ((0.505, 1), (0.53, 0.5), (0.47, 0.5)):  # to FAKE and to REAL
        found = differences(settings, is_fake, scores(0.5), scores(changed))
        assert (found["same_labels"], found["same_sides"]) == (same, same)


def test_an_answer_that_changes_at_one_threshold_counts_there_only(demo_run):
    settings = RunFolder(demo_run).detector().model_copy(update={"real_up_to": 0.4, "fake_from": 0.6})
    reference, scores = (
        [ClipScore(one, one, None) for one in some] for some in ([0.5, 0.5, 0.9, 0.9], [0.7, 0.3, 0.9, 0.9])
    )
    found = differences(settings, np.array([True, False, True, True]), reference, scores)
    assert (found["same_labels"], found["same_sides"]) == (0.5, 0.75)


def test_exports_are_compared_with_the_views_of_the_detector(demo_run):
    """A network that only looks at the left half gives the mean of the score of both halves, if one view mirrors."""
    settings = RunFolder(demo_run).detector().model_copy(update={"temperature": 1.0, "bias": 0.0})

    class LeftHalf:
        def features(self, images):
            return images[:, :, :48].mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 255

        def score(self, features):
            return features.mean(axis=(1, 2)), features[..., 0]

    clip = np.full((1, 96, 96, 3), 51, np.uint8)
    clip[:, :, 48:] = 204
    for views, expected in (((), 0.2), (("mirrored",), 0.5)):
        (score,) = clip_scores(settings.model_copy(update={"views": views}), LeftHalf(), [clip])
        assert score.fake_probability == pytest.approx(expected, abs=1e-6)


def test_nan_scores_are_refused(demo_run):
    class Damaged:
        def features(self, images):
            return np.zeros((len(images), 1), np.float32)

        def score(self, features):
            return np.full(len(features), np.nan), None

    settings = RunFolder(demo_run).detector()
    with pytest.raises(RunError, match="NaN"):
        clip_scores(settings, Damaged(), [np.zeros((settings.extraction.frames, 96, 96, 3), np.uint8)])


def test_int8_is_calibrated_on_training_clips(small_run, demo_faces, tmp_path, monkeypatch):
    run = shutil.copytree(small_run, tmp_path / "run")
    seen = []

    def as_it_was(model, _dataset, rows):
        seen.extend(row.video for row in rows)
        return model

    monkeypatch.setattr("dfutils.prediction.export.importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("dfutils.prediction.export.quantised", as_it_was)
    (export,) = export_detector(run, demo_faces, precision="int8")
    splits = {row["video"]: row["split"] for row in read_csv(run / "splits.csv", ("video", "split"))}
    assert seen
    assert {splits[video] for video in seen} == {"train"}
    assert (export.precision, export.split) == ("int8", "validation")


def test_int8_does_not_clip_activations_that_few_training_crops_cause():
    from dfutils.prediction.openvino_backend import ops, ov

    crops = ops.parameter([1, 8, 8, 3], np.uint8)
    pixels = ops.transpose(ops.convert(crops, np.float32), np.array([0, 3, 1, 2]))
    out = pixels
    for channels in (3, 4):
        mean = ov.op.Constant(np.full((4, channels, 1, 1), 1 / channels, np.float32))
        out = ops.relu(ops.convolution(out, mean, [1, 1], [0, 0], [0, 0], [1, 1]))
    model = ov.Model([ops.reduce_mean(out, np.array([2, 3]))], [crops], "brightness")

    def crop(row, _frames):
        return np.full((1, 8, 8, 3), 250 if row.frames == 2 else 20, np.uint8)

    rows = [SimpleNamespace(frames=2 if number % 20 == 0 else 1) for number in range(100)]
    compiled = ov.compile_model(quantised(model, SimpleNamespace(load_frames=crop), rows), "CPU")
    for row in rows[:2]:
        given = crop(row, [0])
        assert compiled(given)[0].mean() == pytest.approx(float(given.mean()), rel=0.1)


def test_int8_is_judged_before_it_is_written(demo_run, demo_faces, tmp_path):
    run = shutil.copytree(demo_run, tmp_path / "run")
    try:
        (export,) = export_detector(run, demo_faces, precision="int8")
    except RunError as error:  # random weights leave little for 8 bits to keep
        assert "not exported: int8 costs" in str(error)
        assert not (run / "export").exists()
    else:
        assert export.same_sides >= 0.98
        assert load_detector(run, engine="openvino").members[0].export_key
