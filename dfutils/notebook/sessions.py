"""What notebook 3 trains, on the demo's clips and on Kaggle, and how it goes on in another session."""

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
"""A recurrent head on ImageNet's frozen features: about a minute on two T4s for the DFDC's sample. Such a detector has
an AUC between .59 and .66 on people of FaceForensics++ (c23) whom it has not seen."""

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
"""InceptionV3 end to end on Kaggle's GPU T4 x2: 9,000 steps of 32 crops per GPU, one random frame of each clip. That
is about half an hour, for hundreds of videos as for thousands. Half of the fakes are blended from REAL crops; the
backbone learns at 2e-4 and the head at a tenth of that. It resembles the recipe of the detector that comes with the
package, with a larger batch, half precision and ImageNet's weights. The time budget matters where ``epochs`` is
raised: of a session of nine hours it leaves one for everything around the training."""


class Trainings(NamedTuple):
    """Settings of the two trainings of notebook 3."""

    quick_look: TrainingSettings
    finetuning: TrainingSettings


def suggested_trainings(dataset: FaceDataset) -> Trainings:
    """The demo's settings for made-up clips; else those for Kaggle's two T4s.

    Only the demo starts from the detector that comes with the package: that was trained on crops of the DFDC, and a
    test on the DFDC's sample would flatter it.
    """
    if {row.dataset for row in dataset.rows} == {"demo"}:
        return Trainings(DEMO_QUICK_LOOK, DEMO_FINETUNING)
    return Trainings(KAGGLE_QUICK_LOOK, KAGGLE_FINETUNING)


def train_in_session(faces: Path, run: Path, *, settings: TrainingSettings) -> DetectorRecord:
    """Train a detector in a session that may end before the training does.

    Where ``run`` is missing and an unfinished run is attached, such as the output of this notebook's earlier session,
    it is copied to ``run`` and training goes on from its checkpoint. Where the time budget ends the training, the page
    says so, and the best epoch so far is the detector.

    Args:
        faces: A face dataset folder.
        run: The run folder to write.
        settings: Those of the earlier session, if there was one.

    Raises:
        DfutilsError: As `dfutils.training.run.train`, but for the time budget.
    """
    from dfutils.training.run import train  # TensorFlow is slow to import

    earlier = None if run.exists() else find_attached(run, RunFolder(run).checkpoint_file.name)
    if earlier:
        partial = run.with_name(f".{run.name}.partial")  # a copy that was cut short must not look like a run
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for path in earlier.iterdir():
            if path.is_file():
                shutil.copyfile(path, partial / path.name)  # not its mode: what is attached is read-only
        partial.rename(run)
        logger.warning("%s: goes on from %s", run, earlier)
    try:
        return train(faces, run, settings=settings)
    except TimeBudgetError as stopped:
        logger.warning("%s On Kaggle, attach the output of this notebook to it and run it again.", stopped)
        return RunFolder(run).detector()
