"""Write a whole detector as one ONNX file, for other programs; the file is kept only if it computes what Keras does.

The graph begins with the crops as they are, uint8 RGB, and ends with the calibrated probability: pre-processing, every
member of an ensemble, and calibration are in it. What is not in it needs the video: finding and cutting the faces,
views of the crops, and the check of whether a face is familiar.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import dfutils
from dfutils.errors import RunError, how_to_install
from dfutils.files import replacing
from dfutils.prediction.export import (
    CLIPS_AT_ONCE,
    LARGEST_DIFFERENCE,
    evenly_spaced,
    faces_for_comparison,
    rows_of_split,
)
from dfutils.prediction.members import Member, load_members, score_members
from dfutils.prediction.runtime import keras_network
from dfutils.records import Crops
from dfutils.runs.folder import RunFolder
from dfutils.runs.probabilities import EPSILON
from dfutils.runs.record import DetectorRecord
from dfutils.settings import has_frame_head

if TYPE_CHECKING:
    import onnx

    from dfutils.prediction.onnx_layers import GraphBuilder

INPUT = "clips"
OUTPUTS = {
    "fake_probability": "Calibrated probability of FAKE for each clip.",
    "fake_logit": "The same as a logit.",
    "raw_probability": "Mean of the networks' probabilities before calibration, for each clip.",
    "frame_probabilities": "Calibrated probability of FAKE for each frame.",
}
"""Outputs of the graph; the last one only for a detector with a frame head."""

MADE_UP_CLIPS = 8
LARGEST_FILE = 2**31 - 2**20
"""Protocol buffers, in which ONNX files are written, hold less than 2 GiB."""
SHARPEST_STEP = 1e-6
"""Least width of a step of isotonic calibration, in logits."""


@dataclass(frozen=True, slots=True)
class OnnxExport:
    """An ONNX file, and how far it differs from Keras.

    Attributes:
        file: Its path.
        size_bytes: Its size.
        clips: Number of clips of the comparison.
        compared_on: ``validation``, ``all`` clips of the dataset, or ``made-up`` ones without a dataset.
        largest_difference: Largest difference in probability, raw, calibrated or of a frame.
    """

    file: str
    size_bytes: int
    clips: int
    compared_on: str
    largest_difference: float

    def document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return what a person should read."""
        where = {"validation": "of the validation split", "all": "of the dataset", "made-up": "of made-up images"}
        return [
            f"{self.file}: {self.size_bytes / 1e6:.1f} MB; on {self.clips} clips {where[self.compared_on]} the largest "
            f"difference in probability from Keras is {self.largest_difference:.2g}"
        ]


def export_onnx(run: Path, out: Path, *, faces: Path | None = None, most: int | None = None) -> OnnxExport:
    """Write a detector as an ONNX file, after comparing it with Keras in onnxruntime.

    Args:
        run: The run folder of one detector or of an ensemble, which becomes one graph.
        out: The file.
        faces: A face dataset to compare on, as for `dfutils.prediction.export.export_detector`; without one, both are
            given made-up images.
        most: Compare on at most this many clips of the dataset, evenly spaced.

    Raises:
        RunError: A requirement is missing, the detector is too large for one file, or it would differ from Keras.
        DatasetError: The file cannot be written.
    """
    if missing := [name for name in ("onnx", "onnxruntime", "keras") if importlib.util.find_spec(name) is None]:
        raise RunError(f"export to ONNX: needs {' and '.join(missing)}. {how_to_install('onnx')}.")
    settings = RunFolder(run).detector()
    members = load_members(run, settings)
    clips, compared_on = made_up_clips(settings), "made-up"
    if faces is not None:
        dataset = faces_for_comparison(run, faces)
        held = rows_of_split(run, dataset, "validation")
        clips = (dataset.load_clip(row) for row in evenly_spaced(held or dataset.rows, most))
        compared_on = "validation" if held else "all"
    terms = run / "LICENSE"
    licence = terms.read_text(encoding="utf-8").strip() if terms.is_file() else ""
    model = build_onnx(settings, members, licence=licence)
    if model.ByteSize() > LARGEST_FILE:
        raise RunError(
            f"{run}: its networks have {model.ByteSize() / 1e9:.1f} GB, more than an ONNX file can hold. "
            "Export one member of the ensemble, such as its folder fold-0."
        )
    with replacing(out) as temporary:
        temporary.write_bytes(model.SerializeToString())
        del model
        difference, count = _largest_difference(temporary, members, clips)
        if not difference <= LARGEST_DIFFERENCE:  # also if it is NaN
            raise RunError(
                f"{out}: not written: probabilities differ from Keras' by up to {difference:.2g}, but only "
                f"{LARGEST_DIFFERENCE:g} is allowed. Please report it with the versions of keras and onnxruntime."
            )
    return OnnxExport(str(out), out.stat().st_size, count, compared_on, difference)


def build_onnx(settings: DetectorRecord, members: Sequence[Member], *, licence: str = "") -> onnx.ModelProto:
    """Return the graph of a detector, from crops to calibrated probabilities.

    Args:
        settings: The detector's ``detector.json``.
        members: Its networks on Keras.
        licence: Terms of the weights, which the file carries with it.
    """
    from onnx import TensorProto, helper

    from dfutils.prediction.onnx_layers import IR_VERSION, OPSET, GraphBuilder, add_backbone, add_layers

    size, graph = settings.extraction.size, GraphBuilder()
    has_frames = has_frame_head(settings.model)
    frames = "frames" if has_frames else settings.extraction.frames
    crops = graph.add("Reshape", INPUT, np.array([-1, size, size, 3]))
    pixels = graph.add("Cast", graph.add("Transpose", crops, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    shape = graph.add("Shape", INPUT, start=0, end=2)
    features: dict[str, str] = {}
    raw, logits, frame_logits = [], [], []
    for member in members:
        own, network = member.settings, keras_network(member.network)
        if member.features_key not in features:
            flat = add_backbone(graph, network.backbone, own.backbone, pixels)
            whole = graph.add("Concat", shape, np.array([network.backbone.output.shape[-1]]), axis=0)
            features[member.features_key] = graph.add("Reshape", flat, whole)
        values = add_layers(graph, network.logits, features[member.features_key])
        logit = graph.add("Squeeze", values[id(network.logits.outputs[0])], np.array([1]))
        raw.append(graph.add("Sigmoid", logit))
        logits.append(_calibrated(graph, own, logit))
        if network.frame_logits is not None:
            per_frame = graph.add("Squeeze", values[id(network.frame_logits.outputs[0])], np.array([2]))
            frame_logits.append(_calibrated(graph, own, per_frame))
    graph.add("Mean", *logits, name="fake_logit")
    graph.add("Sigmoid", "fake_logit", name="fake_probability")
    graph.add("Mean", *raw, name="raw_probability")
    if frame_logits:
        graph.add("Sigmoid", graph.add("Mean", *frame_logits), name="frame_probabilities")

    def described(name: str, kind: int, shape: list[str | int], text: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape, doc_string=text)

    about = f"Face crops of {size} × {size} pixels, uint8 RGB, (clips, frames, height, width, 3)."
    given = described(INPUT, TensorProto.UINT8, ["clips", frames, size, size, 3], about)
    shapes: dict[str, list[str | int]] = {name: ["clips"] for name in OUTPUTS}
    shapes["frame_probabilities"] = ["clips", frames]
    names = [name for name in OUTPUTS if has_frames or name != "frame_probabilities"]
    outputs = [described(name, TensorProto.FLOAT, shapes[name], OUTPUTS[name]) for name in names]
    model = helper.make_model(
        helper.make_graph(graph.nodes, settings.name, [given], outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="dfutils",
        producer_version=dfutils.__version__,
        doc_string=f"{settings.name}: probability that the face in a clip is FAKE",
    )
    helper.set_model_props(model, onnx_metadata(settings, licence=licence))
    return model


def onnx_metadata(settings: DetectorRecord, *, licence: str = "") -> dict[str, str]:
    """Return what a program needs besides the graph, as the text values that an ONNX file holds.

    ``detector`` is the whole ``detector.json``; the others are what every program needs of it.
    """
    real_up_to, fake_from = settings.answer_range
    extraction = settings.extraction
    values = {
        "name": settings.name,
        "version": settings.version,
        "weights_sha256": settings.weights_sha256,
        "channels": "RGB",
        "size": extraction.size,
        "frames": extraction.frames,
        "margin": extraction.margin,
        "sampling": extraction.sampling,
        "min_face_pixels": settings.min_face_pixels,
        "prior": settings.prior,
        "real_up_to": real_up_to,
        "fake_from": fake_from,
        "views": json.dumps(settings.views),
        "checks_familiarity": json.dumps(settings.familiarity is not None),
        "detector": settings.model_dump_json(),
    }
    return {name: str(value) for name, value in values.items()} | ({"licence": licence} if licence else {})


def _calibrated(graph: GraphBuilder, settings: DetectorRecord, logit: str) -> str:
    """Add the calibration of one network, which is that of `dfutils.runs.probabilities.calibrated_logits`."""
    least, most = (float(np.log(one / (1 - one))) for one in (EPSILON, 1 - EPSILON))
    logit = graph.add("Clip", logit, least, most)
    if settings.calibration == "platt":
        scaled = graph.add("Add", graph.add("Div", logit, settings.temperature), settings.bias)
        return graph.add("Clip", scaled, least, most)
    places, probabilities = np.array(settings.isotonic).T
    widths = np.maximum(np.diff(places), SHARPEST_STEP)
    # Each piece contributes its slope times how far the logit has come into it.
    into = graph.add("Sub", graph.add("Unsqueeze", logit, np.array([-1])), places[:-1].astype(np.float32))
    inside = graph.add("Min", graph.add("Max", into, 0.0), widths.astype(np.float32))
    risen = graph.add("Mul", inside, (np.diff(probabilities) / widths).astype(np.float32))
    total = graph.add("ReduceSum", risen, np.array([-1]), keepdims=0)
    probability = graph.add("Clip", graph.add("Add", total, float(probabilities[0])), EPSILON, 1 - EPSILON)
    return graph.add("Log", graph.add("Div", probability, graph.add("Sub", 1.0, probability)))


def made_up_clips(settings: DetectorRecord) -> Iterator[Crops]:
    """Yield clips ``(T, size, size, 3)`` of blurred colours with some noise, from dark and flat to bright and rich."""
    frames, size = settings.extraction.frames, settings.extraction.size
    random = np.random.default_rng(0)
    for number in range(MADE_UP_CLIPS):
        cells = 3 + 2 * number
        corners = random.uniform(0, 255 * (number + 1) / MADE_UP_CLIPS, (frames, cells + 1, cells + 1, 3))
        places = np.linspace(0, cells, size, endpoint=False)
        first, share = places.astype(int), (places % 1)[:, None]
        rows = corners[:, first] * (1 - share[..., None]) + corners[:, first + 1] * share[..., None]
        image = rows[:, :, first] * (1 - share) + rows[:, :, first + 1] * share
        yield np.clip(image + random.normal(0, 2 * number, image.shape), 0, 255).astype(np.uint8)


def _largest_difference(file: Path, members: Sequence[Member], clips: Iterable[Crops]) -> tuple[float, int]:
    """Return the largest difference of a probability from Keras', or NaN, and the number of clips."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    left, count, differences = iter(clips), 0, list[float]()
    while some := list(itertools.islice(left, CLIPS_AT_ONCE)):
        crops = np.stack(some)
        found = dict(zip(names, session.run(names, {INPUT: crops}), strict=True))

        def features_of(member: Member, crops: Crops = crops) -> npt.NDArray[np.float32]:
            features = member.network.features(crops.reshape(-1, *crops.shape[2:]))
            return features.reshape(*crops.shape[:2], -1)

        scores = score_members(members, features_of)
        expected: dict[str, Any] = {
            "fake_probability": [one.fake_probability for one in scores],
            "raw_probability": [one.raw_probability for one in scores],
        }
        if "frame_probabilities" in found:
            expected["frame_probabilities"] = [one.frame_probabilities for one in scores]
        differences += [float(np.abs(found[name] - np.array(one)).max()) for name, one in expected.items()]
        count += len(some)
    return float(np.max(differences)), count
