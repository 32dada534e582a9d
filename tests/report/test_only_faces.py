"""Wherever people read a verdict it says, once and in the same words, what no verdict is about."""

from html import unescape
from pathlib import Path

import pytest

from dfutils.app.answer_page import answer_html
from dfutils.app.service import Answer
from dfutils.cli import main
from dfutils.notebook import verdicts_table
from dfutils.pretrained import DEFAULT, FOLDER
from dfutils.report.verdict_page import verdict_page
from dfutils.report.verdict_words import ONLY_FACES

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(demo_videos, tmp_path_factory):
    """A clip, and a file without a face."""
    text = tmp_path_factory.mktemp("files") / "text.mp4"
    text.write_text("no video")
    return demo_videos[0], text


@pytest.fixture(scope="module")
def examined(detector, files):
    return [detector.examine(file) for file in files]


def test_the_words_name_what_is_left_out_and_what_else_to_try():
    for word in ("sound", "whole picture", "reverse image search", "Content Credentials", "cloned voices"):
        assert word in ONLY_FACES


def test_pages_say_it_once_with_and_without_a_face(detector, files, examined):
    for file, (verdict, extraction) in zip(files, examined, strict=True):
        pages = [
            verdict_page(verdict, extraction, detector, file=file),
            answer_html(Answer(verdict, extraction, 1.0), detector, file=file, people=3),
        ]
        assert [unescape(page).count(ONLY_FACES) for page in pages] == [1, 1]


def test_the_tables_of_the_notebooks_say_it_once(examined):
    table = verdicts_table([verdict for verdict, _ in examined])
    assert unescape(table._repr_html_()).count(ONLY_FACES) == 1


def test_the_command_line_says_it_once_but_not_in_documents_nor_where_no_file_could_be_read(
    demo_run, files, caplog, capsys
):
    command = ["predict", "--model", str(demo_run)]
    for words, times in (([*files], 1), ([*files, "--json-lines"], 0), ([files[1], "nowhere.mp4"], 0)):
        caplog.clear()
        with caplog.at_level("INFO"):
            assert main([*command, *map(str, words)]) == 0
        assert caplog.messages.count(ONLY_FACES) == times
        assert ONLY_FACES not in capsys.readouterr().out


@pytest.mark.parametrize(
    "page", [PROJECT / "README.md", FOLDER / DEFAULT / "MODEL_CARD.md"], ids=lambda page: page.name
)
def test_the_front_page_and_the_model_card_say_it_once(page):
    assert " ".join(page.read_text(encoding="utf-8").split()).count(ONLY_FACES) == 1
