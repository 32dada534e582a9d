"""The trainings of notebook 3, on the demo's clips and on Kaggle; a later session can continue them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import NamedTuple

from dfutils.demo.examples import DEMO_FINETUNING, DEMO_QUICK_LOOK
from dfutils.errors import TimeBudgetError
from dfutils.extraction.dataset import FaceDataset
from dfutils.notebook.folders import find_attached
from dfutils.runs.folder import RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.settings import DeviceSettings, FinetuneSettings, TrainingSettings

logger = logging.getLogger(__name__)

KAGGLE_QUICK_LOOK = TrainingSettings(
    model="inception_lstm_gru",
    backbone_weights="imagenet",
    epochs=40,
    patience=10,
    devices=DeviceSettings(strategy="mirrored"),
)
"""A recurrent head on frozen ImageNet features: about a minute on two T4s for the DFDC's sample. On people of
FaceForensics++ (c23) whom it has not seen, such a detector has an AUC between 0.59 and 0.66."""

KAGGLE_FINETUNING = TrainingSettings(
    model="inception_mean",
    mode="finetune",
    backbone_weights="imagenet",
    epochs=30,
    batch_size=64,
    learning_rate=2e-5,
    patience=10,
    finetune=FinetuneSettings(
        backbone_lr_multiplier=10.0,
        ema_decay=0.998,
        steps_per_epoch=300,
        self_blended=0.5,
        paired=True,
        time_budget_hours=8.0,
        precision="mixed_float16",
    ),
    devices=DeviceSettings(strategy="mirrored"),
)
"""InceptionV3 end to end on Kaggle's GPU T4 x2: 9,000 steps of 32 crops per GPU, one random frame of each clip. This
takes about half an hour, for hundreds of videos as for thousands. Half of the fakes are blended from REAL crops; the
backbone learns at 2e-4 and the head at a tenth of that. It resembles the recipe of the included detector, with a larger
batch, half precision and ImageNet's weights. The time budget matters if ``epochs`` is raised: it leaves one hour of a
nine-hour session for everything around the training."""


class Trainings(NamedTuple):
    """Settings of the two trainings of notebook 3."""

    quick_look: TrainingSettings
    finetuning: TrainingSettings


def suggested_trainings(dataset: FaceDataset) -> Trainings:
    """Return the demo's settings for made-up clips, else those for Kaggle's two T4s.

    Only the demo starts from the included detector: it was trained on crops of the DFDC, so a test on the DFDC's sample
    would be too optimistic.
    """
    if {row.dataset for row in dataset.rows} == {"demo"}:
        return Trainings(DEMO_QUICK_LOOK, DEMO_FINETUNING)
    return Trainings(KAGGLE_QUICK_LOOK, KAGGLE_FINETUNING)


def train_in_session(faces: Path, run: Path, *, settings: TrainingSettings) -> DetectorRecord:
    """Train a detector in a session that may end before the training does.

    If ``run`` is missing and an unfinished run is attached, such as the output of this notebook's earlier session, it
    is copied to ``run`` and training continues from its checkpoint. If the time budget ends the training, a warning
    says so, and the best epoch so far is the detector.

    Args:
        faces: A face dataset folder.
        run: The run folder to write.
        settings: The same settings as in the earlier session, if there was one.

    Raises:
        DfutilsError: As for `dfutils.training.run.train`, except for the time budget.
    """
    from dfutils.training.run import train  # TensorFlow is slow to import

    earlier = None if run.exists() else find_attached(run, RunFolder(run).checkpoint_file.name)
    if earlier:
        partial = run.with_name(f".{run.name}.partial")  # an interrupted copy must not look like a run
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for path in earlier.iterdir():
            if path.is_file():
                shutil.copyfile(path, partial / path.name)  # without the mode: attached files are read-only
        partial.rename(run)
        logger.warning("%s: continues from %s", run, earlier)
    try:
        return train(faces, run, settings=settings)
    except TimeBudgetError as stopped:
        logger.warning("%s On Kaggle, attach the output of this notebook to it and run it again.", stopped)
        return RunFolder(run).detector()
