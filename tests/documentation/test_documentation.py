"""The code blocks of README.md and docs/ work: they are run as written, in order.

All pages are run in one folder, one after the other, as by a reader who continues where the previous page ended. At
first it holds the inputs that the pages name: `videos/` with `labels.csv` and the sub-folders `real/` and `fake/`,
`folder/` with two clips, `clip.mp4` and `photo.jpg`. No command is known here.
"""

import hashlib
import re
import shutil
from dataclasses import replace
from subprocess import CalledProcessError

import cv2
import keras
import pytest
from code_blocks import MarkerError, read_blocks
from preloaded import script, start_server
from reader import PROJECT, SIZE, Reader, reader_environment, write_command, write_script
from stub import files_of

from dfutils import weights
from dfutils.cli import build_parser
from dfutils.extraction.video import iter_frames
from dfutils.files import read_csv, write_csv
from dfutils.publishing.package import index_is_reachable
from dfutils.settings import ExtractionSettings

FIRST = [
    PROJECT / "README.md",
    *(PROJECT / "docs" / f"{name}.md" for name in ("quickstart", "command-line", "training")),
]
PAGES = [*FIRST, *sorted(set((PROJECT / "docs").rglob("*.md")) - set(FIRST))]

CLIPS = 8
"""Clips of four people: the fewest from which three folds can be made."""


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """Random weights in place of a known file: its name in the table, checksum and folder."""
    name, known = next(one for one in weights.WEIGHT_FILES.items() if one[1].filename.endswith(".weights.h5"))
    path = tmp_path_factory.mktemp("weights") / known.filename
    keras.utils.set_random_seed(0)
    keras.applications.InceptionV3(weights=None, include_top=False, pooling="avg").save_weights(path)
    return name, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}", path.parent


@pytest.fixture(scope="module")
def folder(demo_labels, tmp_path_factory):
    """The folder with the reader's own videos, which the pages presuppose, and the commands that were run in it."""
    folder = tmp_path_factory.mktemp("reader") / "story"
    videos, listed = folder / "videos", []
    for row in read_csv(demo_labels, ("file", "label", "group"))[:CLIPS]:
        clip = videos / row["label"].lower() / row["file"].rsplit("/")[-1]
        clip.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo_labels.parent / row["file"], clip)
        listed.append({**row, "file": clip.relative_to(videos).as_posix(), "dataset": "own"})
    write_csv(videos / "labels.csv", ("file", "label", "group", "dataset"), listed)
    (folder / "folder").mkdir()
    for row in listed[:2]:
        shutil.copy(videos / row["file"], folder / "folder")
    clip = shutil.copy(videos / listed[0]["file"], folder / "clip.mp4")
    cv2.imwrite(str(folder / "photo.jpg"), next(iter_frames(clip)).image()[:, :, ::-1])
    return folder, set()


@pytest.fixture(scope="module")
def commands(backbone, tmp_path_factory):
    """Folder of the reader's ``dfutils``."""
    name, checksum, _ = backbone
    folder = tmp_path_factory.mktemp("reader") / "commands"
    write_command(folder, weights_name=name, checksum=checksum)
    return folder


@pytest.fixture(scope="module")
def preloaded(commands, backbone):
    """Folder of a ``dfutils`` that need not import TensorFlow."""
    folder = commands.parent / "preloaded"
    folder.mkdir()
    write_script(folder / "dfutils", script(folder / "socket"))
    with start_server(folder / "socket", environment=reader_environment(commands, backbone[-1])) as server:
        yield folder
        server.kill()


@pytest.fixture
def reader(folder, commands, backbone, demo_faces, monkeypatch):
    name, checksum, place = backbone
    environment = reader_environment(commands, place)
    # The same for Python blocks, which are run in this process.
    monkeypatch.setitem(weights.WEIGHT_FILES, name, replace(weights.WEIGHT_FILES[name], checksum=checksum))
    monkeypatch.setenv("DFUTILS_WEIGHTS", str(place))
    with monkeypatch.context() as default:
        default.setattr(ExtractionSettings.model_fields["size"], "default", SIZE)
        ExtractionSettings.model_rebuild(force=True)
        output = {f"output/faces/{file}": content for file, content in files_of(demo_faces).items()}
        yield Reader(*folder, environment, output)
    ExtractionSettings.model_rebuild(force=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_blocks_of_a_page_work(page, reader, preloaded):
    if page.name != "README.md":  # whose commands are processes of their own, as at a reader's terminal
        reader.preloaded = preloaded
    for block in read_blocks(page):
        try:
            reader.follow(block)
        except AssertionError:
            if block.needs == "account" and not index_is_reachable():
                pytest.skip(f"{block.place}: the package index cannot be reached, and pip builds the wheel with it")
            raise


def sub_commands(parser):
    """Return the parsers of a command's sub-commands, by name."""
    if hasattr(parser, "complete"):
        parser.complete()
    return next((action.choices for action in parser._actions if action.dest in ("command", "kind")), {})


def known_options(parser):
    """Return the options of a command and of its sub-commands."""
    return set().union(*(known_options(one) for one in sub_commands(parser).values())) | {
        *parser._option_string_actions
    }


@pytest.mark.parametrize("page", [*PAGES, PROJECT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_commands_and_options_inside_a_sentence_exist(page):
    known = {name: known_options(parser) for name, parser in sub_commands(build_parser()).items()}
    text = re.sub(r"^(```).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`]+)`", text):
        first, *others = code.split()
        options = set(re.findall(r"(?<!\S)--[a-z-]+", code))
        if first.startswith("--"):
            assert options <= set.union(*known.values()), code
        elif first == "dfutils" and others and not others[0].startswith("-") and others[0] != "COMMAND":
            assert others[0] in known, code
            assert options <= known[others[0]], code


def page_of(tmp_path, *lines):
    page = tmp_path / "page.md"
    page.write_text("\n".join(lines))
    return page


@pytest.mark.parametrize(
    "lines",
    [
        ["```", "dfutils", "```"],
        ["```fish", "dfutils", "```"],
        ["```sh needs=luck", "dfutils", "```"],
        ["```sh needs=account needs=cluster", "dfutils", "```"],
        ["```python needs=account", "1", "```"],
        ["```sh", "dfutils"],
    ],
    ids=["no language", "unknown language", "unknown marker", "two markers", "marked Python", "no end"],
)
def test_a_block_that_is_neither_run_nor_marked_is_an_error(tmp_path, lines):
    with pytest.raises(MarkerError, match=r"page\.md:2: "):
        read_blocks(page_of(tmp_path, "Text.", *lines))


def test_blocks_are_read_in_order_with_their_markers_and_without_the_indentation_of_a_list(tmp_path):
    lines = [
        "1. First",
        "",
        "   ```sh",
        "   a",
        "     b",
        "   ```",
        "````sh needs=install",
        "```",
        "````",
        "```text",
        "```",
    ]
    blocks = read_blocks(page_of(tmp_path, *lines))
    assert [(block.place, block.language, block.needs, block.text) for block in blocks] == [
        ("page.md:3", "sh", "", "a\n  b"),
        ("page.md:7", "sh", "install", "```"),
        ("page.md:10", "text", "", ""),
    ]


BROKEN = {
    "exit code": ["```sh", "dfutils merge no-such-folder --out faces", "```"],
    "first of two": ["```sh", "false", "true", "```"],
    "promised file": ["```sh", "true --out never-written", "```"],
    "Python": ["```python", "assert 1 == 2", "```"],
    "target": ["```sh needs=install", "make no-such-target", "```"],
    "extra": ["```sh needs=install", "pip install '.[no-such-extra]'", "```"],
    "requirements": ["```sh needs=install", "pip install -r no-such-file.txt", "```"],
    "server": ["```sh needs=browser", "dfutils app --no-such-option", "```"],
    "account": ["```sh needs=account", "dfutils publish dataset no-such-folder --push", "```"],
}


@pytest.mark.parametrize("lines", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("is_preloaded", [False, True])
def test_a_code_block_that_does_not_work_fails(tmp_path, reader, preloaded, lines, is_preloaded):
    reader.preloaded = preloaded if is_preloaded else None
    (block,) = read_blocks(page_of(tmp_path, *lines))
    with pytest.raises((AssertionError, CalledProcessError)):
        reader.follow(block)


def test_a_named_scheduler_is_replaced_by_a_local_one(tmp_path, reader):
    pytest.importorskip("distributed")
    command = "dfutils extract videos/ --out few-faces --scheduler tcp://scheduler:8786 --frames 2 --size 75"
    (block,) = read_blocks(page_of(tmp_path, "```sh needs=cluster", command, "```"))
    reader.follow(block)
