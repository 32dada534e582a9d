import pytest
from earlier_versions import OLD_SETTINGS, OLD_SETTINGS_TODAY

from dfutils.errors import DfutilsError
from dfutils.settings import ExtractionSettings, TrainingSettings


def test_settings_come_back_as_they_were_saved(tmp_path):
    settings = TrainingSettings(model="inception_mean", seed=3, split={"test_fraction": 0.25})
    settings.write(tmp_path / "settings.json")
    assert TrainingSettings.read(tmp_path / "settings.json") == settings


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"frmaes": 10}, "frmaes"),
        ({"frames": 0}, "frames"),
        ({"margin": -0.5}, "margin"),
        ({"sampling": "random"}, "sampling"),
    ],
)
def test_unknown_keys_and_impossible_values_are_named(values, where):
    with pytest.raises(DfutilsError, match=where):
        ExtractionSettings.parse(values, source="settings.json")


@pytest.mark.parametrize("name", ["auto", "yunet"])
def test_settings_that_name_the_one_face_detector_are_read_as_those_that_do_not(name):
    assert ExtractionSettings.parse({"size": 96, "detector": name}, source="old") == ExtractionSettings(size=96)


def test_faces_that_haar_cascades_found_have_to_be_extracted_again():
    with pytest.raises(DfutilsError, match=r"^faces/extraction.json: .*Haar cascades.* Extract the faces again"):
        ExtractionSettings.parse({"size": 96, "detector": "haar"}, source="faces/extraction.json")


def test_settings_cannot_be_changed_after_the_fact():
    with pytest.raises(ValueError, match="frozen"):
        ExtractionSettings().frames = 3


def test_settings_of_an_earlier_version_are_read_by_their_new_names():
    assert TrainingSettings.parse(OLD_SETTINGS, source="old") == OLD_SETTINGS_TODAY
    assert TrainingSettings.parse(OLD_SETTINGS_TODAY.model_dump(), source="new") == OLD_SETTINGS_TODAY
    first = TrainingSettings.parse({"finetune": {"strategy": "mirrored"}}, source="old")
    assert first == TrainingSettings(devices={"strategy": "mirrored"})
