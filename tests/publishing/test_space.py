"""The staged Space is complete, pinned and thin, and its check runs it alone and leaves nothing behind."""

import json
import os
import tempfile
import zipfile
from pathlib import Path

import pytest

from dfutils import cli
from dfutils.app.examples import EXAMPLES
from dfutils.errors import PublishError
from dfutils.publishing import space
from dfutils.publishing.space import EVENT, NEEDED, SpaceCheck, check_space, pinned_versions, stage_space

PROJECT = Path(__file__).parents[2]
WHEEL = "dfutils-0.1.0-py3-none-any.whl"
APP = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WORDS = {words!r}
facts = {{
    "process": os.getpid(),
    "prefix": sys.prefix,
    "folder": str(Path(__file__).parent),
    "files": sorted(path.name for path in Path.cwd().iterdir()),
    "environment": dict(os.environ),
    "packages": sorted(path.name for place in sys.path if "site-packages" in place for path in Path(place).iterdir()),
}}
Path({facts!r}).write_text(json.dumps(facts))
Path(os.environ["TMPDIR"], "left over").write_text("")
pages = iter([503])

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/":
            self.say(next(pages, 200), "page")
        elif self.path == "/config":
            self.say(200, json.dumps({{"dependencies": [{{"api_name": {event!r}, "id": 7}}]}}))
        else:
            said = [{{"msg": "process_generating"}}, {{"msg": "process_completed", "output": WORDS}}]
            self.say(200, "".join(f"data: {{json.dumps(one)}}\\n\\n" for one in said))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.say(200 if asked["fn_index"] == 7 else 400, "{{}}")

    def say(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass

ThreadingHTTPServer((os.environ["GRADIO_SERVER_NAME"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def project(monkeypatch):
    """The project with a small file in the place of its wheel."""

    def build(_, folder):
        with zipfile.ZipFile(folder / WHEEL, "w") as archive:
            archive.writestr("dfutils/__init__.py", "")
        return folder / WHEEL

    monkeypatch.setattr(space, "build_wheel", build)
    return PROJECT


def test_a_staged_space_is_complete_and_pinned_and_names_its_gradio(project, tmp_path):
    staging = tmp_path / "space"
    assert list(stage_space(project, staging)) == ["README.md", "app.py", WHEEL, "packages.txt", "requirements.txt"]
    requirements = (staging / "requirements.txt").read_text().splitlines()
    assert [line.split("==")[0] for line in requirements] == list(NEEDED)
    (gradio,) = (line.split("==")[1] for line in requirements if line.startswith("gradio=="))
    header = (staging / "README.md").read_text().split("---")[1]
    for line in (f"sdk_version: {gradio}\n", "sdk: gradio\n", "app_file: app.py\n"):
        assert line in header


def test_a_missing_pin_is_an_error():
    with pytest.raises(PublishError, match="does not pin"):
        pinned_versions("av==1\n")


def test_a_folder_that_is_not_the_project_stages_nothing(tmp_path):
    with pytest.raises(PublishError, match=r"space/app\.py: is missing\. Name the project's folder"):
        stage_space(tmp_path, tmp_path / "staged")
    assert not any(tmp_path.iterdir())


def test_an_earlier_staging_is_replaced_and_anything_else_left_alone(project, tmp_path):
    staging = tmp_path / "space"
    stage_space(project, staging)
    (staging / "old.whl").write_bytes(b"")
    stage_space(project, staging)
    assert not (staging / "old.whl").exists()
    (staging / "README.md").write_text("mine")
    with pytest.raises(PublishError, match="something other"):
        stage_space(project, staging)
    assert (staging / "README.md").read_text() == "mine"


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder for temporary folders, so that what is left of them can be seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Writes a staged Space, whose requirements count as installed unless it has some."""

    def write(app, requirements=""):
        if not requirements:
            monkeypatch.setattr(space, "run_pip", lambda *_, **__: None)
        folder = tmp_path / "staged"
        folder.mkdir()
        (folder / "app.py").write_text(app)
        (folder / "requirements.txt").write_text(requirements)
        return folder

    return write


def app(facts, words="<p class='df-verdict'>"):
    return APP.format(words=words, facts=str(facts), event=EVENT)


def test_the_example_that_is_asked_for_is_on_the_page():
    assert EVENT in {example.name for example in EXAMPLES}


def test_a_space_runs_alone_and_nothing_is_left_of_it(stage, scratch, tmp_path, monkeypatch):
    monkeypatch.setenv("DFUTILS_WEIGHTS", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    staged = stage(app(tmp_path / "facts.json"))
    assert 0 < check_space(staged, start_seconds=30).page_seconds < 30
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["files"] == ["app.py", "requirements.txt"]
    assert facts["packages"] == []
    assert "/elsewhere" not in facts["environment"].values()
    assert Path(facts["folder"]).is_relative_to(scratch)
    assert Path(facts["prefix"]).is_relative_to(scratch)
    assert list(scratch.iterdir()) == []
    assert sorted(path.name for path in staged.iterdir()) == ["app.py", "requirements.txt"]
    with pytest.raises(ProcessLookupError):
        os.kill(facts["process"], 0)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import no_such_package", r"ended before .*exit code 1: ModuleNotFoundError.*no_such_package"),
        ("import time; print('dozing.', flush=True); time.sleep(60)", "no page within 1 s: dozing"),
        (app("facts", words="status: the detector could not be loaded"), "gives no verdict"),
        (app("facts").replace(f"'{EVENT}'", "'other'"), f"no answer .'{EVENT}'"),
    ],
    ids=["crashes", "never answers", "no verdict", "no example"],
)
def test_a_space_that_does_not_work_is_a_failure_with_its_reason(stage, scratch, program, reason):
    with pytest.raises(PublishError, match=reason):
        check_space(stage(program), start_seconds=1 if "dozing" in program else 30)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("is_reachable", "reason"),
    [
        (False, r"staged but not checked: the package index, .*cannot be reached.*--no-check"),
        (True, "pip install: failed .*six==1.17.0"),
    ],
    ids=["no index", "no such requirement"],
)
def test_only_a_missing_index_is_blamed_on_the_network(stage, scratch, monkeypatch, is_reachable, reason):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    if is_reachable:
        monkeypatch.setattr(space, "index_is_reachable", lambda: True)
    with pytest.raises(PublishError, match=reason):
        check_space(stage("", requirements="six==1.17.0"))
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("options", "words"), [([], "Checked in a fresh"), (["--no-check"], "was not checked")])
def test_the_command_checks_what_it_staged_unless_told_not_to(tmp_path, monkeypatch, capsys, options, words):
    checked = []

    def check(folder):
        checked.append(folder)
        return SpaceCheck("3.11.7", 1.0, 2.0, 3.0)

    monkeypatch.setattr(space, "stage_space", lambda *_: {"app.py": 5})
    monkeypatch.setattr(space, "check_space", check)
    assert cli.main(["publish", "space", "--staging", str(tmp_path), *options]) == 0
    assert words in capsys.readouterr().out
    assert checked == ([] if options else [tmp_path])
