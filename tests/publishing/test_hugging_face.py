"""A detector sent to a stub of the Hugging Face Hub by the real client, and its card."""

import json
import re
import sys

import numpy as np
import pytest
import yaml
from hub_stub import OWNER, TOKEN
from stub import CUT, files_of

from dfutils.cli import main
from dfutils.files import read_json
from dfutils.prediction.detector import load_detector
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.publishing import hugging_face

NAME = f"{OWNER}/inception-gru"
PUBLIC = ["--public", "--i-have-the-rights"]
SENT = {
    *("README.md", "detector.json", "model.weights.h5", "familiarity.npz"),
    *("export/export.json", "export/backbone.xml", "export/backbone.bin"),
}


@pytest.fixture
def publish(hub, tmp_path, capsys):
    """The command line; whatever it does, the token is in no output and in no staged file."""

    def call(*arguments, code=0):
        to = ["--to", "huggingface", "--staging", str(tmp_path / "to send")]
        assert main(["publish", "model", *map(str, arguments), *to]) == code
        out, err = capsys.readouterr()
        assert TOKEN not in out + err
        assert "Traceback" not in err
        if code:
            (reason,) = (line for line in err.splitlines() if line.startswith("dfutils publish: "))
            return reason.removeprefix("dfutils publish: ")
        return out

    return call


def metadata_of(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_new_model_arrives_byte_by_byte_and_private_and_without_other_peoples_names(publish, hub, run_folder):
    said = publish(run_folder, "--push", "--version-notes", "first")
    model = hub.models[NAME]
    (_, commit) = model.commits
    assert model.private
    assert model.messages == ["initial commit", "first"]
    files = model.commits[commit]
    assert set(files) == {".gitattributes", *SENT}
    assert {name: files[name] for name in SENT - {"README.md"}} == files_of(run_folder, but=["splits.csv"])
    assert f"hf://{NAME}@{commit}: 7 files of " in said
    assert f"{NAME}: was created, private" in said


def test_without_push_nothing_is_asked_and_nothing_is_sent(publish, hub, run_folder, tmp_path):
    said = publish(run_folder, "--owner", "given-owner", "--title", "My detector")
    assert said.splitlines()[0].startswith("given-owner/my-detector: 7 files, 0.0 MB staged in ")
    assert said.splitlines()[-1] == "Nothing was sent. Add --push to send it."
    assert set(files_of(tmp_path / "to send")) == {*SENT, "hub-metadata.json"}
    document = json.loads(publish(run_folder, "--owner", "given-owner", "--json", "--title", "My detector"))
    assert (document["pushed"], document["files"]) == (False, 7)
    assert hub.asked == []


def test_the_card_has_what_the_hub_reads_and_the_client_accepts(publish, run_folder, tmp_path):
    from huggingface_hub import ModelCard

    rows = [f"c,v{number},test,{flag},0.5,{score}" for number, (flag, score) in enumerate(SCORES)]
    header = "clip_id,video,split,is_fake,raw_probability,fake_probability"
    (run_folder / "predictions.csv").write_text("\n".join([header, *rows, "c,v9,train,true,0.5,0.0"]))
    publish(run_folder, "--owner", OWNER, "--licence", "CC-BY-NC-4.0", "--i-have-the-rights")
    card = (tmp_path / "to send" / "README.md").read_text()
    metadata = metadata_of(card)
    assert metadata["license"] == "cc-by-nc-4.0"
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("dfutils", "video-classification")
    assert {"deepfake-detection", "inception_gru"} <= set(metadata["tags"])
    (result,) = ModelCard(card).data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("roc_auc", 0.75, "test split")
    assert f'load_detector("hf://{NAME}")' in card
    assert "REAL up to a probability of 0.400, FAKE from 0.800 on" in card
    assert "| test split | 0.75 |" in card


SCORES = [("true", 0.9), ("true", 0.4), ("false", 0.5), ("false", 0.1)]


def test_the_included_detector_is_sent_with_its_terms_and_loaded_again_from_the_hub(publish, hub, tmp_path):
    shipped = resolve_detector(DEFAULT)
    publish(shipped, "--push", *PUBLIC)
    model = hub.models[f"{OWNER}/{DEFAULT}"]
    files = model.commits[model.resolve("main")]
    metadata = metadata_of(files["README.md"].decode())
    assert not model.private
    assert (metadata["license"], metadata["license_link"]) == ("other", "LICENSE")
    values = [one["metrics"][0]["value"] for one in metadata["model-index"][0]["results"]]
    figures = read_json(shipped / "metrics.json")["figures"]
    assert values == [pytest.approx(one["value"], abs=0.005) for key, one in figures.items() if key.endswith("_auc")]
    assert (shipped / "LICENSE").read_text().strip() in files["README.md"].decode()
    there, here = load_detector(f"hf://{OWNER}/{DEFAULT}"), load_detector(DEFAULT)
    assert (there.about, there.engine) == (here.about, here.engine)
    assert there.members[0].export_key == here.members[0].export_key
    assert (there.folder / "metrics.json").read_bytes() == (shipped / "metrics.json").read_bytes()
    clips = np.random.default_rng(0).integers(0, 256, (1, 1, 224, 224, 3), dtype=np.uint8)
    assert there.score_clips(clips) == here.score_clips(clips)


def test_a_new_version_leaves_other_files_alone_and_deletes_the_detectors_only_if_that_is_intended(
    publish, hub, run_folder
):
    hub.hold(NAME, {"picture.png": b"mine", "README.md": b"old", "detector.json": b"{}"}, private=True)
    publish(run_folder, "--push")
    model = hub.models[NAME]
    files = model.commits[model.resolve("main")]
    assert files["picture.png"] == b"mine"
    assert set(files) == {"picture.png", *SENT}
    assert "create" not in hub.kinds()

    (run_folder / "familiarity.npz").unlink()
    assert "would lack 1 of 7 files (familiarity.npz). Nothing was sent." in publish(run_folder, "--push", code=1)
    assert len(model.commits) == 2
    publish(run_folder, "--push", "--fewer-files")
    assert set(model.commits[model.resolve("main")]) == {"picture.png", *SENT} - {"familiarity.npz"}


@pytest.mark.parametrize(
    ("is_private", "arguments", "reason"),
    [
        (False, [], "is public on the Hub, .* or add --public"),
        (True, PUBLIC, "is private on .*, or leave --public out"),
    ],
    ids=["public there", "private there"],
)
def test_another_visibility_is_refused(*, publish, hub, run_folder, is_private, arguments, reason):
    hub.hold(NAME, {"README.md": b"old"}, private=is_private)
    assert re.search(reason, publish(run_folder, "--push", *arguments, code=1))
    assert len(hub.models[NAME].commits) == 1


@pytest.mark.parametrize(
    ("kind", "answers", "reason"),
    [
        ("whoami", [(401, {"error": "expired"})], "owner: the Hub refused it"),
        ("info", [(500, {})] * 9, f"{NAME}: the Hub refused it or could not be reached (Server error '500"),
        ("create", [(403, {"error": "no right to create"})], "no right to create"),
        ("validate", [(400, {"errors": [{"message": "license is unknown"}]})], "license is unknown"),
        ("commit", [(412, {"error": "a commit has happened since"})], "a commit has happened since"),
        ("commit", [CUT], "could not be reached (Server disconnected"),
        ("tree", [(200, [])], "0 files arrived, 7 were staged; 7 missing"),
    ],
    ids=str,
)
def test_whatever_fails_on_the_way_is_a_failure_in_one_line(*, publish, hub, run_folder, kind, answers, reason):
    hub.fail(kind, *answers)
    assert reason in publish(run_folder, "--push", code=1)


def test_a_file_that_arrives_with_another_content_is_a_failure(publish, hub, run_folder, monkeypatch):
    def damage(*, checksum, content, **_):
        hub.uploads[checksum] = content[::-1]
        return {}

    monkeypatch.setattr(hub, "on_upload", damage)
    assert "arrived with another content" in publish(run_folder, "--push", code=1)


def test_a_missing_token_or_owner_or_library_is_named(publish, hub, run_folder, monkeypatch):
    assert publish(run_folder, code=1).startswith("owner: is unknown, as nothing is sent without --push. Give --owner")
    monkeypatch.delenv("HF_TOKEN")
    reason = publish(run_folder, "--push", "--owner", OWNER, code=1)
    assert reason.startswith(f"{NAME}: nobody is signed in to the Hub. Run `hf auth login` with a token that may write")
    assert hub.asked == []
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs huggingface_hub, which is not installed. " in publish(run_folder, "--push", "--owner", OWNER, code=1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--owner", "some one"], "owner: 'some one' is no name on the Hub"),
        (["--owner", OWNER, "--slug", "a--b"], "slug: 'a--b' is no name on the Hub"),
        (["--owner", OWNER, "--licence", "mit"], "Add --i-have-the-rights"),
    ],
    ids=["owner", "slug", "rights"],
)
def test_what_the_hub_or_the_law_would_refuse_is_not_staged(*, publish, run_folder, tmp_path, arguments, reason):
    assert reason in publish(run_folder, *arguments, code=1)
    assert not (tmp_path / "to send").exists()


def test_a_token_in_a_staged_file_is_refused(publish, run_folder):
    (run_folder / "MODEL_CARD.md").write_text(f"# Mine\n\nlogin with {TOKEN}\n")
    assert "holds a key or token" in publish(run_folder, "--owner", OWNER, code=1)


def test_only_files_that_cannot_hold_code_are_sent():
    endings = {name.rpartition(".")[2] for name in hugging_face._ours()}
    assert endings == {"md", "json", "h5", "xml", "bin", "npz", "LICENSE"}
