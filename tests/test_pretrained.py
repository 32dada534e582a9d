"""Detectors that come with the package are found by name."""

import json
import shutil

import pytest

from dfutils import cli, pretrained
from dfutils.errors import RunError
from dfutils.files import write_json
from dfutils.prediction.detector import load_detector
from research.packing import pack_detector


@pytest.fixture(scope="module")
def shelf(demo_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    pack_detector(demo_run, folder / "made-up", name="made-up", threshold=0.4)
    measured = {"AUC on made-up clips": "0.9 (0.8 to 1.0)"}
    about = {"about": "Trained on made-up clips.", "measured": measured, "licence": "CC0"}
    write_json(folder / "made-up" / "metrics.json", about)
    return folder


@pytest.fixture
def on_shelf(shelf, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", shelf)
    return shelf


def test_detectors_are_found_by_name_and_a_folder_of_that_name_wins(on_shelf, tmp_path, monkeypatch):
    assert pretrained.pretrained_names() == ["made-up"]
    assert pretrained.resolve_detector("made-up") == on_shelf / "made-up"
    assert load_detector("made-up").settings.name == "made-up"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made-up").mkdir()
    assert pretrained.resolve_detector("made-up").resolve() == (tmp_path / "made-up").resolve()


def test_an_included_detector_and_its_copy_cannot_be_calibrated_anew_and_the_reason_is_given(
    on_shelf, tmp_path, capsys
):
    copy = shutil.copytree(on_shelf / "made-up", tmp_path / "copy")
    for given, folder in (("made-up", on_shelf / "made-up"), (str(copy), copy)):
        before = (folder / "detector.json").read_bytes()
        assert cli.main(["calibrate", given]) == 1
        said = capsys.readouterr().err
        assert f"{folder}: cannot be calibrated anew, since detectors of the package or the Hub come without" in said
        assert "use `dfutils predict --prior`, or train a run" in said
        assert (folder / "detector.json").read_bytes() == before
    with pytest.raises(SystemExit, match="2"):
        cli.main(["calibrate", "hf://some-one/detector"])


def test_an_unknown_name_lists_the_known_ones(on_shelf):
    with pytest.raises(RunError, match=r"made-down: is neither a run folder.*\(made-up\)"):
        pretrained.resolve_detector("made-down")


def test_models_lists_the_packaged_detectors(on_shelf, capsys):
    assert cli.main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "made-up: " in printed
    assert "AUC on made-up clips: 0.9 (0.8 to 1.0)" in printed
    assert cli.main(["models", "--json"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert (model["name"], model["licence"]) == ("made-up", "CC0")


def test_the_size_of_a_detector_counts_its_export_too(on_shelf, tmp_path, monkeypatch):
    before = pretrained.describe("made-up")["bytes"]
    assert before == sum(path.stat().st_size for path in (on_shelf / "made-up").iterdir())
    monkeypatch.setattr(pretrained, "FOLDER", shutil.copytree(on_shelf, tmp_path / "pretrained"))
    export = tmp_path / "pretrained" / "made-up" / "export"
    export.mkdir()
    (export / "model.bin").write_bytes(bytes(1000))
    assert pretrained.describe("made-up")["bytes"] == before + 1000


def test_without_a_shipped_detector_predict_asks_for_a_model(on_shelf, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "DEFAULT", "not there")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["predict", "clip.mp4"])
    assert "--model" in capsys.readouterr().err


def test_predict_uses_the_default_detector_and_names_it(on_shelf, monkeypatch, demo_videos, caplog, capsys):
    monkeypatch.setattr(pretrained, "DEFAULT", "made-up")
    assert cli.build_parser().parse_args(["predict", "clip.mp4"]).model == "made-up"
    with caplog.at_level("INFO"):
        assert cli.main(["predict", str(demo_videos[0])]) == 0
    assert "Detector: made-up" in caplog.text
    assert demo_videos[0].name in capsys.readouterr().out
