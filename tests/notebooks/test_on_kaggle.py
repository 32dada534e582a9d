"""The staged notebooks as Kaggle runs them: alone, offline, with read-only inputs, each fed by those before it."""

import csv
import itertools
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from built_wheel import build_or_skip
from kaggle_machine import FORMS, LACKING, OWNER, KaggleMachine, make_image, pack_installed

from dfutils.extraction.dataset import FaceDataset
from dfutils.notebook import suggested_trainings
from dfutils.publishing.notebooks import stage_notebooks
from dfutils.settings import ExtractionSettings

PROJECT = Path(__file__).parents[2]
METADATA = PROJECT / "kaggle-metadata"
PACKAGE, FACES, COMPETITION = "dfutils", "deepfake-motion-faces", "deepfake-detection-challenge"

SMALL = {
    "01-extract-motion-faces": (
        "from dfutils.settings import ExtractionSettings\nSETTINGS = ExtractionSettings(size=96)"
    ),
    "03-train": (
        "from dfutils.settings import TrainingSettings\n"
        'small = {"backbone_weights": "random", "epochs": 1, "devices": {},\n'
        '    "split": {"test_fraction": 0.34, "validation_fraction": 0.34}}\n'
        "QUICK_LOOK = TrainingSettings(**{**QUICK_LOOK.model_dump(), **small})\n"
        'few = {"unfreeze": "mixed10", "steps_per_epoch": 2, "precision": "auto"}\n'
        'own = {"finetune": {**SETTINGS.finetune.model_dump(), **few}, "batch_size": 4}\n'
        "SETTINGS = TrainingSettings(**{**SETTINGS.model_dump(), **small, **own})"
    ),
}
"""Tiny crops, random weights and a few steps; all else is what the notebooks suggest for real videos."""
SHRUNK = {"backbone_weights", "epochs", "devices", "split", "finetune", "batch_size"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """The package's wheel, built from this tree, and that of the one library that Kaggle's image lacks."""
    folder = build_or_skip(PROJECT, tmp_path_factory.mktemp("wheels")).parent
    pack_installed("av", folder)
    return folder


@pytest.fixture(scope="module")
def competition(demo_labels, tmp_path_factory) -> Path:
    """A DFDC sample of made-up clips, with its metadata.json, and two test videos."""
    folder = tmp_path_factory.mktemp("dfdc")
    sample, test = folder / "train_sample_videos", folder / "test_videos"
    sample.mkdir()
    test.mkdir()
    listed = {}
    for video in sorted((demo_labels.parent / "videos").glob("person_*.mp4")):
        shutil.copy(video, sample)
        fake = video.name.endswith("_fake.mp4")
        original = {"original": video.name.replace("fake", "real")} if fake else {}
        listed[video.name] = {"label": "FAKE" if fake else "REAL", "split": "train", **original}
    (sample / "metadata.json").write_text(json.dumps(listed))
    for number, video in enumerate(sorted(sample.glob("*.mp4"))[:2]):
        shutil.copy(video, test / f"unknown_{number}.mp4")
    (test / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The committed notebooks, staged, with their metadata, in the order in which they feed each other."""
    folder = tmp_path_factory.mktemp("staged")
    return stage_notebooks(PROJECT / "notebooks", folder / "to-send", metadata=METADATA, owner=OWNER)


@pytest.fixture(scope="module")
def series(tmp_path_factory, wheels, competition, staged):
    """All five, run in order; attached is what their metadata say, in turn in each place that Kaggle has for it."""
    folder = tmp_path_factory.mktemp("kaggle")
    datasets, outputs, machines = {PACKAGE: wheels}, {}, {}
    for one, form in zip(staged, itertools.cycle(FORMS), strict=False):
        name = one.folder.name
        machine = KaggleMachine(make_image(folder / name / "image"), folder / name, form)
        for source in one.metadata["dataset_sources"]:
            slug = source.split("/")[1]
            machine.attach("datasets", slug, datasets[slug])
        for source in one.metadata["kernel_sources"]:
            machine.attach("notebooks", source.split("/")[1], outputs[source])
        for source in one.metadata["competition_sources"]:
            assert source == COMPETITION
            machine.attach("competitions", source, competition)
        cells = machine.run(one.folder / one.metadata["code_file"], parameters=SMALL.get(name, ""))["cells"]
        machines[name] = (machine, cells)
        outputs[one.metadata["id"]] = machine.working
        if name == "02-publish-dataset":  # what the reader then sends with the commands that it shows
            datasets[FACES] = machine.working / "output" / "staging"
    return machines


def test_the_wheel_holds_every_file_of_the_package_and_the_included_detector(wheels):
    with zipfile.ZipFile(next(wheels.glob("dfutils-*.whl"))) as archive:
        held = {one.filename: one.file_size for one in archive.infolist()}
    files = [path for path in (PROJECT / "dfutils").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert any("pretrained" in path.parts for path in files)
    expected = {path.relative_to(PROJECT).as_posix(): path.stat().st_size for path in files}
    assert {name: held.get(name) for name in expected} == expected


def test_the_package_and_missing_libraries_are_installed_from_the_attached_wheels(series):
    for machine, cells in series.values():
        line = "import av, dfutils; print(dfutils.__file__, av.__file__)"
        places = subprocess.check_output([machine.python, "-c", line], cwd=machine.working, text=True).split()
        assert all(Path(place).is_relative_to(machine.folder / "image" / "python") for place in places)
        ask = f"from importlib.util import find_spec; print([find_spec(name) is None for name in {LACKING}])"
        said = subprocess.check_output([machine.python, "-c", ask], cwd=machine.working, text=True).strip()
        assert said == "[False, True]"
        (installation,) = (cell for cell in cells if "%pip install" in "".join(cell["source"]))
        assert cells.index(installation) == 2


FONTS = "Matplotlib is building the font cache; this may take a moment.\n"
"""Matplotlib says it on a slow machine, the first time that it is imported."""


def test_nothing_fails_or_writes_to_stderr(series):
    for _, cells in series.values():
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output["output_type"] == "error"]
        said = [output["text"] for output in outputs if output.get("name") == "stderr"]
        assert [text for text in said if text != FONTS] == []


def test_the_attached_dfdc_sample_is_extracted(series):
    machine, _ = series["01-extract-motion-faces"]
    with (machine.working / "output" / "faces" / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {row["dataset"] for row in rows} == {"dfdc"}
    assert len({row["group"] for row in rows}) == 6
    assert not (machine.working / "output" / "source").exists()


def test_each_notebook_leaves_what_it_promises(series):
    promised = {
        "01-extract-motion-faces": ["output/faces/manifest.csv"],
        "02-publish-dataset": ["output/staging/dataset-metadata.json", "output/staging/manifest.csv"],
        "03-train": [
            *("output/run/detector.json", "output/run/model.weights.h5", "output/quick-look/detector.json"),
        ],
        "04-evaluate": ["output/report/report.html", "output/report/metrics.json", "output/report/predictions.csv"],
        "05-predict": ["submission.csv", "output/inputs/two-people.mp4"],
    }
    for name, files in promised.items():
        assert all((series[name][0].working / file).is_file() for file in files)


def test_the_staged_dataset_and_its_commands_name_the_owner(series):
    machine, cells = series["02-publish-dataset"]
    staging = machine.working / "output" / "staging"
    assert json.loads((staging / "dataset-metadata.json").read_text())["id"] == f"{OWNER}/{FACES}"
    shown = "".join("".join(output["data"]["text/plain"]) for output in cells[-2]["outputs"])
    assert f"kaggle kernels output {OWNER}/deepfakes-2-publish-the-face-dataset -p ." in shown
    assert "your-name" not in shown


def test_real_videos_are_trained_with_the_settings_for_kaggle(series):
    settings = json.loads((series["03-train"][0].working / "output" / "run" / "settings.json").read_text())
    suggested = suggested_trainings(FaceDataset(Path(), (), ExtractionSettings(), {})).finetuning.model_dump(
        mode="json"
    )
    assert suggested["init_from"] is None
    assert {name for name, value in settings.items() if value != suggested[name]} == SHRUNK


def test_the_report_of_notebook_4_has_behaviour_and_compression_tests(series):
    report = series["04-evaluate"][0].working / "output" / "report"
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["behaviour"]
    assert {row["kind"] for row in metrics["stress"]} == {"none", "h264"}
    assert "Robustness" in (report / "report.html").read_text()


def test_notebook_4_evaluates_the_test_split_of_notebook_3(series):
    splits = series["03-train"][0].working / "output" / "run" / "splits.csv"
    predictions = series["04-evaluate"][0].working / "output" / "report" / "predictions.csv"
    with splits.open() as assigned, predictions.open() as scores:
        tested = {row["video"] for row in csv.DictReader(assigned) if row["split"] == "test"}
        assert {row["video"] for row in csv.DictReader(scores)} == tested


def test_the_submission_has_a_probability_for_every_test_video(series):
    with (series["05-predict"][0].working / "submission.csv").open() as file:
        rows = {row["filename"]: float(row["label"]) for row in csv.DictReader(file)}
    assert list(rows) == ["broken.mp4", "unknown_0.mp4", "unknown_1.mp4"]
    assert rows["broken.mp4"] == 0.5
    assert all(0 < value < 1 for value in rows.values())
