"""A detector of the Hugging Face Hub is downloaded by the real client, checked, and found in its cache later."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_stub import OWNER
from stub import CUT, files_of

from dfutils.cli import main
from dfutils.errors import DfutilsError, RunError
from dfutils.pretrained import resolve_detector
from dfutils.pretrained.hub import HubAddress

NAME = f"{OWNER}/detector"
ADDRESS = f"hf://{NAME}"
PUBLISHED = {
    *("detector.json", "model.weights.h5", "familiarity.npz"),
    *("export/export.json", "export/backbone.xml", "export/backbone.bin"),
}


@pytest.fixture
def published(hub, run_folder):
    """A detector with tag v1 on the Hub, beside files that nobody should download."""
    surplus = {"code.py": b"raise SystemExit", "model.pkl": b"cos\n", "README.md": b"", "export/other.bin": b"1"}
    hub.hold(NAME, {**files_of(run_folder, but=["splits.csv"]), **surplus})
    hub.models[NAME].tags["v1"] = hub.models[NAME].resolve("main")
    return hub


@pytest.mark.parametrize("revision", ["", "@main", "@v1", "@commit"])
def test_the_files_of_a_detector_and_no_others_are_downloaded(published, run_folder, revision):
    commit = published.models[NAME].resolve("main")
    folder = resolve_detector(ADDRESS + revision.replace("@commit", f"@{commit}"))
    assert files_of(folder) == files_of(run_folder, but=["splits.csv"])
    assert set(files_of(folder)) == PUBLISHED
    assert published.files_asked_for() == PUBLISHED
    assert folder.name == commit
    assert resolve_detector(Path(ADDRESS)) == folder


def test_a_new_commit_is_fetched_and_an_old_revision_stays(published, run_folder):
    first = resolve_detector(ADDRESS)
    published.hold(NAME, {**files_of(run_folder, but=["splits.csv"]), "LICENSE": b"new terms"})
    assert (resolve_detector(ADDRESS) / "LICENSE").read_bytes() == b"new terms"
    assert resolve_detector(f"{ADDRESS}@v1") == first
    assert not (first / "LICENSE").exists()


def test_without_a_network_the_cache_is_used_or_its_lack_is_said(published, monkeypatch):
    from huggingface_hub import constants

    folder = resolve_detector(ADDRESS)
    published.asked.clear()
    with monkeypatch.context() as offline:
        offline.setenv("DFUTILS_OFFLINE", "1")
        assert resolve_detector(ADDRESS) == folder
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        assert resolve_detector(ADDRESS) == folder
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    assert resolve_detector(ADDRESS) == folder
    assert published.asked == []
    with pytest.raises(RunError, match=r"is not complete in the cache \(.*\), and the Hub cannot be reached"):
        resolve_detector("hf://some-one/other")


def test_a_private_model_needs_the_token(published, monkeypatch):
    published.models[NAME].private = True
    assert resolve_detector(ADDRESS).is_dir()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RunError, match=r"other: there is no such model on the Hub, or it is private\. .*hf auth login"):
        resolve_detector("hf://some-one/other")


def test_a_gated_model_says_how_to_get_access(published):
    published.fail("info", (403, {"code": "GatedRepo"}))
    with pytest.raises(RunError, match=r"detector: is only for people with access\. Ask for it on its page"):
        resolve_detector(ADDRESS)


def make_ensemble(run):
    detector = json.loads((run / "detector.json").read_text())
    (run / "detector.json").write_text(json.dumps({**detector, "members": [{"folder": "fold-0", "sha256": "0"}]}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "model.weights.h5").unlink(), r"weights\.h5 is not the file that detector\.json names"),
        (lambda run: (run / "detector.json").write_text("{}"), r"detector\.json: name: Field required"),
        (make_ensemble, "is an ensemble, which cannot be loaded"),
    ],
    ids=["no weights", "no record", "ensemble"],
)
def test_what_is_no_intact_detector_is_named(hub, run_folder, damage, reason):
    damage(run_folder)
    hub.hold(NAME, files_of(run_folder))
    with pytest.raises(DfutilsError, match=reason):
        resolve_detector(ADDRESS)


def test_the_weights_of_another_model_are_not_downloaded(hub):
    hub.hold(NAME, {"model.weights.h5": bytes(1000), "config.json": b"{}"})
    with pytest.raises(RunError, match=r"is not a detector of dfutils \(no detector\.json there\)"):
        resolve_detector(ADDRESS)
    assert hub.files_asked_for() == set()


def test_a_copy_that_was_damaged_on_the_disk_is_refused_with_its_folder(published):
    folder = resolve_detector(ADDRESS)
    (folder / "model.weights.h5").resolve().write_bytes(b"damaged")
    with pytest.raises(RunError, match=f"The repository or its copy is damaged: delete {folder.parents[1]} and repeat"):
        resolve_detector(ADDRESS)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (f"{ADDRESS}@v9", r"has no such revision\. Name a branch, tag or commit"),
        ("hf://detector", "is not of the form hf://OWNER/NAME"),
        ("hf://a/b/c", "is not of the form hf://OWNER/NAME"),
        ("hf://a/b@", "is not of the form hf://OWNER/NAME"),
        ("hf://some-one/..", "is no name of a model on the Hub"),
    ],
    ids=str,
)
def test_a_wrong_address_is_named(published, address, reason):
    with pytest.raises(RunError, match=f"^{address}: .*{reason}"):
        resolve_detector(address)


def test_a_download_that_breaks_off_is_a_failure_in_one_line_and_repeated(published):
    published.fail("stored", *[CUT] * 30)
    with pytest.raises(RunError, match=r"(could not be fetched|is not complete in the cache)"):
        resolve_detector(ADDRESS)
    published.answers.clear()
    assert set(files_of(resolve_detector(ADDRESS))) == PUBLISHED


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RunError, match=r"needs huggingface_hub, which is not installed\. .*'\.\[hub\]'"):
        resolve_detector(ADDRESS)


def test_an_export_for_openvino_cannot_be_added_to_a_model_of_the_hub():
    with pytest.raises(SystemExit, match="2"):
        main(["export", ADDRESS, "faces"])


def test_the_endpoint_and_the_cache_are_those_of_the_environment(published, tmp_path):
    """In a process of its own, since huggingface_hub reads the environment when it is imported."""
    program = f"from dfutils.pretrained import resolve_detector; print(resolve_detector({ADDRESS!r}))"
    own = {"HF_ENDPOINT": published.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | own
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))

    def folder(**more):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment | more, capture_output=True, text=True, check=True)
        assert done.stderr == "", "bars are shown on a terminal only"
        return Path(done.stdout.strip())

    first = folder()
    assert first.is_relative_to(tmp_path / "home" / "hub")
    published.asked.clear()
    assert folder(HF_HUB_OFFLINE="1") == first
    assert published.asked == []
    command = [sys.executable, "-m", "dfutils", "predict", "clip.mp4", "--model", "hf://some-one/none"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert line.startswith("dfutils predict: hf://some-one/none: there is no such model on the Hub")


def test_addresses_are_read_and_written():
    assert HubAddress.parse("hf://a/b@feature/x") == HubAddress("a/b", "feature/x")
    assert str(HubAddress.parse("hf://a/b@c")) == "hf://a/b@c"
