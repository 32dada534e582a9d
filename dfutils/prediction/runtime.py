"""The same network on two engines: Keras, the reference, and OpenVINO, which needs no TensorFlow.

OpenVINO builds InceptionV3 out of the very ``model.weights.h5`` that Keras reads; other backbones, and other
precisions than float32, are read from what `dfutils.prediction.export` wrote beside the weights. Heads run in numpy.

OpenVINO was chosen over LiteRT: of the two, it alone takes a graph that is built in Python, so that float32 needs
neither a second copy of the weights nor TensorFlow to make one; LiteRT's files come from a converter that needs it.
On a processor with AMX its int8 is also twice as quick (`research/first_release/engine_choice.py`). Both have wheels
for Linux, macOS on ARM and Windows under the Apache licence. The price is size, hence an extra of its own: 33 to 85 MB
to download and 180 MB on the disk, against 13 to 22 MB.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError
from dfutils.files import sha256_of
from dfutils.prediction.heads import NumpyHead, read_head
from dfutils.records import Crops
from dfutils.runs.folder import checked_weights, iter_runs
from dfutils.runs.record import DetectorRecord, ExportRecord
from dfutils.runs.thresholds import Probabilities
from dfutils.settings import DEFAULT_BACKBONE

if TYPE_CHECKING:
    import openvino as ov

    from dfutils.training.model import ClipNetwork

logger = logging.getLogger(__name__)

Engine: TypeAlias = Literal["keras", "openvino"]
EngineChoice: TypeAlias = Literal["auto", "keras", "openvino"]
Features: TypeAlias = npt.NDArray[np.float32]

EXPORT = "export"
"""Folder of a run folder that holds what was exported."""
BACKBONE_FILES = ("backbone.xml", "backbone.bin")


class Network(Protocol):
    """What a verdict needs of an engine; `dfutils.training.model.ClipNetwork` is one."""

    @property
    def exported(self) -> str:
        """What its backbone was read from, by its checksums; empty where it was made of the weights."""

    def features(self, images: Crops) -> Features:
        """Features ``(N, channels)`` of images ``(N, size, size, 3)``."""

    def score(self, features: Features) -> tuple[Probabilities, Probabilities | None]:
        """Raw probabilities of clips ``(N,)`` and, with a frame head, of their frames ``(N, T)``."""


class OpenVinoNetwork:
    """A backbone that OpenVINO runs on all cores, and a head in numpy; ``backbone`` is waited for when first used.

    Attributes:
        exported: What its backbone was read from, by its checksums; empty where it was made of the weights.
    """

    def __init__(self, backbone: Callable[[], ov.CompiledModel], head: NumpyHead, *, exported: str = "") -> None:
        self._backbone, self._head, self.exported = backbone, head, exported

    def features(self, images: Crops) -> Features:
        """Features ``(N, channels)`` of images ``(N, size, size, 3)``."""
        backbone = self._backbone()
        import openvino as ov

        features = np.empty((len(images), backbone.output(0).shape[1]), np.float32)

        def keep(request: Any, number: int) -> None:
            features[number] = request.get_output_tensor().data[0]

        queue = ov.AsyncInferQueue(backbone)
        queue.set_callback(keep)
        for number in range(len(images)):
            queue.start_async(np.ascontiguousarray(images[number : number + 1]), number)
        queue.wait_all()
        return features

    def score(self, features: Features) -> tuple[Probabilities, Probabilities | None]:
        """Raw probabilities of clips ``(N,)`` and, with a frame head, of their frames ``(N, T)``."""
        return self._head.score(features)


def choose_engine(choice: EngineChoice, folder: Path, settings: DetectorRecord) -> Engine:
    """The engine that a detector runs on.

    Raises:
        RunError: OpenVINO was asked for and is not to be had.
    """
    if choice == "keras":
        return "keras"
    problem = _why_not_openvino(folder, settings)
    if not problem:
        return "openvino"
    if choice == "openvino":
        raise RunError(f"{folder}: OpenVINO cannot run it ({problem}). Use the engine keras.")
    logger.info("Engine keras, since OpenVINO cannot run it: %s", problem)
    return "keras"


def network_loader(engine: Engine) -> Callable[[Path, DetectorRecord], Network]:
    """What loads the network of a run folder with its settings; it shares backbones that are the same."""
    if engine == "openvino":
        return _OpenVinoLoader()
    try:
        from dfutils.training.run_folder import load_network
    except ModuleNotFoundError as error:
        raise RunError(
            f"engine keras: is not installed ({error.name} is missing). pip install 'dfutils[train]', or "
            "'dfutils[predict]' for verdicts without heat maps."
        ) from error
    backbones: dict[str, Any] = {}

    def load(run: Path, settings: DetectorRecord) -> ClipNetwork:
        network, _ = load_network(run, backbones=backbones)
        backbones[settings.backbone_checksum] = network.backbone
        return network

    return load


def keras_network(network: Network) -> ClipNetwork:
    """The Keras network that `Detector.reference` holds, for what reaches into it."""
    from dfutils.training.model import ClipNetwork

    assert isinstance(network, ClipNetwork)
    return network


def compile_backbone(model: ov.Model, *, precision: str = "float32") -> ov.CompiledModel:
    """Make a frame encoder ready to run; only bfloat16 lets the processor round to it."""
    hint = "bf16" if precision == "bfloat16" else "f32"
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": _cores()}
    return _core().compile_model(model, "CPU", options)


def read_backbone(run: Path, settings: DetectorRecord) -> ov.Model:
    """The backbone of a run as a float32 graph, made of its weights.

    Raises:
        RunError: It is not InceptionV3, or its weights are not those it was finished with.
    """
    from dfutils.prediction.inception import build_inception

    if settings.backbone != DEFAULT_BACKBONE:
        raise RunError(f"{run}: {settings.backbone} is not known to OpenVINO. Export it first: dfutils export.")
    with _opened(checked_weights(run, settings)) as weights:
        return build_inception(weights, size=settings.extraction.size)


def read_graph(run: Path, settings: DetectorRecord, export: ExportRecord | None) -> ov.Model:
    """The backbone that OpenVINO runs: what was exported, or else what the weights make."""
    if export is None:
        return read_backbone(run, settings)
    return _core().read_model(run / EXPORT / BACKBONE_FILES[0])


def read_numpy_head(run: Path, settings: DetectorRecord) -> NumpyHead:
    """The head of a run, made of its weights.

    Raises:
        RunError: Its weights are not those it was finished with.
    """
    with _opened(checked_weights(run, settings)) as weights:
        return read_head(weights, settings.model)


def read_export(run: Path, settings: DetectorRecord) -> ExportRecord | None:
    """What was exported beside the weights, after its checksums; None where nothing was.

    Raises:
        RunError: It was altered, or belongs to other weights.
    """
    folder = run / EXPORT
    if not (folder / "export.json").is_file():
        return None
    export = ExportRecord.read(folder / "export.json")
    if export.weights_sha256 != settings.weights_sha256:
        raise RunError(f"{folder}: was exported from other weights. Export again: dfutils export.")
    for name in BACKBONE_FILES:
        if not (folder / name).is_file() or sha256_of(folder / name) != export.files.get(name):
            raise RunError(
                f"{folder / name}: is missing or was altered since its export. Export again: dfutils export."
            )
    return export


class _OpenVinoLoader:
    """Checks files at once, and gets backbones ready in a thread, while the first video is decoded elsewhere."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="openvino")
        self._backbones: dict[str, Future[ov.CompiledModel]] = {}

    def __call__(self, run: Path, settings: DetectorRecord) -> OpenVinoNetwork:
        export = read_export(run, settings)
        exported = str(sorted(export.files.items())) if export else ""
        key = f"{settings.backbone_checksum} {exported}"
        head = read_numpy_head(run, settings)
        if key not in self._backbones:
            self._backbones[key] = self._pool.submit(_ready_backbone, run, settings, export)
        return OpenVinoNetwork(self._backbones[key].result, head, exported=exported)


def _ready_backbone(run: Path, settings: DetectorRecord, export: ExportRecord | None) -> ov.CompiledModel:
    try:
        return compile_backbone(read_graph(run, settings, export), precision=export.precision if export else "float32")
    except (ImportError, RuntimeError) as error:  # OpenVINO's own are of the second kind
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise RunError(
            f"{run}: OpenVINO does not start ({reason[0]}). Use the engine keras, or install openvino again."
        ) from error


def _why_not_openvino(folder: Path, settings: DetectorRecord) -> str:
    missing = [name for name in ("openvino", "h5py") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed: pip install 'dfutils[predict]'"
    for run, own in iter_runs(folder, settings):
        if own.backbone != DEFAULT_BACKBONE and not (run / EXPORT / "export.json").is_file():
            return f"{own.backbone} has to be exported first: dfutils export {run}"
    return ""


def _opened(path: Path) -> Any:
    import h5py

    return h5py.File(path)


@functools.cache
def _core() -> ov.Core:
    import openvino as ov

    return ov.Core()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
