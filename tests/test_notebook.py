"""Tables and figures of the notebooks, on the few clips that the tests share."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfutils import notebook
from dfutils.demo.examples import make_faceless_video, make_two_people_video
from dfutils.errors import DfutilsError
from dfutils.evaluation.predictions import write_predictions
from dfutils.extraction.catalogue import Catalogue
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.isolation import extract_clips_safely
from dfutils.files import read_json
from dfutils.notebook.data_tables import NOTEBOOK
from dfutils.prediction.detector import load_detector
from dfutils.publishing.staging import stage_dataset
from dfutils.records import Box, FrameScore, Label, Reason, TrackScore, Verdict, Video
from dfutils.settings import ExtractionSettings, TrainingSettings


@pytest.fixture
def dataset(demo_faces):
    return read_face_dataset(demo_faces)


@pytest.fixture(scope="module")
def detector(demo_run):
    return load_detector(demo_run)


@pytest.fixture(scope="module")
def examined(detector, demo_videos):
    """A verdict, and the crops it is about."""
    return detector.examine(demo_videos[0])


def catalogue_of(*rows):
    """A catalogue of videos, each given as its data set, group and label."""
    return Catalogue(
        tuple(
            Video(Path(f"{n}.mp4"), f"{n}.mp4", is_fake=is_fake, group=group, dataset=dataset)
            for n, (dataset, group, is_fake) in enumerate(rows)
        ),
        (),
    )


@pytest.fixture
def page(capsys):
    """A started notebook; logging and pandas options are restored afterwards."""
    logger = logging.getLogger("dfutils")
    before = logger.handlers, logger.propagate, logger.level
    with pd.option_context("display.max_colwidth", 50):
        notebook.start_notebook()
        yield capsys
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


def titles(figure):
    return [axes.get_title(loc="center") for axes in figure.axes]


def test_versions_and_warnings_are_shown_once_and_progress_is_not(page):
    assert {"python", "dfutils", "numpy", "keras"} <= set(notebook.start_notebook().index)
    logger = logging.getLogger("dfutils.extraction")
    for _ in range(2):
        logger.warning("something is odd")
    logger.info("progress")
    assert page.readouterr() == ("something is odd\n", "")


@pytest.mark.parametrize(("value", "is_shown"), [("0", False), ("1", True)])
def test_long_epochs_are_shown_unless_the_output_is_to_be_compared(page, monkeypatch, value, is_shown):
    progress = logging.getLogger("dfutils.training.progress")
    monkeypatch.setattr(progress, "level", logging.NOTSET)
    monkeypatch.setenv("DFUTILS_PROGRESS", value)
    notebook.start_notebook()
    progress.info("epoch 1 of 40")
    assert ("epoch 1" in page.readouterr().out) is is_shown


def test_folders_refuse_a_misspelt_name():
    assert notebook.NotebookFolders(faces="elsewhere").faces.name == "elsewhere"
    with pytest.raises(DfutilsError, match="face:"):
        notebook.NotebookFolders.parse({"face": "elsewhere"}, source="parameters")


def test_every_setting_is_explained_and_a_group_of_them_is_one_row_until_it_is_changed():
    for settings in (ExtractionSettings(), TrainingSettings()):
        assert notebook.settings_table(settings)["meaning"].str.len().min() > 5
    assert notebook.settings_table(TrainingSettings()).loc["split", "value"] == "defaults"
    assert notebook.settings_table(TrainingSettings(split={"seed": 3})).loc["split.seed", "value"] == "3"


def test_the_catalogue_is_counted_by_data_set():
    table = notebook.catalogue_table(
        catalogue_of(("a", "g", True), ("a", "g", False), ("a", "h", True), ("b", "i", False))
    )
    assert table.loc["a"].to_dict() == {"groups": 2, "videos": 3, "REAL": 1, "FAKE": 2}
    assert table.loc["b"].to_dict() == {"groups": 1, "videos": 1, "REAL": 1, "FAKE": 0}


def test_videos_are_counted_by_split(dataset):
    assignment = {row.video: "test" if row.group == "person_00" else "train" for row in dataset.rows}
    table = notebook.splits_table([*dataset.rows, dataset.rows[0]], assignment)  # a second track is not a second video
    assert table.loc["test"].to_dict() == {"groups": 1, "videos": 2, "REAL": 1, "FAKE": 1}
    assert table["videos"].to_dict() == {"train": 10, "validation": 0, "test": 2}


def test_skipped_videos_are_counted_by_reason_and_listed_without_their_folder(dataset):
    reasons = {"a": "no_face", "b": "unreadable", "c": "no_face"}
    dataset.__dict__["skipped"] = [
        {"video": f"v/{name}.mp4", "reason": reason, "detail": f"/some/where/v/{name}.mp4: {reason}: none."}
        for name, reason in reasons.items()
    ]
    counts = notebook.skipped_table(dataset)["videos"].to_dict()
    assert counts == {"gave a clip": 12, "skipped: no_face": 2, "skipped: unreadable": 1}
    assert notebook.skipped_rows_table(dataset).loc["v/a.mp4"].tolist() == ["no_face", "no_face: none."]


def test_faces_are_shown_in_pairs_or_of_the_one_label_that_is_there(dataset):
    people = [f"person_{number:02d}" for number in range(3)]
    pairs = [*(f"REAL {name}" for name in people), *(f"FAKE {name}" for name in people)]
    assert titles(notebook.plot_faces(dataset, pairs=3)) == pairs
    reals = tuple(row for row in dataset.rows if not row.is_fake)
    shown = titles(notebook.plot_faces(type(dataset)(dataset.folder, reals, dataset.settings, dataset.about), pairs=20))
    assert shown == [f"REAL {row.group}" for row in reals]


def test_a_run_is_read_for_plots(demo_run):
    assert list(notebook.read_history(demo_run)) == ["epoch", "loss", "val_loss", "auc", "val_auc"]
    splits = [notebook.read_run_predictions(demo_run, split=split) for split in ("train", "validation", "test")]
    assert sum(map(len, splits)) == 12
    groups = [set(split["group"]) for split in splits]
    assert not groups[0] & groups[1] and not groups[1] & groups[2] and not groups[0] & groups[2]
    assert all(row.is_fake == ("fake" in row.video) for split in splits for row in split.itertuples())


def test_verdicts_without_a_score_say_why():
    table = notebook.verdicts_table(
        [
            Verdict("a/b.mp4", 0.931, Label.FAKE, Reason.OK),
            Verdict("c.mp4", None, Label.UNDECIDED, Reason.NO_FACE, "no face was found"),
        ]
    )
    assert table.loc["b.mp4"].tolist() == ["FAKE", "0.93", 0, "ok", ""]
    assert table.loc["c.mp4"].tolist() == ["UNDECIDED", "–", 0, "no_face", "no face was found"]


def test_crops_of_a_verdict_are_titled_with_their_scores(examined):
    frames = examined[0].tracks[0].frames
    shown = titles(notebook.plot_verdict(*examined))
    assert shown == [f"{frame.time_seconds:.1f} s: {frame.fake_probability:.2f}" for frame in frames]


def test_heat_maps_are_drawn_over_the_crops_of_the_verdict(detector, examined):
    verdict, extraction = examined
    figure = notebook.plot_heat_maps(detector, verdict, extraction)
    assert titles(figure) == [f"{frame.time_seconds:.1f} s" for frame in verdict.tracks[0].frames]
    drawn = [panel.images[0].get_array() for panel in figure.axes if panel.images]
    assert all(not np.array_equal(one, crop) for one, crop in zip(drawn, extraction.clips[0].images, strict=True))


def test_the_staged_dataset_is_shown_with_its_commands(demo_faces, tmp_path):
    staged = stage_dataset(demo_faces, tmp_path / "s", owner="some-one", slug="demo-faces", title="Demo faces")
    assert notebook.staged_table(staged).loc["id", "value"] == "some-one/demo-faces"
    commands = notebook.commands_table(staged)["command"].tolist()
    assert commands[0] == "kaggle kernels output some-one/deepfakes-2-publish-the-face-dataset -p ."
    assert commands[1:] == [command for _, command in staged.shell_commands()]
    contents = notebook.contents_table(staged)
    assert contents["files"].to_dict() == {
        "crops of REAL clips": 60, "crops of FAKE clips": 60, "tables and settings": 4
    }  # fmt: skip
    assert notebook.card_text(staged).text == staged.metadata["description"]


def test_the_slug_of_the_staging_notebook_is_the_committed_one():
    folder = Path(__file__).parents[1] / "kaggle-metadata" / "notebooks" / "02-publish-dataset"
    assert read_json(folder / "kernel-metadata.json")["id"].endswith(f"/{NOTEBOOK}")


def test_balancing_by_groups_keeps_one_pair_per_group_and_none_without_both_labels():
    rows = [("a", False), ("a", True), ("a", True), ("b", True), ("c", False), ("c", True)]
    table = notebook.balance_table(catalogue_of(*(("d", group, is_fake) for group, is_fake in rows)))
    assert table["videos"].tolist() == [6, 5, 4]
    assert table["groups"].tolist() == [3, 2, 2]
    assert table["REAL"].tolist() == [2, 2, 2]
    assert table["FAKE"].tolist() == [4, 3, 2]
    assert notebook.balance_table(catalogue_of(("d", "a", False), ("d", "b", True)))["videos"].tolist() == [2, 0, 0]


def test_media_facts_of_real_and_fake_are_compared(dataset):
    table = notebook.media_table(dataset)
    assert list(table) == ["REAL", "FAKE"]
    assert table.loc["videos"].tolist() == [6, 6]
    assert table.loc["duration in seconds"].tolist() == ["2.0", "2.0"]
    longer = replace(dataset.rows[0], duration_seconds=7.5, size_bytes=75_000)
    others = [replace(row, size_bytes=30_000) for row in dataset.rows[1:]]
    mixed = notebook.media_table(type(dataset)(dataset.folder, (longer, *others), dataset.settings, {}))
    assert sorted(mixed.loc["duration in seconds"]) == ["2.0", "2.0 to 7.5"]
    assert sorted(mixed.loc["kilobits per second"]) == ["120", "80 to 120"]


def test_devices_of_a_training_are_shown():
    table = notebook.devices_table(TrainingSettings(devices={"strategy": "mirrored", "cross_device": "reduce_to_one"}))
    assert table.loc[["strategy", "cross_device"], "value"].tolist() == ["mirrored", "reduce_to_one"]


SCORES = pd.DataFrame(
    {
        "video": list("abcdef"),
        "dataset": "d",
        "group": list("abcdef"),
        "is_fake": [True, True, True, False, False, True],
        "fake_probability": [0.9, 0.6, 0.2, 0.65, 0.1, None],
    }
)


def test_the_outcomes_of_thresholds_are_counted():
    table = notebook.thresholds_table(SCORES, {"low": 0.15, "half": 0.5, "high": 0.7})
    assert table["fakes found"].tolist() == ["3 of 3", "2 of 3", "1 of 3"]
    assert table["false positives"].tolist() == ["1 of 2", "1 of 2", "0 of 2"]
    assert table["balanced accuracy"].tolist() == ["75%", "58%", "67%"]


def test_mistakes_are_shown_with_their_score_or_their_absence_is_stated(dataset, tmp_path):
    rows = {row.video: row for row in dataset.rows}.values()
    table = pd.DataFrame(
        {"video": row.video, "dataset": "demo", "group": row.group, "is_fake": row.is_fake} for row in rows
    )
    predictions = tmp_path / "predictions.csv"
    write_predictions(predictions, table.assign(fake_probability=table["is_fake"].map({True: 0.1, False: 0.2})))
    assert titles(notebook.show_mistakes(tmp_path, dataset, threshold=0.5, count=2)) == ["FAKE given 0.10"] * 2
    write_predictions(predictions, table.assign(fake_probability=table["is_fake"].astype(float)))
    assert "No video was classified wrongly" in notebook.show_mistakes(tmp_path, dataset, threshold=0.5).text


TWO = Verdict(
    "two.mp4", 0.8, Label.FAKE, Reason.OK,
    tracks=(
        TrackScore(0.8, (FrameScore(0.5, Box(0, 0, 1, 1), 0.7), FrameScore(1.0, Box(0, 0, 1, 1), 0.9))),
        TrackScore(0.2, (FrameScore(0.5, Box(0, 0, 1, 1), None),)),
    ),
)  # fmt: skip


def test_a_timeline_has_one_curve_per_person_of_frame_or_clip_scores():
    (axes,) = notebook.plot_timeline(TWO, answer_range=(0.4, 0.7)).axes
    first, second, *thresholds = axes.get_lines()
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([0.5, 1.0], [0.7, 0.9])
    assert list(second.get_ydata()) == [0.2]
    assert {height for line in thresholds for height in line.get_ydata()} == {0.4, 0.7}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["person 1: 0.80", "person 2: 0.20"]


def test_without_a_face_every_figure_is_replaced_by_the_reason(detector, tmp_path):
    verdict, extraction = detector.examine(make_faceless_video(tmp_path / "room.mp4"))
    shown = [
        notebook.plot_timeline(verdict, answer_range=(0.4, 0.7)),
        notebook.plot_verdict(verdict, extraction),
        notebook.plot_heat_maps(detector, verdict, extraction),
    ]
    said = "> UNDECIDED (no_face): no face was found in any frame inspected. Nothing can be said about this file."
    assert [note.text for note in shown] == [said] * 3


def test_the_face_step_draws_face_and_crop_in_place(demo_videos):
    clip = extract_clips_safely(demo_videos[0], ExtractionSettings(size=96)).clips[0]
    figure = notebook.plot_face_step(demo_videos[0], clip, frames=2)
    assert titles(figure) == [f"{clip.crops[place].time_seconds:.1f} s" for place in (0, -1)]
    square, face = figure.axes[0].patches
    assert (square.get_x(), square.get_width()) == (clip.crops[0].square.left, clip.crops[0].square.width)
    assert (face.get_x(), face.get_width()) == (clip.crops[0].face.box.left, clip.crops[0].face.box.width)


def test_the_clip_of_two_people_is_made_once(tmp_path):
    path = make_two_people_video(tmp_path / "inputs" / "two.mp4")
    made = path.stat().st_mtime_ns
    assert path.stat().st_size > 1000
    assert make_two_people_video(path).stat().st_mtime_ns == made
