"""OpenVINO gives the same verdicts as Keras, without TensorFlow."""

import json
import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from rounding import FEATURES, HEAD, SCORE

from dfutils import cli
from dfutils.errors import RunError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.prediction.detector import load_detector
from dfutils.prediction.heads import read_head
from dfutils.prediction.inception import build_inception
from dfutils.prediction.runtime import choose_engine, compile_backbone, network_loader, read_backbone
from dfutils.runs.probabilities import logit
from dfutils.training.backbones import build_backbone
from dfutils.training.model import HEADS, build_head, compose
from dfutils.training.saved_network import write_weights

pytest.importorskip("openvino")

SIZE, FRAMES = 96, 4


def with_random_weights(model):
    """Give every variable other values than its initial ones, different for each layer."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if not variable.dtype.startswith("float"):
            continue
        spread = np.sqrt(2 / np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 0.1
        values = rng.normal(0, spread, variable.shape)
        variable.assign(0.5 + np.abs(values) if "variance" in variable.path else values)
    return model


@pytest.fixture(scope="module")
def backbone():
    return with_random_weights(build_backbone("random", size=SIZE).model)


def saved(folder, backbone, name):
    head = with_random_weights(build_head(name, frames=FRAMES, channels=backbone.output.shape[-1]))
    head.get_layer("standardise").finalize_state()  # it computes with copies of its variables
    network = compose(backbone, head, frames=FRAMES, size=SIZE)
    write_weights(folder, network)
    return network, folder / "model.weights.h5"


@pytest.mark.parametrize("name", HEADS)
def test_every_head_in_numpy_gives_the_probabilities_of_keras(backbone, tmp_path, name):
    network, path = saved(tmp_path, backbone, name)
    features = np.random.default_rng(1).normal(0, 1, (3, FRAMES, 2048)).astype(np.float32)
    with h5py.File(path) as weights:
        clips, frames = read_head(weights, name).score(features)
    expected, expected_frames = network.score(features)
    assert clips == pytest.approx(expected, abs=HEAD)
    assert expected.std() > 0.01
    assert (frames is None) == (expected_frames is None)
    if frames is not None:
        assert frames == pytest.approx(expected_frames, abs=HEAD)
    with h5py.File(path) as weights:
        sure, _ = read_head(weights, name).score(20 * features)
    kept = logit(network.score(20 * features)[0])
    assert logit(sure) == pytest.approx(kept, abs=HEAD * np.abs(kept).max())  # a float32 probability would lose them


@pytest.mark.parametrize("family", ["InceptionV3", "InceptionV3Blocks"])
def test_the_backbone_built_from_weights_gives_the_features_of_keras(family, tmp_path):
    backbone = with_random_weights(build_backbone("random", size=SIZE, family=family).model)
    network, path = saved(tmp_path, backbone, "inception_mean")
    images = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    expected = network.features(images)
    with h5py.File(path) as weights:
        compiled = compile_backbone(build_inception(weights, size=SIZE, backbone=family))
    found = np.concatenate([compiled(image[None])[0] for image in images])
    blocks = [256, 544, 832, 1600, 2368, 3136, 3904, 4672, 5952, 8000] if family.endswith("Blocks") else []
    for one, other in zip(np.split(found, blocks, axis=1), np.split(expected, blocks, axis=1), strict=True):
        allowed = FEATURES * float(np.abs(other).max())
        assert one == pytest.approx(other, abs=allowed)
        assert np.ptp(other, axis=0).max() > 10 * allowed  # images differ by more


def test_weights_of_another_network_are_refused(tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    model.save_weights(tmp_path / "other.weights.h5")
    with h5py.File(tmp_path / "other.weights.h5") as weights:
        with pytest.raises(RunError, match="not InceptionV3's"):
            build_inception(weights, size=SIZE)
        with pytest.raises(RunError, match="no known head 'inception_gru'"):
            read_head(weights, "inception_gru")


@pytest.fixture(scope="module")
def detectors(demo_run):
    return load_detector(demo_run, engine="keras"), load_detector(demo_run, engine="openvino")


def test_verdicts_of_both_engines_are_the_same(detectors, demo_videos):
    for video in demo_videos[:3]:
        reference, ported = (detector.predict(video) for detector in detectors)
        assert ported.fake_probability == pytest.approx(reference.fake_probability, abs=SCORE)
        assert (ported.label, ported.reason) == (reference.label, reference.reason)
        frames = [[frame.fake_probability for frame in verdict.tracks[0].frames] for verdict in (reference, ported)]
        assert frames[1] == pytest.approx(frames[0], abs=SCORE)


def test_datasets_get_the_same_scores_from_both_engines(detectors, demo_faces, tmp_path, monkeypatch):
    dataset, scores = read_face_dataset(demo_faces), []
    for detector in detectors:
        monkeypatch.setenv("DFUTILS_CACHE", str(tmp_path / detector.engine))  # the engines share what is cached
        scores.append([one.fake_probability for one in detector.score_dataset(dataset, dataset.rows[:2])])
    assert scores[1] == pytest.approx(scores[0], abs=SCORE)
    assert [len(list((tmp_path / name).rglob("*.npy"))) for name in ("keras", "openvino")] == [2, 2]


def test_predict_on_openvino_imports_no_tensorflow_and_no_decoder(demo_run, demo_videos):
    program = (
        "import sys\nfrom dfutils import cli\n"
        f"code = cli.main(['predict', {str(demo_videos[0])!r}, '--model', {str(demo_run)!r}, '--json'])\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'pandas', 'matplotlib', 'cv2', 'av'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else code)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdicts"][0]["reason"] == "ok"


def test_predict_sends_no_telemetry(demo_run, demo_videos, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-m", "dfutils", "predict", str(demo_videos[0]), "--model", str(demo_run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "intel").exists()  # where OpenVINO's telemetry keeps its client ID


def test_evaluation_needs_no_tensorflow_and_says_which_engine_it_used(demo_run, demo_faces, demo_labels, tmp_path):
    places = [str(one) for one in (demo_run, demo_faces, demo_labels.parent, demo_labels, tmp_path)]
    program = (
        "import sys\nsys.modules.update(tensorflow=None, keras=None)\nfrom dfutils.cli import main\n"
        f"run, faces, videos, labels, out = {places}\n"
        "stress = ['--labels', labels, '--most', '2', '--kinds', 'frames']\n"
        "sys.exit(main(['stress', run, videos, '--out', out, *stress]) or main(['evaluate', run, faces, '--out', out]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Engine: openvino, float32") == 2
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["stress"]
    assert "openvino, float32" in (tmp_path / "report.html").read_text()


def test_auto_uses_keras_without_openvino(demo_run, detectors, monkeypatch):
    settings = detectors[0].settings
    assert choose_engine("auto", demo_run, settings) == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert choose_engine("auto", demo_run, settings) == "keras"
    with pytest.raises(
        RunError, match=r"openvino not installed. In the folder of dfutils, run: pip install '.\[predict\]'"
    ):
        choose_engine("openvino", demo_run, settings)


def test_auto_uses_keras_where_openvino_does_not_start(demo_run, detectors, monkeypatch):
    def fail():
        raise RuntimeError("libtbb.so: cannot open shared object file")

    monkeypatch.setattr("dfutils.prediction.runtime._core", fail)
    settings = detectors[0].settings
    assert choose_engine("auto", demo_run, settings) == "keras"
    with pytest.raises(RunError, match=r"OpenVINO does not start: libtbb.so"):
        choose_engine("openvino", demo_run, settings)


@pytest.mark.parametrize("backbone", ["Xception", "OfALaterVersion"])
def test_a_backbone_that_only_keras_knows_runs_on_keras(demo_run, detectors, backbone):
    settings = detectors[0].settings.model_copy(update={"backbone": backbone})
    assert choose_engine("auto", demo_run, settings) == "keras"
    with pytest.raises(RunError, match=f"{backbone} has to be exported first"):
        choose_engine("openvino", demo_run, settings)


def test_a_backbone_that_was_not_exported_is_never_built_for_openvino(demo_run, detectors):
    settings = detectors[0].settings.model_copy(update={"backbone": "Xception"})
    with pytest.raises(RunError, match=r"run: Xception cannot be built for OpenVINO\. Export it first: dfutils export"):
        read_backbone(demo_run, settings)


def test_a_fault_of_openvino_while_it_compiles_names_another_engine(demo_run, detectors, monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("Exception from src/core.cpp:125:\nlibopenvino_intel_cpu_plugin.so: cannot open")

    monkeypatch.setattr("dfutils.prediction.runtime.compile_backbone", fail)
    network, *_ = network_loader("openvino")(demo_run, detectors[0].settings)
    with pytest.raises(
        RunError, match=r"OpenVINO does not start \(libopenvino_intel_\w+\.so: cannot open\)\. Use the eng"
    ):
        network.features(np.zeros((1, 96, 96, 3), np.uint8))


def test_without_keras_its_engine_says_what_to_install(demo_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    for name in ("saved_network", "backend"):  # which hold it
        monkeypatch.delitem(sys.modules, f"dfutils.training.{name}", raising=False)
    with pytest.raises(
        RunError, match=r"^engine keras: is not installed \(keras is missing\)\. .*'\.\[train\]'; the extra"
    ):
        load_detector(demo_run, engine="keras")


def test_heat_maps_are_written_and_change_no_number(demo_run, demo_videos, tmp_path, capsys):
    arguments = ["predict", str(demo_videos[0]), "--model", str(demo_run), "--json"]
    assert cli.main(arguments) == 0
    without = capsys.readouterr().out
    assert load_detector(demo_run).engine == "openvino"
    page = tmp_path / "verdict.html"
    assert cli.main([*arguments, "--explain", str(tmp_path / "maps"), "--report", str(page)]) == 0
    assert capsys.readouterr().out == without
    assert len(list((tmp_path / "maps").glob("0000-*/person-1/*.png"))) == 10
    assert page.read_text().count('alt="Heat map over face ') == 10
