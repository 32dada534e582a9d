"""Notebooks pushed with the real client to a stub of Kaggle, their status, and their output."""

import json
import re
import shutil
from pathlib import Path

import pytest
from stub import CUT, files_of, missing

from dfutils.errors import PublishError
from dfutils.publishing import kaggle
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.notebooks import stage_notebooks
from dfutils.publishing.push import fetch_faces, push_notebook, wait_for_run

METADATA = Path(__file__).parents[2] / "kaggle-metadata"
NAME = "some-one/deepfakes-1-extract-motion-faces"
DENIED = (403, {"code": 403, "message": "Permission denied"})
RUNNING = {"status": "RUNNING"}
GONE = {"url": "http://localhost/gone", "fileName": "manifest.csv"}


@pytest.fixture
def sources(tmp_path):
    """Five short notebooks with outputs, called like the real ones."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for place in (METADATA / "notebooks").iterdir():
        cells = [
            {"cell_type": "code", "source": source, "metadata": {}, "execution_count": 1, "outputs": [{"text": "seen"}]}
            for source in (["import dfutils\n", f"print('{place.name}')"], "2 + 2")
        ]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (folder / f"{place.name}.ipynb").write_text(json.dumps(notebook))
    return folder


@pytest.fixture
def stage(sources, tmp_path):
    """Stages one of these notebooks, or all, with metadata that a test may change."""
    metadata = shutil.copytree(METADATA, tmp_path / "metadata")

    def call(name=None, **changes):
        for notebook, change in changes.items():
            (path,) = metadata.glob(f"notebooks/{notebook.replace('_', '0')}-*/kernel-metadata.json")
            path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        source = sources / f"{name}.ipynb" if name else sources
        return stage_notebooks(source, tmp_path / "to send", metadata=metadata, owner="some-one")

    return call


@pytest.fixture
def first(stage):
    (staged,) = stage("01-extract-motion-faces")
    return staged


def push(staged):
    return push_notebook(Kaggle(timeout_seconds=60, wait_seconds=20), staged)


def wait(seconds=20.0):
    return wait_for_run(Kaggle(wait_seconds=seconds), NAME)


def cells_of(path):
    return json.loads(path.read_text())["cells"]


def test_pushed_notebooks_arrive_in_order_cell_by_cell_with_their_flags(publish, stub, sources, tmp_path):
    for surplus in ("01-extract-motion-faces", "04-evaluate", "05-predict"):
        (sources / f"{surplus}.ipynb").unlink()
    done = publish("notebooks", sources, "--owner", "some-one", "--push")
    assert done.exit_code == 0
    saved = stub.called("SaveKernel")
    assert [request["slug"].split("-")[2] for request in saved] == ["2", "3"]
    for request, staged in zip(saved, sorted((tmp_path / "to send").iterdir()), strict=True):
        content = json.loads((staged / f"{staged.name}.ipynb").read_text())
        for cell in content["cells"]:
            cell.update(source="".join(cell["source"]), **({"outputs": []} if "outputs" in cell else {}))
        assert json.loads(request["text"]) == content
        assert (request["isPrivate"], request["enableInternet"], request["enableTpu"]) == (True, False, False)
        assert request["enableGpu"] is (staged.name == "03-train")
        assert request["machineShape"] == ("NvidiaTeslaT4" if staged.name == "03-train" else "None")
    assert saved[0]["kernelDataSources"] == [NAME]
    assert saved[1]["datasetDataSources"] == ["some-one/dfutils", "some-one/deepfake-motion-faces"]
    assert done.stdout.count("4 cells, flags and sources read back as sent") == 2
    assert [name for name, _ in stub.calls] == ["SaveKernel", "GetKernel", "GetKernelSessionStatus"] * 2


def test_a_staged_notebook_installs_the_package_only_from_a_dataset_that_is_attached(stage, sources):
    file = "01-extract-motion-faces.ipynb"
    (staged,) = stage("01-extract-motion-faces")  # its metadata names the dataset
    cells = cells_of(staged.folder / file)
    assert [cell["cell_type"] for cell in cells] == ["code", "markdown", "code", "code"]
    assert cells[2]["source"].splitlines()[-1] == (
        "%pip install --quiet --no-index --no-deps --find-links {INPUT}/datasets/some-one/dfutils "
        "--find-links {INPUT}/dfutils dfutils av"
    )
    (without,) = stage("01-extract-motion-faces", _1={"dataset_sources": []})
    assert cells_of(without.folder / file) == cells_of(sources / file)


def test_the_owner_stands_in_the_parameters_of_a_staged_notebook_and_nothing_else_changes(tmp_path):
    source = METADATA.parent / "notebooks" / "02-publish-dataset.ipynb"
    (staged,) = stage_notebooks(source, tmp_path / "to send", metadata=METADATA, owner="some-one")
    before, after = (
        ["".join(cell["source"]) for cell in cells_of(path)] for path in (source, staged.folder / source.name)
    )
    (parameters,) = (text for text in before if '"owner": "your-name"' in text)
    expected = [text.replace("your-name", "some-one") if text == parameters else text for text in before]
    assert [after[0], *after[3:]] == expected


def test_a_notebook_is_sent_after_those_whose_output_it_reads(stage):
    reads_second = {"kernel_sources": ["some-one/deepfakes-2-publish-the-face-dataset"]}
    with pytest.raises(PublishError, match="depend on each other"):
        stage(_1=reads_second)
    staged = stage(_1=reads_second, _2=reads_second)  # what a notebook wrote itself is there already
    assert [one.folder.name[:2] for one in staged] == ["02", "01", "03", "04", "05"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("06-stray", None, r"06-stray/kernel-metadata.json: cannot be read"),
        ("03-train", {"cells": []}, "03-train.ipynb: is not a notebook with cells"),
        ("03-train", {"cells": [{"source": "x" * 10**6}, {"source": "y"}]}, "1000001 bytes without outputs"),
    ],
    ids=["without metadata", "empty", "too large"],
)
def test_a_notebook_that_cannot_be_sent_is_named(stage, sources, name, content, message):
    (sources / f"{name}.ipynb").write_text(json.dumps(content or {"cells": [{"source": "1", "metadata": {}}]}))
    with pytest.raises(PublishError, match=message):
        stage(name)


@pytest.mark.parametrize("name", ["", "06-gone"], ids=["empty folder", "no file"])
def test_a_place_without_a_notebook_stages_nothing(stage, sources, tmp_path, name):
    for path in sources.iterdir():
        path.unlink()
    reason = rf"{name or 'notebooks'}.*: holds no notebook\. Name a notebook or a folder"
    with pytest.raises(PublishError, match=reason):
        stage(name)
    assert not (tmp_path / "to send").exists()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "Title is taken"}, "Kernel push error: Title is taken"),
        ((500, {}), "500 Server Error"),
        ({"invalidDatasetSources": ["a/b"]}, "not valid dataset sources.*a/b.*Publish these datasets"),
        ({"invalidKernelSources": ["a/b"]}, "not valid kernel sources.*Push these notebooks first"),
        ({"invalidCompetitionSources": ["dfdc"]}, "not valid competition sources.*Accept the compet"),
    ],
    ids=["refused", "no answer", "datasets", "notebooks", "competitions"],
)
def test_what_fails_while_pushing_is_a_failure(stub, first, answer, reason):
    stub.fail("SaveKernel", {"versionNumber": 1, **answer} if isinstance(answer, dict) else answer)
    with pytest.raises(PublishError, match=f"^{NAME}: .*did not accept it .*{reason}") as raised:
        push(first)
    assert "\n" not in str(raised.value)


def keep(stub, **changes):
    """Let the server keep every notebook with these changes, whatever it was sent."""
    on_save = stub.on_save_kernel
    stub.on_save_kernel = lambda request: on_save({**request, **changes})


def test_every_difference_between_kaggles_copy_and_what_was_sent_is_named(stub, stage):
    (staged,) = stage("03-train")
    flags = {"isPrivate": False, "enableGpu": False, "enableTpu": True, "enableInternet": True}
    sources = {"datasetDataSources": [], "kernelDataSources": [], "competitionDataSources": ["dfdc"]}
    older = json.dumps({"cells": [{"source": "older"}]})
    keep(stub, **flags, **sources, modelDataSources=["a/b/keras/c/1"], machineShape="NvidiaTeslaP100", text=older)
    with pytest.raises(PublishError, match="Kaggle's copy differs from what was sent") as raised:
        push(staged)
    assert re.search(r"\((.*)\)", str(raised.value))[1].split(", ") == [
        *("is_private", "enable_gpu", "enable_tpu", "enable_internet", "machine_shape"),
        *("dataset_sources", "kernel_sources", "competition_sources", "model_sources", "cells"),
    ]


def test_what_was_just_pushed_may_be_missing_for_a_while(stub, first):
    keep(stub, machineShape="")  # another word for "None", which was sent
    stub.fail("GetKernel", missing("Kernel"))
    stub.fail("GetKernelSessionStatus", missing("Kernel"))
    assert push(first)[-1] == f"{NAME}: complete"
    assert len(stub.called("GetKernel")) == 2


def test_a_pushed_notebook_that_cannot_be_read_back_is_a_failure(stub, first, monkeypatch):
    monkeypatch.setattr(kaggle, "UNANSWERED_IN_A_ROW", 1)
    stub.fail("GetKernel", missing("Kernel"), CUT)
    with pytest.raises(PublishError, match=f"^{NAME}: was pushed, but could not be read back .*Look at its page"):
        push(first)
    assert not stub.called("GetKernelSessionStatus")


def test_a_run_is_waited_for_and_a_question_may_stay_without_an_answer(stub):
    stub.fail("GetKernelSessionStatus", {"status": "QUEUED"}, (500, {}))
    assert wait() == "complete"


def test_without_waiting_a_run_that_goes_on_is_no_failure(stub):
    stub.run_status = RUNNING
    assert wait(seconds=0) == "running"


def test_a_run_that_is_not_over_in_time_is_a_failure(stub):
    stub.run_status = RUNNING
    with pytest.raises(PublishError, match="not finished after 0 s .status running.. It continues"):
        wait(seconds=0.05)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": "ERROR", "failureMessage": "out of memory"}, 'its run failed .Failure message: "out of memory"'),
        ({"status": "CANCEL_ACKNOWLEDGED"}, "its run failed .status cancel_acknowledged"),
        (missing("Kernel"), "there is no such notebook on Kaggle, or it is not yours to see. Compare the name"),
        (DENIED, "there is no such notebook on Kaggle"),
        ((401, {"code": 401, "message": "no"}), "there is no such notebook on Kaggle, or it is .*kaggle auth login"),
    ],
    ids=str,
)
def test_a_run_that_failed_or_is_not_there_is_a_failure_at_once(stub, tmp_path, answer, reason):
    stub.fail("GetKernelSessionStatus", answer)
    with pytest.raises(PublishError, match=f"^{NAME}: .*{reason}"):
        fetch_faces(Kaggle(wait_seconds=20), NAME, tmp_path / "output")
    assert len(stub.called("GetKernelSessionStatus")) == 1
    assert not (tmp_path / "output").exists()


def test_the_dataset_in_a_notebooks_output_is_fetched_whole_and_staged(publish, stub, demo_faces, tmp_path):
    stub.outputs = {f"output/faces/{name}": content for name, content in files_of(demo_faces).items()}
    assert publish("dataset", tmp_path / "fetched", "--fetch", NAME).exit_code == 0
    assert files_of(tmp_path / "fetched") == stub.outputs
    staged = files_of(tmp_path / "to send", but=["dataset-metadata.json"])
    assert staged.items() <= files_of(demo_faces).items()
    assert len(staged) > 100


@pytest.mark.parametrize(
    ("output", "answers", "reason"),
    [
        ("notes.txt", [], "its output holds no face dataset"),
        ("manifest.csv", [{"files": [GONE]}], r".*1 of another size \(manifest.csv\)"),
        ("manifest.csv", [(500, {})] * 20, r"its output could not be fetched \(500.*Try again"),
    ],
    ids=["other files", "an error page in the place of a file", "not sent"],
)
def test_an_output_without_a_whole_face_dataset_is_a_failure(stub, tmp_path, output, answers, reason):
    stub.outputs = {output: b"clip_id\n"}
    stub.fail("ListKernelSessionOutput", *answers)
    with pytest.raises(PublishError, match=f"^{NAME}.*: {reason}"):
        fetch_faces(Kaggle(wait_seconds=5), NAME, tmp_path / "output")
