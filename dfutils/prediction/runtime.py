"""The same network on two engines: Keras, the reference, and OpenVINO, which needs no TensorFlow.

For OpenVINO, InceptionV3 is built from the ``model.weights.h5`` that Keras reads; other backbones, and precisions other
than float32, are read from the files that `dfutils.prediction.export` wrote beside the weights. Heads run in numpy.

OpenVINO was preferred to LiteRT because it accepts a graph built in Python, so that float32 needs neither a second copy
of the weights nor TensorFlow to make one; LiteRT's files come from a converter that needs TensorFlow. On a processor
with AMX its int8 is also twice as fast (`research.first_release.engine_choice`). Both have wheels for Linux, macOS on
ARM and Windows under the Apache licence. The price is size, hence an extra: 33 to 85 MB to download and 180 MB on disk,
against 13 to 22 MB.
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

from dfutils.errors import RunError, how_to_install
from dfutils.files import sha256_of
from dfutils.prediction.heads import NumpyHead, read_head
from dfutils.prediction.inception import build_inception, is_inception
from dfutils.records import Crops
from dfutils.runs.folder import RunFolder
from dfutils.runs.probabilities import Probabilities
from dfutils.runs.record import DetectorRecord, ExportRecord

if TYPE_CHECKING:
    from dfutils.prediction.openvino_backend import ov
    from dfutils.training.model import ClipNetwork

logger = logging.getLogger(__name__)

Engine: TypeAlias = Literal["keras", "openvino"]
EngineChoice: TypeAlias = Literal["auto", "keras", "openvino"]
Features: TypeAlias = npt.NDArray[np.float32]

BACKBONE_FILES = ("backbone.xml", "backbone.bin")


class Network(Protocol):
    """Interface of an inference engine; `dfutils.training.model.ClipNetwork` implements it too."""

    def features(self, images: Crops) -> Features:
        """Return features ``(N, channels)`` of images ``(N, size, size, 3)``."""

    def score(self, features: Features) -> tuple[Probabilities, Probabilities | None]:
        """Return raw probabilities of clips ``(N,)`` and, with a frame head, of their frames ``(N, T)``."""


class OpenVinoNetwork:
    """A backbone that OpenVINO runs on all cores, and a head in numpy; the first use waits for ``backbone``."""

    def __init__(self, backbone: Callable[[], ov.CompiledModel], head: NumpyHead) -> None:
        self._backbone, self._head = backbone, head

    def features(self, images: Crops) -> Features:
        """Return features ``(N, channels)`` of images ``(N, size, size, 3)``."""
        backbone = self._backbone()
        from dfutils.prediction.openvino_backend import ov

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
        """Return raw probabilities of clips ``(N,)`` and, with a frame head, of their frames ``(N, T)``."""
        return self._head.score(features)


def choose_engine(choice: EngineChoice, folder: Path, settings: DetectorRecord) -> Engine:
    """Return the engine that a detector runs on.

    Raises:
        RunError: OpenVINO is required but not available.
    """
    if choice == "keras":
        return "keras"
    problem = ""
    if missing := [name for name in ("openvino", "h5py") if importlib.util.find_spec(name) is None]:
        problem = f"{' and '.join(missing)} not installed. {how_to_install('predict')}"
    else:
        for run, own in RunFolder(folder).members(settings):
            if not is_inception(own.backbone) and not run.export_file.is_file():
                problem = f"{own.backbone} has to be exported first: dfutils export {run}"
                break
        if not problem:
            try:
                _core()
            except Exception as error:
                reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                problem = f"OpenVINO does not start: {reason[0]}"
    if not problem:
        return "openvino"
    if choice == "openvino":
        raise RunError(f"{folder}: OpenVINO cannot run it ({problem}). Use the engine keras.")
    logger.info("Using the engine keras, since OpenVINO cannot run this detector: %s", problem)
    return "keras"


def network_loader(engine: Engine) -> Callable[[Path, DetectorRecord], tuple[Network, str, str]]:
    """Return a function that loads a run folder's network, and shares equal backbones.

    It also returns the key of the network's export, which is empty for a backbone that was built from the weights, and
    the backbone's precision.
    """
    if engine == "openvino":
        return _OpenVinoLoader()
    try:
        from dfutils.training.saved_network import load_network
    except ModuleNotFoundError as error:
        raise RunError(
            f"engine keras: is not installed ({error.name} is missing). {how_to_install('train')}; "
            "the extra 'predict' is enough for verdicts and reports without heat maps."
        ) from error
    backbones: dict[str, Any] = {}

    def load(run: Path, settings: DetectorRecord) -> tuple[ClipNetwork, str, str]:
        network, _ = load_network(run, backbones=backbones)
        backbones[settings.backbone_key] = network.backbone
        return network, "", "float32"

    return load


def keras_network(network: Network) -> ClipNetwork:
    """Narrow a `Network` to its Keras implementation."""
    from dfutils.training.model import ClipNetwork

    assert isinstance(network, ClipNetwork)
    return network


def compile_backbone(model: ov.Model, *, precision: str = "float32") -> ov.CompiledModel:
    """Compile a frame encoder; the processor may round to bfloat16 only if that is the precision."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    hint = "bf16" if precision == "bfloat16" else "f32"
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": cores}
    return _core().compile_model(model, "CPU", options)


def read_backbone(run: Path, settings: DetectorRecord) -> ov.Model:
    """Build the backbone of a run as a float32 graph from its weights.

    Raises:
        RunError: The backbone is not InceptionV3, or the weights were altered since training.
    """
    if not is_inception(settings.backbone):
        raise RunError(f"{run}: {settings.backbone} cannot be built for OpenVINO. Export it first: dfutils export.")
    with _opened(RunFolder(run).checked_weights(settings)) as weights:
        return build_inception(weights, size=settings.extraction.size, backbone=settings.backbone)


def read_graph(run: Path, settings: DetectorRecord, export: ExportRecord | None) -> ov.Model:
    """Read the backbone that OpenVINO runs: the export, or else one built from the weights."""
    if export is None:
        return read_backbone(run, settings)
    return _core().read_model(RunFolder(run).export_folder / BACKBONE_FILES[0])


def read_numpy_head(run: Path, settings: DetectorRecord) -> NumpyHead:
    """Read the head of a run from its weights.

    Raises:
        RunError: The weights were altered since training.
    """
    with _opened(RunFolder(run).checked_weights(settings)) as weights:
        return read_head(weights, settings.model)


def read_export(run: Path, settings: DetectorRecord) -> ExportRecord | None:
    """Read ``export.json`` and verify the files beside it; None if nothing was exported.

    Raises:
        RunError: A file was altered, or belongs to other weights.
    """
    folder, document = RunFolder(run).export_folder, RunFolder(run).export_file
    if not document.is_file():
        return None
    export = ExportRecord.read(document)
    if export.weights_sha256 != settings.weights_sha256:
        raise RunError(f"{folder}: was exported from other weights. Export again: dfutils export.")
    for name in BACKBONE_FILES:
        if not (folder / name).is_file() or sha256_of(folder / name) != export.files.get(name):
            raise RunError(
                f"{folder / name}: is missing or was altered since its export. Export again: dfutils export."
            )
    return export


class _OpenVinoLoader:
    """Verifies files at once, and compiles backbones in a thread while another process decodes the first video."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="openvino")
        self._backbones: dict[str, Future[ov.CompiledModel]] = {}

    def __call__(self, run: Path, settings: DetectorRecord) -> tuple[OpenVinoNetwork, str, str]:
        export = read_export(run, settings)
        precision = export.precision if export else "float32"
        export_key = str(sorted(export.files.items())) if export else ""
        head = read_numpy_head(run, settings)

        def compile_it() -> ov.CompiledModel:
            try:
                model = read_graph(run, settings, export)
                return compile_backbone(model, precision=precision)
            except (ImportError, RuntimeError) as error:  # OpenVINO raises RuntimeError
                reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                raise RunError(
                    f"{run}: OpenVINO does not start ({reason[0]}). Use the engine keras, or reinstall openvino."
                ) from error

        key = f"{settings.backbone_key} {export_key}"
        if key not in self._backbones:
            self._backbones[key] = self._pool.submit(compile_it)
        return OpenVinoNetwork(self._backbones[key].result, head), export_key, precision


def _opened(path: Path) -> Any:
    import h5py

    return h5py.File(path)


@functools.cache
def _core() -> ov.Core:
    from dfutils.prediction.openvino_backend import ov

    return ov.Core()
