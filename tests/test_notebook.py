"""What the notebooks show, on the handful of clips that the tests share."""

import logging

import pandas as pd
import pytest

from dfutils.demo.examples import make_two_people_video
from dfutils.errors import DfutilsError
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.dataset import read_face_dataset
from dfutils.notebook import (
    NotebookFolders,
    catalogue_table,
    commands_table,
    dataset_table,
    manifest_table,
    plot_faces,
    plot_verdict,
    read_history,
    read_run_predictions,
    settings_table,
    skipped_table,
    splits_table,
    staged_table,
    start_notebook,
    verdicts_table,
)
from dfutils.prediction.detector import load_detector
from dfutils.publishing.staging import stage_dataset
from dfutils.records import Label, Reason, Verdict, Video
from dfutils.settings import ExtractionSettings, TrainingSettings


@pytest.fixture
def dataset(demo_faces):
    return read_face_dataset(demo_faces)


@pytest.fixture
def page(capsys):
    """A notebook that has started; logging and tables are as before afterwards."""
    logger = logging.getLogger("dfutils")
    before = logger.handlers, logger.propagate, logger.level
    with pd.option_context("display.max_colwidth", 50):
        start_notebook()
        yield capsys
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


def titles(figure):
    return [axes.get_title(loc="center") for axes in figure.axes]


def test_a_warning_stands_on_the_page_once_and_progress_does_not(page):
    logger = logging.getLogger("dfutils.extraction")
    for _ in range(2):
        logger.warning("something is odd")
    logger.info("progress")
    assert page.readouterr() == ("something is odd\n", "")


def test_versions_name_the_package(page):
    table = start_notebook()
    assert {"python", "dfutils", "numpy", "keras"} <= set(table.index)


def test_folders_refuse_a_misspelt_name():
    assert NotebookFolders(faces="elsewhere").faces.name == "elsewhere"
    with pytest.raises(DfutilsError, match="face:"):
        NotebookFolders.parse({"face": "elsewhere"}, source="parameters")


def test_every_setting_is_explained():
    for settings in (ExtractionSettings(), TrainingSettings()):
        table = settings_table(settings)
        assert table["meaning"].str.len().min() > 5


def test_a_group_of_settings_is_one_row_until_it_is_changed():
    assert settings_table(TrainingSettings()).loc["split", "value"] == "defaults"
    assert settings_table(TrainingSettings(split={"seed": 3})).loc["split.seed", "value"] == "3"


def test_text_starts_at_the_left(page):
    table = settings_table(ExtractionSettings())
    html = table._repr_html_()
    assert '<tr style="text-align: right;">' not in html
    assert html.count('<td style="text-align: left;">') == table.size
    assert max(table["meaning"], key=len) in html


def test_the_catalogue_is_counted_by_data_set(tmp_path):
    videos = [
        Video(tmp_path / f"{n}.mp4", f"{n}.mp4", is_fake=fake, group=group, dataset=name)
        for n, (name, fake, group) in enumerate(
            [("a", True, "g"), ("a", False, "g"), ("a", True, "h"), ("b", False, "i")]
        )
    ]
    table = catalogue_table(Catalogue(tuple(videos), ()))
    assert table.loc["a"].to_dict() == {"groups": 2, "videos": 3, "REAL": 1, "FAKE": 2}
    assert table.loc["b"].to_dict() == {"groups": 1, "videos": 1, "REAL": 1, "FAKE": 0}


def test_a_split_is_counted_by_side(dataset):
    assignment = {row.video: "test" if row.group == "person_00" else "train" for row in dataset.rows}
    table = splits_table([*dataset.rows, dataset.rows[0]], assignment)  # a second track is no second video
    assert table.loc["test"].to_dict() == {"groups": 1, "videos": 2, "REAL": 1, "FAKE": 1}
    assert table["videos"].to_dict() == {"train": 10, "validation": 0, "test": 2}


def test_a_dataset_says_which_face_detector_was_used(dataset):
    assert "Haar" in dataset_table(dataset).loc["face detector", "value"]
    assert dataset_table(dataset).loc["crops", "value"] == 120
    assert len(manifest_table(dataset, rows=4)) == 4


def test_skipped_videos_are_counted_by_reason(dataset):
    dataset.__dict__["skipped"] = [{"reason": "no_face"}, {"reason": "unreadable"}, {"reason": "no_face"}]
    counts = skipped_table(dataset)["videos"].to_dict()
    assert counts == {"gave a clip": 12, "skipped: no_face": 2, "skipped: unreadable": 1}


def test_faces_are_shown_in_pairs(dataset):
    shown = titles(plot_faces(dataset, pairs=3))
    people = [f"person_{number:02d}" for number in range(3)]
    assert shown == [*(f"REAL {name}" for name in people), *(f"FAKE {name}" for name in people)]


def test_faces_of_one_kind_are_shown_too(dataset):
    reals = tuple(row for row in dataset.rows if not row.is_fake)
    shown = titles(plot_faces(type(dataset)(dataset.folder, reals, dataset.settings, dataset.about), pairs=20))
    assert shown == [f"REAL {row.group}" for row in reals]


def test_a_run_is_read_for_plots(demo_run):
    assert list(read_history(demo_run)) == ["epoch", "loss", "val_loss", "auc", "val_auc"]
    sides = [read_run_predictions(demo_run, split=split) for split in ("train", "validation", "test")]
    assert sum(map(len, sides)) == 12
    groups = [set(side["group"]) for side in sides]
    assert not groups[0] & groups[1] and not groups[1] & groups[2] and not groups[0] & groups[2]
    assert all(row.is_fake == ("fake" in row.video) for side in sides for row in side.itertuples())


def test_verdicts_without_a_score_say_why():
    table = verdicts_table(
        [
            Verdict("a/b.mp4", 0.931, Label.FAKE, Reason.OK),
            Verdict("c.mp4", None, Label.UNDECIDED, Reason.NO_FACE, "no face was found"),
        ]
    )
    assert table.loc["b.mp4"].tolist() == ["FAKE", "0.93", 0, "ok", ""]
    assert table.loc["c.mp4"].tolist() == ["UNDECIDED", "–", 0, "no_face", "no face was found"]


def test_the_crops_of_a_verdict_are_titled_with_their_scores(demo_run, demo_videos):
    verdict, extraction = load_detector(demo_run).examine(demo_videos[0])
    shown = titles(plot_verdict(verdict, extraction))
    expected = [f"{frame.time_seconds:.1f} s: {frame.fake_probability:.2f}" for frame in verdict.tracks[0].frames]
    assert shown == expected


def test_what_is_staged_is_told_with_its_commands(demo_faces, tmp_path):
    staged = stage_dataset(demo_faces, tmp_path / "s", owner="some-one", slug="demo-faces", title="Demo faces")
    assert staged_table(staged).loc["id", "value"] == "some-one/demo-faces"
    assert commands_table(staged)["command"].tolist() == [
        staged.create_command,
        staged.status_command,
        staged.version_command,
    ]


def test_the_clip_of_two_people_is_made_once(tmp_path):
    path = make_two_people_video(tmp_path / "inputs" / "two.mp4")
    made = path.stat().st_mtime_ns
    assert path.stat().st_size > 1000
    assert make_two_people_video(path).stat().st_mtime_ns == made
