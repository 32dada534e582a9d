"""A detector as an ONNX file computes in onnxruntime what Keras computes, from uint8 crops to the calibrated answer."""

import functools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from rounding import FEATURES

from dfutils import cli
from dfutils.errors import DatasetError, RunError
from dfutils.files import sha256_of
from dfutils.prediction import onnx_export, onnx_layers
from dfutils.prediction.detector import load_detector
from dfutils.prediction.onnx_export import export_onnx, made_up_clips
from dfutils.pretrained import DEFAULT
from dfutils.runs.folder import RunFolder, members_checksum
from dfutils.runs.record import DetectorRecord, MemberRecord
from dfutils.training.backbones import build_backbone
from dfutils.training.backend import keras
from dfutils.training.model import HEADS, build_head, compose
from dfutils.training.saved_network import write_weights

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

PROJECT = Path(__file__).parents[2]
FRAMES, SIZE, CHANNELS = 4, 32, 64
FAMILY = "MobileNet"
PLATT = {"temperature": 1.7, "bias": -0.4}
ISOTONIC = {"calibration": "isotonic", "isotonic": [[-2.0, 0.0], [-0.5, 0.3], [0.1, 0.35], [0.1, 0.6], [3.0, 1.0]]}


@pytest.fixture(scope="module", autouse=True)
def small_network():
    """A backbone of a few layers in the place of two families, so that networks are compiled quickly."""

    def build(*, weights, include_top, input_shape, pooling):
        assert (weights, include_top, pooling) == (None, False, "avg")
        inputs = keras.Input(input_shape)
        out = keras.layers.Conv2D(8, 5, strides=4, padding="same", use_bias=False)(inputs)
        out = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(out))
        out = keras.layers.Conv2D(CHANNELS, 3, strides=2, padding="same")(out)
        return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(out))

    with pytest.MonkeyPatch.context() as patch:
        for family in (FAMILY, "VGG16"):
            patch.setattr(keras.applications, family, build)
        yield


def settled(model, crops):
    """Fit batch normalisation to these crops, so that it changes what it gets; return their features."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(crops, training=True)
    return np.asarray(model(crops, training=False))


def write_run(folder, head="inception_mean", *, size=SIZE, seed=0, halved=False, **settings):
    """A run folder with a network that was never trained, but whose scores differ from clip to clip."""
    backbone = build_backbone("random", size=size, family=FAMILY, seed=seed).model
    network = compose(backbone, build_head(head, frames=FRAMES, channels=CHANNELS), frames=FRAMES, size=size)
    extraction = {"frames": FRAMES, "size": size}
    document = {"name": head, "version": "0.1.0", "model": head, "extraction": extraction, "backbone": FAMILY}
    document |= {
        "backbone_weights": "random",
        "backbone_checksum": f"he-normal-{seed}",
        "weights_sha256": "",
        **settings,
    }
    record = DetectorRecord.parse(document, source="test")
    features = settled(backbone, np.concatenate(list(made_up_clips(record))))
    if halved:
        network.clip_model.set_weights([one.astype(np.float16) for one in network.clip_model.get_weights()])
    standardise = network.head.get_layer("standardise")
    standardise.adapt_mean.assign(features.mean(axis=0))
    standardise.adapt_variance.assign(features.var(axis=0) + 1e-3)
    standardise.finalize_state()
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder, network)
    weights_sha256 = sha256_of(RunFolder(folder).weights_file)
    record.model_copy(update={"weights_sha256": weights_sha256}).write(RunFolder(folder).detector_file)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run for each head, by name."""
    folder = tmp_path_factory.mktemp("runs")
    return {head: write_run(folder / head, head, **(PLATT if "gru" in head else ISOTONIC)) for head in HEADS}


@pytest.fixture(scope="module")
def files(runs, tmp_path_factory):
    """Their ONNX files, by name."""
    folder = tmp_path_factory.mktemp("files")
    for head, run in runs.items():
        export = export_onnx(run, folder / f"{head}.onnx")
        assert export.largest_difference <= 1e-4
        assert (export.clips, export.compared_on) == (8, "made-up")
        assert export.size_bytes == (folder / f"{head}.onnx").stat().st_size
    assert len(list(folder.iterdir())) == len(runs)
    return {head: folder / f"{head}.onnx" for head in runs}


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def outputs_of(session, clips):
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, {"clips": clips}), strict=True))


def other_clips(frames=FRAMES, size=SIZE):
    """Clips that the export is not compared on, so that scores differ."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (5, frames, size // 8, size // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)


def assert_same(run, path, clips):
    scores, found = load_detector(run, engine="keras").score_clips(clips), outputs_of(session_of(path), clips)
    for name in ("fake_probability", "raw_probability"):
        expected = np.array([getattr(one, name) for one in scores])
        assert found[name] == pytest.approx(expected, abs=1e-4)
        assert np.ptp(expected) > 0.01, "the clips have different scores"
    logit = found["fake_logit"].astype(float)
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(found["fake_probability"], abs=1e-6)
    if scores[0].frame_probabilities is not None:
        expected = np.array([one.frame_probabilities for one in scores])
        assert found["frame_probabilities"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_the_calibrated_scores_of_keras(runs, files, head):
    assert_same(runs[head], files[head], other_clips())


def test_a_frame_head_takes_stills_and_a_recurrent_one_only_whole_clips(runs, files):
    assert_same(runs["inception_mean"], files["inception_mean"], other_clips(frames=1))
    with pytest.raises(Exception, match="Got invalid dimensions"):
        outputs_of(session_of(files["inception_gru"]), other_clips(frames=1))


def test_the_order_of_the_frames_matters_in_the_file_of_a_recurrent_network(files):
    session, clips = session_of(files["inception_lstm_gru"]), other_clips()
    forwards, backwards = (outputs_of(session, one)["fake_logit"] for one in (clips, clips[:, ::-1].copy()))
    assert abs(forwards - backwards).max() > 1e-3


def test_an_ensemble_is_one_graph_in_which_equal_backbones_are_shared(tmp_path):
    run = tmp_path / "run"
    write_run(run / "fold-0", **PLATT)
    write_run(run / "fold-2", seed=1, **ISOTONIC)
    shutil.copytree(run / "fold-0", run / "fold-1")
    record = RunFolder(run / "fold-1").detector()
    record.model_copy(update={"bias": 1.5}).write(RunFolder(run / "fold-1").detector_file)
    folders = ("fold-0", "fold-1", "fold-2")
    members = [MemberRecord(folder=name, sha256=sha256_of(run / name / "detector.json")) for name in folders]
    update = {"members": tuple(members), "weights_sha256": members_checksum(members), "temperature": 1.0, "bias": 0.0}
    record.model_copy(update=update).write(RunFolder(run).detector_file)
    export_onnx(run, tmp_path / "ensemble.onnx")
    assert_same(run, tmp_path / "ensemble.onnx", other_clips())
    graph = onnx.load(tmp_path / "ensemble.onnx").graph
    assert sum(node.op_type == "GlobalAveragePool" for node in graph.node) == 2


def test_names_shapes_and_metadata_are_those_of_the_detector(runs, files):
    session = session_of(files["inception_gru"])
    (given,) = session.get_inputs()
    assert (given.name, given.type) == ("clips", "tensor(uint8)")
    assert given.shape == ["clips", FRAMES, SIZE, SIZE, 3]
    assert {one.name: one.shape for one in session.get_outputs()} == {
        "fake_probability": ["clips"],
        "fake_logit": ["clips"],
        "raw_probability": ["clips"],
    }
    about, record = session.get_modelmeta().custom_metadata_map, RunFolder(runs["inception_gru"]).detector()
    assert (float(about["real_up_to"]), float(about["fake_from"])) == record.answer_range
    assert (about["channels"], about["size"], about["frames"]) == ("RGB", str(SIZE), str(FRAMES))
    assert about["checks_familiarity"] == "false"
    assert DetectorRecord.parse(json.loads(about["detector"]), source="metadata") == record


def test_weights_that_half_precision_holds_are_stored_in_it(runs, files, tmp_path):
    run = write_run(tmp_path / "run", "inception_gru", halved=True)
    export = export_onnx(run, tmp_path / "half.onnx")
    assert export.size_bytes < 0.6 * files["inception_gru"].stat().st_size
    assert_same(run, tmp_path / "half.onnx", other_clips())


@pytest.mark.parametrize(
    ("family", "why"), [("MobileNetV3Small", "arithmetic between layers"), ("VGG16", "blue, green, red")], ids=str
)
def test_a_backbone_of_another_family_gives_the_features_of_keras(family, why):
    backbone = build_backbone("random", size=SIZE, family=family).model
    crops = other_clips()[:, 0]
    expected = np.asarray(backbone(crops, training=False))
    graph = onnx_layers.GraphBuilder()
    pixels = graph.add("Cast", graph.add("Transpose", "crops", perm=[0, 3, 1, 2]), to=onnx.TensorProto.FLOAT)
    graph.add("Identity", onnx_layers.add_backbone(graph, backbone, family, pixels), name="features")
    found = run_graph(graph, "crops", crops, "features", rank=2)
    assert abs(found - expected).max() <= FEATURES * abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 100 * FEATURES * abs(expected).max(), "features depend on the crops"


def run_graph(graph, given, value, wanted, *, rank):
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    inputs = [helper.make_tensor_value_info(given, kind, ["n", *value.shape[1:]])]
    outputs = [helper.make_tensor_value_info(wanted, onnx.TensorProto.FLOAT, [None] * rank)]
    whole = helper.make_graph(graph.nodes, "graph", inputs, outputs, graph.constants)
    versions = [helper.make_opsetid("", onnx_layers.OPSET)]
    model = helper.make_model(whole, opset_imports=versions, ir_version=onnx_layers.IR_VERSION)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([wanted], {given: value})[0]


layers = keras.layers
LAYERS = {
    "same padding of odd and even sizes": [layers.Conv2D(5, (3, 2), strides=2, padding="same")],
    "groups": [layers.Conv2D(8, 3, groups=4, activation="silu")],
    "depthwise": [layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)],
    "separable": [layers.SeparableConv2D(6, 3, padding="same", activation="relu")],
    "pools": [layers.MaxPooling2D(3, strides=2, padding="same"), layers.AveragePooling2D(2, strides=1, padding="same")],
    "zeros around": [layers.ZeroPadding2D(((1, 2), (3, 0)))],
    "batch normalisation": [layers.BatchNormalization(scale=False), layers.BatchNormalization()],
    "layer normalisation": [layers.LayerNormalization(epsilon=1e-6)],
    "layer normalisation of features": [layers.GlobalAveragePooling2D(), layers.LayerNormalization()],
    "dense on images": [layers.Dense(3, activation="gelu")],
    "normalisation": [layers.Normalization(mean=[1, 2, 3, 4], variance=[1, 2, 3, 4])],
    "rescaling": [layers.Rescaling([1.0, 2.0, 3.0, 4.0], offset=[4.0, 3.0, 2.0, 1.0])],
    "at most 6": [layers.Rescaling(5.0), layers.ReLU(6.0)],
    "activations": [*map(layers.Activation, ("hard_silu", "tanh", "linear", "sigmoid"))],
    "a model in a model": [keras.Sequential([layers.Conv2D(2, 1), layers.Dropout(0.5)])],
    "arithmetic": [lambda x: x * 2.0 + 3.0, lambda x: layers.Concatenate()([x, layers.Add()([x, x])])],
    "squeeze and excitation": [
        lambda x: layers.Multiply()([x, layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(x))])
    ],
}


@pytest.mark.parametrize("chain", LAYERS.values(), ids=LAYERS)
def test_every_kind_of_layer_computes_what_keras_does(chain):
    random = np.random.default_rng(0)
    inputs = keras.Input((9, 6, 4))
    model = keras.Model(inputs, functools.reduce(lambda value, layer: layer(value), chain, inputs))
    for weight in model.weights:
        weight.assign(
            random.uniform(0.2, 1.5, weight.shape) * (1 if "variance" in weight.path else random.choice([-1, 1]))
        )
    images = random.normal(size=(2, 9, 6, 4)).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    graph = onnx_layers.GraphBuilder()
    values = onnx_layers.add_layers(graph, model, "images")
    graph.add("Identity", values[id(model.outputs[0])], name="wanted")
    found = run_graph(graph, "images", images.transpose(0, 3, 1, 2), "wanted", rank=expected.ndim)
    found = found.transpose(0, 2, 3, 1) if found.ndim == 4 else found
    assert found == pytest.approx(expected, abs=1e-5 * float(abs(expected).max()))


def test_an_unknown_layer_or_activation_is_named(runs):
    for layer, name in (
        (keras.layers.Conv2DTranspose(2, 3), "Conv2DTranspose"),
        (keras.layers.Activation("elu"), "elu"),
    ):
        inputs = keras.Input((9, 6, 4))
        with pytest.raises(RunError, match=f"{name} has no counterpart in the ONNX export"):
            onnx_layers.add_layers(onnx_layers.GraphBuilder(), keras.Model(inputs, layer(inputs)), "images")


@pytest.mark.parametrize(
    ("replaced", "by"),
    [
        ("Dense", lambda graph, layer, inputs: graph.add("Add", onnx_layers._dense(graph, layer, inputs), 0.01)),
        ("Normalization", lambda graph, _, inputs: graph.add("Mul", inputs[0], float("nan"))),
    ],
    ids=["wrong", "NaN"],
)
def test_a_file_that_differs_from_keras_is_not_written_and_an_earlier_one_stays(
    *, runs, tmp_path, monkeypatch, replaced, by
):
    out = tmp_path / "detector.onnx"
    out.write_bytes(b"earlier")
    monkeypatch.setitem(onnx_layers._LAYERS, replaced, by)
    with pytest.raises(RunError, match=r"detector\.onnx: not written: probabilities differ from Keras' by up to"):
        export_onnx(runs["inception_mean"], out)
    assert out.read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["detector.onnx"]


def test_networks_that_no_file_can_hold_are_refused(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "LARGEST_FILE", 1000)
    with pytest.raises(RunError, match=r"have 0\.0 GB, more than an ONNX file can hold"):
        export_onnx(runs["inception_mean"], tmp_path / "detector.onnx")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_or_a_missing_library_is_one_line(runs, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        export_onnx(runs["inception_mean"], tmp_path / "file" / "detector.onnx")
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(RunError, match=r"^export to ONNX: needs onnxruntime\. .*'\.\[onnx\]'"):
        export_onnx(runs["inception_mean"], tmp_path / "detector.onnx")


def test_the_included_detector_is_exported_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_export, "MADE_UP_CLIPS", 1)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", DEFAULT, "--format", "onnx", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["file"], document["clips"]) == (f"{DEFAULT}.onnx", 1)
    assert document["largest_difference"] <= 1e-4
    assert document["size_bytes"] < 45e6
    about = onnx.load(f"{DEFAULT}.onnx", load_external_data=False)
    assert "research" in {one.key: one.value for one in about.metadata_props}["licence"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "faces", "--out", "detector.onnx"],
        ["run", "--format", "onnx", "--precision", "int8"],
        ["run", "--format", "tflite"],
    ],
    ids=" ".join,
)
def test_wrong_use_exits_with_2(arguments):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["export", *arguments])


def test_the_example_of_the_docs_gives_the_answer_of_the_detector(demo_faces, tmp_path, monkeypatch):
    """And the file is compared on the clips of a face dataset."""
    run = write_run(tmp_path / "run", size=96)
    (tmp_path / "faces").symlink_to(demo_faces)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "run", "faces", "--format", "onnx", "--out", "detector.onnx", "--most", "2"]) == 0
    page = (PROJECT / "docs" / "onnx.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    names = {}
    exec(compile(example, "onnx.md", "exec"), names)
    detector = load_detector(run, engine="keras")
    (score,) = detector.score_clips(names["clip"][np.newaxis])
    assert names["fake_probability"] == pytest.approx(score.fake_probability, abs=1e-4)
    assert names["answer"] == detector.settings.label(score.fake_probability)


def test_outputs_are_documented():
    page = (PROJECT / "docs" / "onnx.md").read_text(encoding="utf-8")
    for name in ("clips` (input)", *onnx_export.OUTPUTS):
        assert f"| `{name}" in page
    keys = onnx_export.onnx_metadata(
        DetectorRecord.parse(
            json.loads((PROJECT / "dfutils/pretrained" / DEFAULT / "detector.json").read_text()), source=""
        )
    )
    assert all(f"`{key}`" in page for key in keys)
