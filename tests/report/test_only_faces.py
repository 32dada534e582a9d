"""Wherever people read a verdict it says, once and in the same words, what no verdict is about."""

from html import unescape
from pathlib import Path

import pytest

from dfutils.app.answer_page import answer_html
from dfutils.app.service import Answer
from dfutils.cli import main
from dfutils.demo.clips import make_demo_video
from dfutils.demo.rendering import DemoSettings
from dfutils.notebook import verdicts_table
from dfutils.prediction.detector import load_detector
from dfutils.pretrained import DEFAULT, FOLDER
from dfutils.report.verdict_page import verdict_page
from dfutils.report.verdict_words import ONLY_FACES

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def detector():
    return load_detector()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    make_demo_video(folder / "clip.mp4", index=0, is_fake=False, settings=DemoSettings(seconds=1))
    (folder / "text.mp4").write_text("no video")
    return folder / "clip.mp4", folder / "text.mp4"


def test_the_words_name_what_is_left_out_and_what_else_to_try():
    for word in ("sound", "whole picture", "reverse image search", "Content Credentials", "cloned voices"):
        assert word in ONLY_FACES


def test_pages_say_it_once_with_and_without_a_face(detector, files):
    for file in files:
        verdict, extraction = detector.examine(file)
        pages = [
            verdict_page(verdict, extraction, detector, file=file),
            answer_html(Answer(verdict, extraction, 1.0), detector, file=file, people=3),
        ]
        assert [unescape(page).count(ONLY_FACES) for page in pages] == [1, 1]


def test_the_command_line_says_it_once_and_not_in_documents(files, caplog, capsys):
    for options, times in (([], 1), (["--json"], 0), (["--json-lines"], 0)):
        caplog.clear()
        with caplog.at_level("INFO"):
            assert main(["predict", *map(str, files), *options]) == 0
        assert caplog.messages.count(ONLY_FACES) == times
        assert ONLY_FACES not in capsys.readouterr().out


def test_nothing_is_said_about_faces_where_no_file_could_be_read(files, tmp_path, caplog):
    with caplog.at_level("INFO"):
        assert main(["predict", str(files[1]), str(tmp_path / "nowhere.mp4")]) == 0
    assert ONLY_FACES not in caplog.messages


def test_the_tables_of_the_notebooks_say_it_once(detector, files):
    verdicts = list(detector.predict_many(files))
    assert unescape(verdicts_table(verdicts)._repr_html_()).count(ONLY_FACES) == 1


@pytest.mark.parametrize(
    "page", [PROJECT / "README.md", FOLDER / DEFAULT / "MODEL_CARD.md"], ids=lambda page: page.name
)
def test_the_front_page_and_the_model_card_say_it_once(page):
    assert " ".join(page.read_text(encoding="utf-8").split()).count(ONLY_FACES) == 1
