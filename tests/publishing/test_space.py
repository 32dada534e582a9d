"""The staged Space is complete, pinned, and thin."""

import re
import zipfile
from pathlib import Path

import pytest

from dfutils.cli import main
from dfutils.errors import PublishError
from dfutils.publishing import space
from dfutils.publishing.space import NEEDED, pinned_requirements, stage_space

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(monkeypatch):
    """The project with a stand-in for its wheel, which is large."""

    def build(_, folder):
        path = folder / "dfutils-0.1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("dfutils/__init__.py", "")
        return path

    monkeypatch.setattr(space, "build_wheel", build)
    return PROJECT


def test_what_is_staged_is_what_a_space_needs(project, tmp_path):
    staged = stage_space(project, tmp_path / "space")
    assert sorted(staged.files) == [
        "README.md",
        "app.py",
        "dfutils-0.1.0-py3-none-any.whl",
        "packages.txt",
        "requirements.txt",
    ]


def test_the_header_names_the_gradio_that_is_pinned(project, tmp_path):
    staged = stage_space(project, tmp_path / "space")
    pinned = re.search(r"^gradio==(.+)$", (staged.folder / "requirements.txt").read_text(), re.MULTILINE)[1]
    header = (staged.folder / "README.md").read_text().split("---")[1]
    assert f"sdk_version: {pinned}\n" in header
    assert "sdk: gradio\n" in header
    assert "app_file: app.py\n" in header


def test_every_requirement_is_pinned():
    lines = pinned_requirements((PROJECT / "constraints.txt").read_text()).splitlines()
    assert len(lines) == len(NEEDED)
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines)


def test_a_missing_pin_is_an_error():
    with pytest.raises(PublishError, match="does not pin"):
        pinned_requirements("av==1\n")


def test_a_folder_with_something_else_is_left_alone(project, tmp_path):
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "letter.txt").write_text("mine")
    with pytest.raises(PublishError, match="something other"):
        stage_space(project, tmp_path / "space")
    assert (tmp_path / "space" / "letter.txt").read_text() == "mine"


def test_an_earlier_staging_is_replaced(project, tmp_path):
    stage_space(project, tmp_path / "space")
    (tmp_path / "space" / "old.whl").write_bytes(b"")
    assert "old.whl" not in stage_space(project, tmp_path / "space").files
    assert not (tmp_path / "space" / "old.whl").exists()


def test_a_space_is_never_sent(project, tmp_path):
    with pytest.raises(SystemExit) as exited:
        main(["publish", "space", str(project), "--staging", str(tmp_path / "space"), "--push"])
    assert exited.value.code == 2
