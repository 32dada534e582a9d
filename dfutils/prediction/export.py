"""Export backbones for OpenVINO; an export is written only if it proves equivalent to Keras."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import logging
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dfutils.errors import RunError, how_to_install
from dfutils.extraction.dataset import FaceDataset, read_face_dataset
from dfutils.files import read_csv, sha256_of, temporary_folder, writing_error
from dfutils.prediction.detector import Detector
from dfutils.prediction.inception import is_inception
from dfutils.prediction.members import ClipScore, Member
from dfutils.prediction.runtime import (
    BACKBONE_FILES,
    Network,
    OpenVinoNetwork,
    compile_backbone,
    keras_network,
    network_loader,
    read_backbone,
    read_numpy_head,
)
from dfutils.records import ClipRow, Crops
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord, ExportRecord

if TYPE_CHECKING:
    from dfutils.prediction.openvino_backend import ov

logger = logging.getLogger(__name__)

Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]

LARGEST_DIFFERENCE = 1e-4
"""Maximum difference in probability from Keras that is allowed for float32, on any clip."""
LARGEST_LOSS = 0.005
"""Maximum loss of AUC allowed for other precisions."""
FEWEST_SAME = 0.98
"""Minimum share of clips that other precisions must keep on the same side of each threshold of the answers."""
CALIBRATION_CLIPS = 300
"""Number of training clips, with one crop each, on which int8 calibrates the ranges of its activations."""
CLIPS_AT_ONCE = 16
"""Batch size of the comparison: each call of Keras has a fixed cost."""


def export_detector(
    run: Path, faces: Path, *, precision: Precision = "float32", most: int | None = None
) -> list[ExportRecord]:
    """Write the backbones of a detector for OpenVINO, each into ``export/`` of its own run folder.

    The export is compared with Keras on the clips of the run's validation split; for a detector without ``splits.csv``,
    on the validation split of the dataset, else on all clips.

    Args:
        run: The run folder of one detector or of an ensemble, whose members are exported one by one.
        faces: The face dataset that it was trained on, or another that was cut the same way.
        precision: ``float32`` must reproduce Keras' probabilities, the others its AUC and labels; int8 is calibrated on
            training clips.
        most: Compare on at most this many clips, evenly spaced.

    Raises:
        RunError: A requirement is missing, or a backbone differs too much; in that case none is written.
    """
    dataset = faces_for_comparison(run, faces)
    needed = ["openvino", *(["nncf"] if precision == "int8" else [])]
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise RunError(f"export to {precision}: needs {' and '.join(missing)}. {how_to_install('export')}.")
    if precision == "bfloat16":
        from dfutils.prediction.openvino_backend import ov

        if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RunError(
                "export to bfloat16: this processor does not support it, so nothing can be compared. Export on one "
                "that does, or use float32 or int8."
            )
    load = network_loader("keras")
    judged: list[tuple[Path, Path, ExportRecord]] = []
    with ExitStack() as scratch:
        whole = RunFolder(run)
        for own, settings in whole.members(whole.detector()):
            own_run = own.path
            folder = scratch.enter_context(temporary_folder(own.export_folder)) / own.export_folder.name
            folder.mkdir()
            reference, *_ = load(own_run, settings)
            model = _graph(own_run, settings, reference)
            if precision == "int8":
                model = quantised(model, dataset, rows_of_split(own_run, dataset, "train"))
            ported = _write_model(model, folder, precision)
            compiled = functools.partial(compile_backbone, ported, precision=precision)
            network = OpenVinoNetwork(functools.cache(compiled), read_numpy_head(own_run, settings))
            held = rows_of_split(own_run, dataset, "validation")
            rows, split = (held, "validation") if held else (dataset.rows, "all")
            networks = (reference, network)
            judge = settings.model_copy(update={"views": whole.detector().views})
            export = _compared(judge, dataset, evenly_spaced(rows, most), networks, precision, split=split)
            _require_equal(own_run, export)
            judged.append((own_run, folder, export))
        return [_put_in_place(*one) for one in judged]


def faces_for_comparison(run: Path, faces: Path) -> FaceDataset:
    """Read a face dataset, with its crops framed as the run was trained on them."""
    dataset, extraction = read_face_dataset(faces), RunFolder(run).detector().extraction
    if dataset.settings.margin > extraction.margin:  # the run was trained on the inner part of such crops
        return dataset.reframed(size=extraction.size, margin=extraction.margin)
    return dataset


def rows_of_split(run: Path, dataset: FaceDataset, split: str) -> tuple[ClipRow, ...]:
    """Return the clips of one of the run's splits, or of the dataset's own split if the run has no ``splits.csv``."""
    splits = RunFolder(run).splits_file
    if not splits.is_file():
        return tuple(row for row in dataset.rows if row.split == split)
    videos = {row["video"] for row in read_csv(splits, ("video", "split")) if row["split"] == split}
    found = tuple(row for row in dataset.rows if row.video in videos)
    if not found:
        raise RunError(
            f"{dataset.folder}: holds no clip of the {split} split of {run}. Give the dataset that it was trained on."
        )
    return found


def _graph(run: Path, settings: DetectorRecord, reference: Network) -> ov.Model:
    """Build InceptionV3 from its weights, and convert any other backbone."""
    if is_inception(settings.backbone):
        return read_backbone(run, settings)
    from dfutils.prediction.openvino_backend import ov
    from dfutils.training.backend import tf

    # OpenVINO asks for the version by exec("import tensorflow") and exec("del tensorflow"), which since Python 3.13 do
    # not share their local names (PEP 667): there, every conversion would fail with a NameError.
    ov.frontend.tensorflow.utils.get_environment_setup = lambda _framework: {"tensorflow": tf.__version__}
    backbone, size = keras_network(reference).backbone, settings.extraction.size
    example = tf.TensorSpec((1, size, size, 3), tf.uint8)
    traced = tf.function(lambda crops: backbone(crops, training=False)).get_concrete_function(example)
    model = ov.convert_model(traced, input=[ov.PartialShape([1, size, size, 3])])
    # The converter mistakes activations with a custom gradient, such as EfficientNet's, for outputs.
    wanted = next(one for one in model.outputs if traced.outputs[0].name in one.get_names())
    return ov.Model([wanted.get_node()], model.get_parameters(), "backbone")


def quantised(model: ov.Model, dataset: FaceDataset, rows: Sequence[ClipRow]) -> ov.Model:
    """Quantise weights and activations to 8 bits after training, with NNCF.

    Raises:
        RunError: ``rows``, on which activations are measured, are empty.
    """
    if not rows:
        raise RunError(
            f"{dataset.folder}: int8 calibration needs training clips, but the dataset has no `train` split."
        )
    import nncf  # noqa: TID251 - after openvino_backend
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet  # noqa: TID251

    chosen = evenly_spaced(rows, CALIBRATION_CLIPS)
    # Only the middle frame of each clip: its neighbours look the same.
    crops = [dataset.load_frames(row, [row.frames // 2]) for row in chosen]
    logger.info("Quantising with %d training crops", len(crops))
    # The default, the mean of the crops' ranges, clips rare strong activations, so that confident scores shrink.
    ranges = RangeEstimatorParametersSet.HISTOGRAM
    # Weights of 7 bits: processors without VNNI add two products in 16 bits, which a product of 8 bits each overflows.
    parameters = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=ranges, overflow_fix=nncf.OverflowFix.ENABLE
    )
    return nncf.quantize(model, nncf.Dataset(crops), subset_size=len(crops), advanced_parameters=parameters)


def _compared(
    settings: DetectorRecord,
    dataset: FaceDataset,
    rows: Sequence[ClipRow],
    networks: tuple[Network, Network],
    precision: Precision,
    *,
    split: str,
) -> ExportRecord:
    from dfutils.prediction.openvino_backend import ov

    reference, ported = (clip_scores(settings, network, map(dataset.load_clip, rows)) for network in networks)
    is_fake = np.array([row.is_fake for row in rows])
    return ExportRecord(
        precision=precision,
        weights_sha256=settings.weights_sha256,
        files={},
        split=split,
        clips=len(rows),
        auc_keras=_auc(is_fake, reference),
        openvino=ov.__version__,
        **differences(settings, is_fake, reference, ported),
    )


def differences(
    settings: DetectorRecord,
    is_fake: npt.NDArray[np.bool_],
    reference: Sequence[ClipScore],
    scores: Sequence[ClipScore],
) -> dict[str, Any]:
    """Measure the AUC, the largest difference of probabilities, raw or calibrated, and how many answers are equal."""
    theirs, ours = (
        np.array([(score.raw_probability, score.fake_probability) for score in some]) for some in (reference, scores)
    )
    real_up_to, fake_from = settings.answer_range
    same_at_each = [(ours[:, 1] > real_up_to) == (theirs[:, 1] > real_up_to)]
    same_at_each += [(ours[:, 1] >= fake_from) == (theirs[:, 1] >= fake_from)]
    return {
        "auc": _auc(is_fake, scores),
        "largest_difference": float(np.abs(ours - theirs).max()),
        "same_labels": float(np.all(same_at_each, axis=0).mean()),
        "same_sides": float(np.mean(same_at_each, axis=1).min()),
    }


def clip_scores(settings: DetectorRecord, network: Network, clips: Iterable[Crops]) -> list[ClipScore]:
    """Score clips ``(T, size, size, 3)`` of one length with a network, as a detector does: with its views.

    Raises:
        RunError: A score is NaN.
    """
    settings = settings.model_copy(update={"familiarity": None})  # no score depends on it
    detector = Detector(settings, [Member(settings, network)], Path())
    left, scores = iter(clips), list[ClipScore]()
    while some := list(itertools.islice(left, CLIPS_AT_ONCE)):
        scores += detector.score_clips(np.stack(some))
    return scores


def _auc(is_fake: npt.NDArray[np.bool_], scores: Sequence[ClipScore]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if not 0 < is_fake.sum() < len(is_fake):
        return None
    return float(roc_auc_score(is_fake, [score.fake_probability for score in scores]))


def _require_equal(run: Path, export: ExportRecord) -> None:
    """Raise a `RunError` with the figures if the export differs too much from Keras."""
    if export.precision == "float32":
        if export.largest_difference > LARGEST_DIFFERENCE:
            raise RunError(
                f"{run}: not exported: probabilities differ from Keras' by up to {export.largest_difference:.2g}, but "
                f"only {LARGEST_DIFFERENCE:g} is allowed. Please report it with the versions of keras and openvino."
            )
        return
    if export.auc is None or export.auc_keras is None:
        raise RunError(
            f"{run}: {export.precision} is judged by AUC, which needs REAL and FAKE clips. Use another dataset."
        )
    loss = export.auc_keras - export.auc
    # Exports of earlier versions only have the share of equal answers, which is never larger.
    same = export.same_labels if export.same_sides is None else export.same_sides
    if loss > LARGEST_LOSS or same < FEWEST_SAME:
        raise RunError(
            f"{run}: not exported: {export.precision} costs {loss:.4f} of AUC ({LARGEST_LOSS:g} is allowed), and "
            f"{same:.1%} of {export.clips} clips stay on the same side of each threshold ({FEWEST_SAME:.0%} are "
            "needed). Use float32."
        )


def _write_model(model: ov.Model, folder: Path, precision: Precision) -> ov.Model:
    """Write the backbone's files and read them again, so that the files that are kept are those that are compared."""
    from dfutils.prediction.openvino_backend import ov

    try:
        ov.save_model(model, folder / BACKBONE_FILES[0], compress_to_fp16=precision == "bfloat16")
    except (OSError, RuntimeError) as error:  # OpenVINO raises RuntimeError for a full disk
        raise RunError(
            f"{folder}: cannot be written ({error}). Make room on the disk and repeat the command."
        ) from error
    return ov.Core().read_model(folder / BACKBONE_FILES[0])


def _put_in_place(run: Path, folder: Path, export: ExportRecord) -> ExportRecord:
    """Add ``export.json`` with the checksums, and move the folder into place."""
    place = RunFolder(run).export_folder
    try:
        export = export.model_copy(update={"files": {name: sha256_of(folder / name) for name in BACKBONE_FILES}})
        export.write(folder / RunFolder(run).export_file.name)
        if place.exists():
            shutil.rmtree(place)
        folder.rename(place)
    except OSError as error:
        raise writing_error(place, error) from error
    return export


def evenly_spaced(rows: Sequence[ClipRow], most: int | None) -> list[ClipRow]:
    """Return at most so many rows, evenly spaced; all of them if ``most`` is None."""
    if most is None or len(rows) <= most:
        return list(rows)
    return [rows[index] for index in np.linspace(0, len(rows) - 1, most).round().astype(int)]
