"""Every network, trained in every mode, by the command line's parser and functions in this process.

One process, because importing TensorFlow takes longer than any of these commands; the commands of the README run in
processes of their own (`tests/documentation`). The default network has its own backbone here, InceptionV3, if its
features are cached; `tests/notebooks/test_sessions.py` fine-tunes it whole. The others have a smaller one, whose graph
is built and read in a quarter of the time. The clips are videos: nothing in the face dataset is an image.
"""

import functools
import itertools
import json
from dataclasses import replace

import cv2
import pytest
from rounding import SCORE

from dfutils.cli import main
from dfutils.evaluation.damage import DAMAGES
from dfutils.extraction.video import iter_frames
from dfutils.files import read_csv, read_json, write_json
from dfutils.prediction.detector import load_detector
from dfutils.settings import TrainingSettings, has_frame_head
from dfutils.training.model import HEADS

SMALLEST = 75
"""InceptionV3 takes no smaller crops."""
FRAMES = 4
TRAINING = {"backbone_weights": "random", "epochs": 1}
MODES = {
    "cached": {"tensorboard": True, "devices": {"strategy": "none"}},
    "finetune": {"mode": "finetune", "batch_size": 2, "finetune": {"steps_per_epoch": 1}},
}
QUICK = {"backbone": "MobileNet"}
"""Has a quarter of InceptionV3's layers."""
DEFAULT = TrainingSettings().model
FOLDS = 3


def dfutils(*words):
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def faces(demo_labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("every_network") / "faces"
    sizes = ["--frames", FRAMES, "--size", SMALLEST, "--workers", 2]
    dfutils("extract", demo_labels.parent, "--labels", demo_labels, "--out", folder, *sizes)
    return folder


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory):
    """A run folder for a network and a mode, trained the first time it is asked for."""

    @functools.cache
    def train(network, mode):
        folder = tmp_path_factory.mktemp("trained")
        run = folder / f"{network}-{mode}"
        write_json(
            folder / "settings.json", TRAINING | MODES[mode] | ({} if (network, mode) == (DEFAULT, "cached") else QUICK)
        )
        dfutils("train", faces, "--out", run, "--model", network, "--settings", folder / "settings.json")
        return run

    return train


@pytest.fixture(params=itertools.product(HEADS, MODES), ids="-".join)
def run(request, trained):
    """Every network, trained in every mode."""
    return trained(*request.param)


@pytest.fixture(scope="module")
def photo(demo_videos, tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(path), next(iter_frames(demo_videos[0])).image()[:, :, ::-1])
    return path


@pytest.fixture
def predicted(demo_videos, photo, capsys):
    """Verdicts of `dfutils predict` on a clip and a photo, by reason and probability."""

    def predict(run, engine):
        capsys.readouterr()
        dfutils("predict", demo_videos[0], photo, "--model", run, "--engine", engine, "--json")
        verdicts = json.loads(capsys.readouterr().out)["verdicts"]
        return [one["reason"] for one in verdicts], [one["fake_probability"] for one in verdicts]

    return predict


@pytest.fixture(autouse=True)
def one_strength(monkeypatch):
    """One kind of damage in one strength is enough here: the others are tested by themselves."""
    monkeypatch.setitem(DAMAGES, "frames", replace(DAMAGES["frames"], strengths=(1,)))


def test_a_trained_network_is_evaluated_with_everything(run, faces, demo_labels, tmp_path):
    assert len(read_csv(run / "history.csv", ("loss", "val_auc"))) == 1
    assert (run / "history.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(run.glob("tensorboard/events.out.tfevents.*"))) == ("cached" in run.name)
    stress = ["--labels", demo_labels, "--most", 2, "--kinds", "frames"]
    dfutils("stress", run, demo_labels.parent, "--out", tmp_path, *stress)
    dfutils("evaluate", run, faces, "--out", tmp_path, "--explain", 1)
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["coverage"]["value"] == 1
    assert [(row["kind"], row["coverage"]) for row in metrics["stress"]] == [("none", 1), ("frames", 1)]
    assert {"behaviour", "explanation"} <= set(metrics)
    html = (tmp_path / "report.html").read_text()
    assert all(text in html for text in ("Grad-CAM", "occlusion"))
    section = html[html.index('<section id="stress">') :]
    section = section[: section.index("</section>")]
    assert "Robustness" in section
    assert (section.count("<tr>"), section.count("<figure")) == (3, 1)
    assert (tmp_path / "figures" / "stress_frames.svg").is_file()
    assert len((tmp_path / "tables" / "stress.csv").read_text().splitlines()) == 3


def test_a_trained_network_is_calibrated_and_exported_and_gives_the_same_verdicts(run, faces, predicted):
    dfutils("calibrate", run, "--method", "isotonic", "--operating-point", "fpr_5")
    settings = read_json(run / "detector.json")
    assert settings["calibration"] == "isotonic"
    reasons, probabilities = predicted(run, "auto")
    scored = {"ok", "low_confidence"}
    assert reasons[0] in scored
    assert reasons[1] in (scored if has_frame_head(settings["model"]) else {"too_few_faces"})
    dfutils("export", run, faces)
    assert load_detector(run, engine="openvino").members[0].export_key
    again, exported = predicted(run, "openvino")
    assert again == reasons
    assert exported == [known if known is None else pytest.approx(known, abs=SCORE) for known in probabilities]


def test_all_of_them_are_compared_on_the_videos_that_none_was_trained_on(trained, faces, tmp_path, capsys):
    runs = list(itertools.starmap(trained, itertools.product(HEADS, MODES)))
    capsys.readouterr()  # what trainings print, if this test is run alone
    dfutils("compare", *runs, "--faces", faces, "--out", tmp_path, "--json")
    differences = json.loads(capsys.readouterr().out)["differences"]
    assert [row["name"] for row in differences] == [run.name for run in runs[1:]]
    predictions = read_csv(tmp_path / "predictions.csv", ("video",))
    assert {row["videos"] for row in differences} == {len(predictions)}
    assert len(predictions) < len(read_csv(faces / "manifest.csv", ("video",)))
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "tables" / "differences.csv").is_file()


@pytest.mark.parametrize("network", HEADS)
def test_a_network_is_trained_in_folds_and_answers_as_their_ensemble(faces, predicted, tmp_path, network):
    write_json(tmp_path / "quick.json", TRAINING | QUICK)
    dfutils(
        "train", faces, "--out", tmp_path, "--model", network, "--folds", FOLDS, "--settings", tmp_path / "quick.json"
    )
    assert [row["fold"] for row in read_csv(tmp_path / "folds.csv", ("fold",))] == [*map(str, range(FOLDS)), "all"]
    reasons, _ = predicted(tmp_path, "auto")
    assert reasons[0] in {"ok", "low_confidence"}
