"""The stub server, and an environment in which the real client and nothing else talks to it."""

import hashlib
import importlib
import json
import shutil
import time
from dataclasses import dataclass

import pytest
from hub_stub import TOKEN, HubStub
from stub import FOREIGN, KEY, KaggleStub

from dfutils.cli import main
from dfutils.publishing import kaggle


@dataclass
class Outcome:
    """What a person would see."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def reason(self):
        """The one line of a failure, after which nothing is on stdout."""
        assert (self.exit_code, self.stdout) == (1, "")
        (line,) = (line for line in self.stderr.splitlines() if line.startswith("dfutils publish: "))
        return line.removeprefix("dfutils publish: ")


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Kaggle's servers, empty, and this process signed in to them; a client in this process waits shortly."""
    home = tmp_path / "home"
    home.mkdir()
    server = KaggleStub()
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(kaggle, "LONGEST_PAUSE_SECONDS", 0.1)
    yield server
    server.close()


@pytest.fixture
def publish(stub, tmp_path, capsys):
    """The command line, in this process; whatever it does, the key is in no output and in no staged file."""

    def call(*arguments):
        staging = tmp_path / "to send"
        code = main(["publish", *map(str, arguments), "--staging", str(staging)])
        outcome = Outcome(code, *capsys.readouterr())
        assert KEY not in outcome.stdout + outcome.stderr
        assert "Traceback" not in outcome.stdout + outcome.stderr
        assert not [path for path in staging.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
        return outcome

    return call


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The Hugging Face Hub, empty, and this process signed in to it, with a cache of its own."""
    client = pytest.importorskip("huggingface_hub")
    constants = importlib.import_module("huggingface_hub.constants")
    server = HubStub()
    # huggingface_hub reads the environment only when it is imported, which another test may have done.
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    pause = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(min(seconds, 0.01)))  # before the client tries again
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("DFUTILS_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    client.close_session()
    server.close()


@pytest.fixture
def run_folder(tmp_path):
    """A run folder with all that is published, and a table that names others' videos; its weights are no network."""
    folder = tmp_path / "run"
    (folder / "export").mkdir(parents=True)
    weights = bytes(range(256)) * 8
    (folder / "model.weights.h5").write_bytes(weights)
    for name in ("export/export.json", "export/backbone.xml", "export/backbone.bin", "familiarity.npz"):
        (folder / name).write_bytes(name.encode())
    (folder / "splits.csv").write_text("video,split\nsomebody.mp4,train\n")
    detector = {"name": "inception_gru", "version": "0.1.0", "model": "inception_gru", "real_up_to": 0.4}
    detector |= {"backbone_weights": "random", "backbone_checksum": "he-normal-0", "fake_from": 0.8}
    detector |= {"extraction": {"frames": 8, "sampling": "uniform"}}
    detector["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (folder / "detector.json").write_text(json.dumps(detector))
    return folder


@pytest.fixture
def faces(demo_faces, tmp_path):
    """A copy of the demo's face dataset that a test may damage."""
    return shutil.copytree(demo_faces, tmp_path / "faces")
