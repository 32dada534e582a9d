"""The Containerfile installs what pyproject.toml names, and nothing runs as root; check_containerfile.py follows it."""

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from containerfile import last, read_containerfile

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def instructions():
    return read_containerfile(PROJECT / "Containerfile")


def test_a_container_runs_dfutils_as_an_unprivileged_user_that_writes_to_tmp_only(instructions):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(instructions, "USER").text)
    assert last(instructions, "ENTRYPOINT").words == ["dfutils"]
    environment = dict(word.split("=", 1) for one in instructions if one.name == "ENV" for word in one.words)
    assert environment["HOME"] == "/tmp"
    assert environment["DFUTILS_CACHE"].startswith("/tmp/")
    assert environment["DFUTILS_OFFLINE"] == "1"


def test_the_image_has_a_python_that_the_package_supports(instructions):
    version = re.search(r"python:(\d+\.\d+)-slim$", last(instructions, "FROM").text)[1]
    classifiers = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert f"Programming Language :: Python :: {version}" in classifiers


def test_every_file_that_is_copied_exists_and_is_sent_to_the_builder(instructions):
    sources = [source for one in instructions if one.name == "COPY" for source in one.words[:-1]]
    rules = (PROJECT / ".dockerignore").read_text().split()
    assert rules[0] == "*"
    sent = [rule[1:] for rule in rules if rule.startswith("!")]
    assert sorted(sources) == sorted(sent)
    assert all((PROJECT / source).exists() for source in sources)
    assert not any(fnmatch.fnmatch(source, rule) for source in sources for rule in rules[1:] if rule[0] != "!")


def test_the_packages_are_those_of_the_project_with_an_opencv_without_windows(instructions, tmp_path):
    install = next(one.text for one in instructions if one.name == "RUN")
    prepare, _, _ = install.partition("&& pip install")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "python").symlink_to(sys.executable)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", prepare.removesuffix("&& ")], cwd=tmp_path, env=environment, check=True)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    needed = (tmp_path / "needed.txt").read_text().split()
    expected = [*project["dependencies"], *project["optional-dependencies"]["predict"]]
    assert [one.replace("-headless", "") for one in needed] == expected
    assert sum("opencv-python-headless>=" in one for one in needed) == 1
    pins, before = (
        (folder / name).read_text() for folder, name in ((tmp_path, "pins.txt"), (PROJECT, "constraints.txt"))
    )
    assert pins.replace("-headless", "") == before
    assert "\nopencv-python-headless==" in pins


def test_an_instruction_that_cannot_be_followed_is_refused(tmp_path):
    path = tmp_path / "Containerfile"
    path.write_text("# a comment\nFROM a\nRUN b \\\n    # between\n    c\n")
    assert [(one.name, one.text) for one in read_containerfile(path)] == [("FROM", "a"), ("RUN", "b c")]
    path.write_text("FROM a\nADD https://example.org/x /\n")
    with pytest.raises(ValueError, match="ADD is not followed"):
        read_containerfile(path)
