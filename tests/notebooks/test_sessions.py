"""The trainings of notebook 3 on Kaggle, on two devices in place of its GPUs, in one session and in two."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from kaggle_machine import FORMS, OWNER

from dfutils.demo.examples import DEMO_FINETUNING, DEMO_QUICK_LOOK
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.files import read_csv, read_json
from dfutils.notebook.sessions import KAGGLE_FINETUNING, KAGGLE_QUICK_LOOK, suggested_trainings
from dfutils.prediction.detector import load_detector
from dfutils.settings import ExtractionSettings, TrainingSettings

TRAIN = """
import json
import sys
import time
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from types import SimpleNamespace
from dfutils.notebook import start_notebook
from dfutils.notebook.sessions import KAGGLE_FINETUNING, train_in_session
from dfutils.settings import SplitSettings
from dfutils.training import finetune

# Smaller, shorter and without a download; everything else is as on Kaggle, but for what the third argument changes.
changes = json.loads(sys.argv[3])
own = KAGGLE_FINETUNING.finetune.model_copy(update={"steps_per_epoch": 1, **changes.pop("finetune", {})})
small = {"epochs": 2, "batch_size": 2, "backbone_weights": "random", "finetune": own, **changes}
split = SplitSettings(test_fraction=0.34, validation_fraction=0.34)
settings = KAGGLE_FINETUNING.model_copy(update={**small, "split": split})

# In the first session eight hours have passed once an epoch is validated.
hours = 0
finetune.time = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * hours)
save = finetune.save_checkpoint

def save_and_wait(path, *state, **identity):
    global hours
    save(path, *state, **identity)
    hours += 9 * (path.name == "best.npz" and sys.argv[2] == "first")

finetune.save_checkpoint = save_and_wait
start_notebook()
detector = train_in_session(Path(sys.argv[1]), Path("output/run"), settings=settings)
print(detector.model)
"""


@pytest.fixture
def few_faces(demo_labels, tmp_path):
    """Two crops of each clip, as small as InceptionV3 takes them: half precision is slow without a GPU."""
    tiny = ExtractionSettings(size=75, frames=2, min_face_frames=1)
    extract_dataset(read_catalogue(demo_labels.parent, demo_labels), tmp_path / "faces", settings=tiny, progress=False)
    return tmp_path / "faces"


QUICK = {"backbone": "MobileNet", "finetune": {"unfreeze": "conv_pw_13"}}
"""A small network of which the end is trained, where the sessions are what is tested."""


def session(faces, folder, which, changes):
    """Run one session on Kaggle in an empty folder beside the inputs; return the run folder and the output."""
    working = folder / which
    working.mkdir()
    environment = {**os.environ, "DFUTILS_KAGGLE_INPUT": str(folder / "input")}
    command = [sys.executable, "-c", TRAIN, str(faces), which, json.dumps(changes)]
    done = subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return working / "output" / "run", " ".join(done.stdout.split())


def test_the_settings_for_kaggle_train_the_whole_network_on_two_devices(few_faces, tmp_path):
    run, _ = session(few_faces, tmp_path, "whole", {"epochs": 1})
    about, settings = read_json(run / "run.json"), read_json(run / "settings.json")
    assert [about[name] for name in ("strategy", "replicas", "precision", "is_complete")] == [
        "mirrored", 2, "mixed_float16", True
    ]  # fmt: skip
    assert (settings["backbone"], settings["finetune"]["unfreeze"]) == ("InceptionV3", "all")
    assert len(read_csv(run / "history.csv", ("loss", "val_auc"))) == 1


def test_a_session_that_ends_is_continued_in_another(few_faces, tmp_path):
    stopped, said = session(few_faces, tmp_path, "first", QUICK)
    assert "time budget of 8 h is used up" in said
    assert said.endswith("run it again. inception_mean")
    assert read_json(stopped / "run.json")["is_complete"] is False
    (first,) = read_csv(stopped / "history.csv", ("loss", "val_auc"))
    assert load_detector(stopped).settings.model == "inception_mean"  # usable as it is

    place = tmp_path / "input" / FORMS["with the owner"]["notebooks"].format("deepfakes-3") / "output" / "run"
    place.parent.mkdir(parents=True)
    stopped.rename(place)
    for path in (*place.iterdir(), place):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    assert OWNER in place.parts

    finished, said = session(few_faces, tmp_path, "second", QUICK)
    assert "continues from" in said
    assert "used up" not in said
    history = read_csv(finished / "history.csv", ("loss", "val_auc"))
    assert len(history) == 2
    assert history[0] == first  # and was not trained again
    assert read_json(finished / "run.json")["is_complete"] is True
    assert not list(finished.glob("*.npz"))
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before


def test_the_settings_for_kaggle_finetune_the_whole_network_from_imagenet_with_self_blended_fakes():
    own = KAGGLE_FINETUNING.finetune
    assert (KAGGLE_FINETUNING.mode, KAGGLE_FINETUNING.backbone) == ("finetune", "InceptionV3")
    assert (KAGGLE_FINETUNING.backbone_weights, KAGGLE_FINETUNING.init_from) == ("imagenet", None)
    assert (own.unfreeze, own.train_batch_norm, own.patch) == ("all", False, None)
    assert own.self_blended > 0
    assert own.time_budget_hours < 9


def test_the_page_on_training_shows_the_settings_for_kaggle():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (shown,) = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert TrainingSettings.model_validate_json(shown) == KAGGLE_FINETUNING


@pytest.mark.parametrize(
    ("others", "expected"),
    [([], (DEMO_QUICK_LOOK, DEMO_FINETUNING)), (["dfdc"], (KAGGLE_QUICK_LOOK, KAGGLE_FINETUNING))],
    ids=["the demo's clips", "with one of the DFDC"],
)
def test_only_made_up_clips_are_trained_from_the_shipped_detector(demo_faces, others, expected):
    dataset = read_face_dataset(demo_faces)
    rows = (*dataset.rows, *(replace(dataset.rows[0], dataset=name) for name in others))
    assert suggested_trainings(type(dataset)(dataset.folder, rows, dataset.settings, {})) == expected
