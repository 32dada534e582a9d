"""Notebooks pushed with the real client to a stub of Kaggle, their status, and their output."""

import json
import shutil
from pathlib import Path

import pytest
from stub import CUT, files_of, missing

from dfutils.errors import PublishError
from dfutils.publishing import kaggle as client
from dfutils.publishing import notebooks as module
from dfutils.publishing.kaggle import FAILED_POLLS, Kaggle
from dfutils.publishing.notebooks import push_notebooks, stage_notebooks
from dfutils.publishing.runs import ABSENT_AFTER_PUSH, fetch_output, wait_for_run

METADATA = Path(__file__).parents[2] / "kaggle-metadata"
NAME = "some-one/deepfakes-1-extract-motion-faces"


def notebook(path, *sources):
    cells = [
        {"cell_type": "code", "source": source, "metadata": {}, "execution_count": 1, "outputs": [{"text": "seen"}]}
        for source in sources
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def sources(tmp_path):
    """Five short notebooks with outputs, called like the real ones."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for place in sorted((METADATA / "notebooks").iterdir()):
        notebook(folder / f"{place.name}.ipynb", ["import dfutils\n", f"print('{place.name}')"], "2 + 2")
    return folder


@pytest.fixture
def first(sources, tmp_path):
    """The first of them, staged."""
    return stage_notebooks(
        sources / "01-extract-motion-faces.ipynb", tmp_path / "to send", metadata=METADATA, owner="some-one"
    )


def push(staged, wait_seconds=20):
    return push_notebooks(Kaggle(timeout_seconds=60, wait_seconds=wait_seconds), staged)


def test_pushed_notebooks_arrive_in_order_cell_by_cell_with_their_flags(publish, stub, sources, tmp_path):
    for surplus in ("04-evaluate", "05-predict"):
        (sources / f"{surplus}.ipynb").unlink()
    done = publish("notebooks", sources, "--owner", "some-one", "--push")
    assert done.exit_code == 0
    saved = stub.called("SaveKernel")
    assert [request["slug"].split("-")[2] for request in saved] == ["1", "2", "3"]
    for request, staged in zip(saved, sorted((tmp_path / "to send").iterdir()), strict=True):
        content = json.loads((staged / f"{staged.name}.ipynb").read_text())
        for cell in content["cells"]:
            cell.update(source="".join(cell["source"]), **({"outputs": []} if "outputs" in cell else {}))
        assert json.loads(request["text"]) == content
        assert (request["isPrivate"], request["enableInternet"], request["enableTpu"]) == (True, False, False)
        assert request["enableGpu"] is (staged.name == "03-train")
        assert request["machineShape"] == ("NvidiaTeslaT4" if staged.name == "03-train" else "None")
    assert saved[1]["kernelDataSources"] == [NAME]
    assert saved[2]["datasetDataSources"] == ["some-one/dfutils", "some-one/deepfake-motion-faces"]
    assert done.stdout.count("4 cells, flags and sources read back as sent") == 3
    methods = [name for name, _ in stub.calls]
    assert methods == ["SaveKernel", "GetKernel", "GetKernelSessionStatus"] * 3


def test_a_staged_notebook_installs_the_package_from_the_dataset_that_is_attached(first):
    cells = json.loads((first[0].folder / "01-extract-motion-faces.ipynb").read_text())["cells"]
    assert [cell["cell_type"] for cell in cells] == ["code", "markdown", "code", "code"]
    command = cells[2]["source"].splitlines()[-1]
    assert command == (
        "%pip install --quiet --no-index --no-deps --find-links {INPUT}/datasets/some-one/dfutils "
        "--find-links {INPUT}/dfutils dfutils av"
    )


def test_the_owner_stands_in_the_parameters_of_a_staged_notebook_and_nothing_else_changes(tmp_path):
    source = METADATA.parent / "notebooks" / "02-publish-dataset.ipynb"
    (staged,) = stage_notebooks(source, tmp_path / "to send", metadata=METADATA, owner="some-one")
    before, after = (json.loads(path.read_text())["cells"] for path in (source, staged.folder / source.name))
    code = ["".join(cell["source"]) for cell in before]
    (parameters,) = (text for text in code if '"owner": "your-name"' in text)
    expected = [text.replace("your-name", "some-one") if text == parameters else text for text in code]
    assert ["".join(cell["source"]) for cell in (after[0], *after[3:])] == expected


def test_a_notebook_without_that_dataset_stays_as_it_is(sources, tmp_path):
    metadata = shutil.copytree(METADATA, tmp_path / "metadata")
    path = metadata / "notebooks" / "01-extract-motion-faces" / "kernel-metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dataset_sources": []}))
    source = sources / "01-extract-motion-faces.ipynb"
    (staged,) = stage_notebooks(source, tmp_path / "to send", metadata=metadata, owner="some-one")
    assert json.loads((staged.folder / source.name).read_text()) == json.loads(source.read_text())


def test_a_run_is_waited_for(stub):
    stub.fail("GetKernelSessionStatus", {"status": "QUEUED"}, {"status": "RUNNING"})
    assert wait_for_run(Kaggle(wait_seconds=20), NAME) == "complete"
    assert len(stub.called("GetKernelSessionStatus")) == 3


def test_without_waiting_a_run_that_goes_on_is_no_failure(stub):
    stub.run_status = {"status": "RUNNING"}
    assert wait_for_run(Kaggle(wait_seconds=0), NAME) == "running"


def test_a_run_that_is_not_over_in_time_is_a_failure(stub):
    stub.run_status = {"status": "RUNNING"}
    with pytest.raises(PublishError, match="not over after 0 s .status running.. It goes on"):
        wait_for_run(Kaggle(wait_seconds=0.1), NAME)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": "ERROR", "failureMessage": "out of memory"}, 'its run failed .Failure message: "out of memory"'),
        ({"status": "CANCEL_ACKNOWLEDGED"}, "its run failed .status cancel_acknowledged"),
        (missing("Kernel"), "there is no such notebook on Kaggle, or it is not yours to see. Compare the name"),
        ((403, {"code": 403, "message": "Permission denied"}), "there is no such notebook on Kaggle"),
        ((401, {"code": 401, "message": "no"}), "there is no such notebook on Kaggle, or it is .*kaggle auth login"),
    ],
    ids=str,
)
def test_a_run_that_failed_or_is_not_there_is_a_failure_at_once(stub, answer, reason):
    stub.fail("GetKernelSessionStatus", answer)
    with pytest.raises(PublishError, match=f"^{NAME}: .*{reason}"):
        wait_for_run(Kaggle(wait_seconds=20), NAME)
    assert len(stub.called("GetKernelSessionStatus")) == 1


def test_no_output_is_fetched_of_a_notebook_that_is_not_there(stub, tmp_path):
    stub.fail("GetKernelSessionStatus", missing("Kernel"))
    with pytest.raises(PublishError, match="there is no such notebook on Kaggle"):
        fetch_output(Kaggle(wait_seconds=20), NAME, tmp_path / "output")
    assert not (tmp_path / "output").exists()


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr(client, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(module, "PULL_AGAIN_SECONDS", 0.1)


def test_what_was_just_pushed_may_be_missing_for_a_while(stub, first, short_pauses):
    stub.fail("GetKernelSessionStatus", *[missing("Kernel")] * 2)
    assert push(first)[-1] == f"{NAME}: complete"


def test_what_was_just_pushed_may_not_be_missing_for_an_hour(stub, short_pauses):
    stub.fail("GetKernelSessionStatus", *[missing("Kernel")] * 20)
    with pytest.raises(PublishError, match="there is no such notebook on Kaggle"):
        wait_for_run(Kaggle(wait_seconds=60), NAME, just_pushed=True)
    assert len(stub.called("GetKernelSessionStatus")) == ABSENT_AFTER_PUSH + 1


def test_a_long_wait_survives_a_few_questions_without_an_answer(stub, short_pauses):
    running = {"status": "RUNNING"}
    stub.fail("GetKernelSessionStatus", running, *[(500, {})] * (FAILED_POLLS - 1), CUT, running, CUT)
    assert wait_for_run(Kaggle(wait_seconds=60), NAME) == "complete"


def test_a_long_wait_ends_when_no_question_is_answered_any_more(stub, short_pauses):
    stub.fail("GetKernelSessionStatus", *[(500, {})] * 20)
    with pytest.raises(PublishError, match=f"^{NAME}: Kaggle could not be asked .500"):
        wait_for_run(Kaggle(wait_seconds=60), NAME)
    assert len(stub.called("GetKernelSessionStatus")) == FAILED_POLLS + 1


def test_without_waiting_a_question_without_an_answer_is_a_failure(stub):
    stub.fail("GetKernelSessionStatus", (500, {}))
    with pytest.raises(PublishError, match="could not be asked .500"):
        wait_for_run(Kaggle(wait_seconds=0), NAME)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "Title is taken"}, "did not take it .Kernel push error: Title is taken"),
        ((500, {}), "did not take it .500 Server Error"),
        ((403, {"code": 403, "message": "Permission denied"}), "did not take it .Permission denied"),
        (CUT, "did not take it .*Connection.*Check the network"),
        (
            {"versionNumber": 1, "invalidDatasetSources": ["some-one/dfutils"]},
            "not valid dataset sources.*some-one/dfutils.*Publish these datasets first",
        ),
        (
            {"versionNumber": 1, "invalidKernelSources": ["some-one/other"]},
            "not valid kernel sources.*Push these notebooks first",
        ),
        (
            {"versionNumber": 1, "invalidCompetitionSources": ["deepfake-detection-challenge"]},
            "not valid competition sources.*Accept the competition's rules",
        ),
    ],
    ids=str,
)
def test_what_fails_while_pushing_is_a_failure(stub, first, answer, reason):
    stub.fail("SaveKernel", answer)
    with pytest.raises(PublishError, match=f"^{NAME}: .*{reason}") as raised:
        push(first)
    assert "\n" not in str(raised.value)


def test_a_notebook_that_kaggle_kept_otherwise_is_a_failure(stub, first):
    kept = {"cells": [{"cell_type": "code", "source": "older"}]}
    metadata = {"ref": NAME, "title": "t", "isPrivate": True, "enableInternet": True}
    blob = {"source": json.dumps(kept), "language": "python", "kernelType": "notebook", "slug": "s"}
    stub.fail("GetKernel", {"metadata": metadata, "blob": blob})
    with pytest.raises(PublishError, match=r"kept it otherwise than sent \(enable_internet, dataset_sources, compet"):
        push(first)


def test_a_pushed_notebook_may_be_read_back_the_second_time(stub, first, short_pauses):
    stub.fail("GetKernel", missing("Kernel"))
    assert "read back as sent" in push(first)[1]
    assert len(stub.called("GetKernel")) == 2


@pytest.mark.parametrize("answer", [missing("Kernel"), (500, {}), CUT], ids=str)
def test_a_pushed_notebook_that_cannot_be_read_back_is_a_failure(stub, first, short_pauses, answer):
    stub.fail("GetKernel", answer, answer)
    with pytest.raises(PublishError, match=f"^{NAME}: was pushed, but could not be read back .*Look at its page"):
        push(first)
    assert not stub.called("GetKernelSessionStatus")


def keep_on(stub, machine):
    """Let the server keep every notebook on this machine, whatever it was sent."""
    keep = stub.on_save_kernel

    def keep_otherwise(request):
        return keep({**request, "machineShape": machine})

    stub.on_save_kernel = keep_otherwise


@pytest.mark.parametrize("machine", ["NvidiaTeslaP100", "None"])
def test_a_notebook_that_lost_its_two_t4_is_a_failure(stub, sources, tmp_path, machine):
    train = sources / "03-train.ipynb"
    staged = stage_notebooks(train, tmp_path / "to send", metadata=METADATA, owner="some-one")
    keep_on(stub, machine)
    with pytest.raises(PublishError, match=r"kept it otherwise than sent \(machine_shape\)"):
        push(staged)


def test_a_notebook_without_accelerator_is_kept_as_sent_however_that_is_spelled(stub, first):
    keep_on(stub, "")
    assert "read back as sent" in push(first)[1]


def test_a_failed_push_is_exit_code_1_and_one_line(publish, stub, sources):
    stub.fail("SaveKernel", {"error": "Title is taken"})
    done = publish("notebooks", sources / "02-publish-dataset.ipynb", "--push")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Title is taken" in done.reason


def test_the_output_of_a_notebook_is_fetched_whole(stub, tmp_path):
    stub.outputs = {"faces/manifest.csv": b"clip_id\n", "faces/real/a/00.png": bytes(range(256))}
    folder = tmp_path / "output"
    fetch_output(Kaggle(wait_seconds=5), NAME, folder)
    assert files_of(folder) == stub.outputs


def test_an_error_page_in_the_place_of_an_output_is_a_failure(stub, tmp_path, monkeypatch):
    stub.outputs = {"manifest.csv": b"clip_id\n"}
    stub.fail("ListKernelSessionOutput", {"files": [{"url": "http://localhost/gone", "fileName": "manifest.csv"}]})
    with pytest.raises(PublishError, match=r"1 of another size \(manifest.csv\)"):
        fetch_output(Kaggle(wait_seconds=5), NAME, tmp_path / "output")


def test_the_dataset_in_a_notebooks_output_is_staged(publish, stub, demo_faces, tmp_path):
    stub.outputs = {f"output/faces/{name}": content for name, content in files_of(demo_faces).items()}
    done = publish("dataset", tmp_path / "fetched", "--fetch", NAME)
    assert done.exit_code == 0
    staged = files_of(tmp_path / "to send", but=["dataset-metadata.json"])
    assert staged.items() <= files_of(demo_faces).items()
    assert len(staged) > 100


def test_notebooks_that_wait_for_each_other_are_refused(sources, tmp_path):
    metadata = shutil.copytree(METADATA, tmp_path / "metadata")
    for name in ("01-extract-motion-faces", "02-publish-dataset"):
        path = metadata / "notebooks" / name / "kernel-metadata.json"
        document = json.loads(path.read_text())
        other = {"01": "deepfakes-2-publish-the-face-dataset", "02": "deepfakes-1-extract-motion-faces"}[name[:2]]
        document["kernel_sources"] = [f"some-one/{other}"]
        path.write_text(json.dumps(document))
    for surplus in ("03-train", "04-evaluate", "05-predict"):
        (sources / f"{surplus}.ipynb").unlink()
    with pytest.raises(PublishError, match="wait for each other"):
        stage_notebooks(sources, tmp_path / "to send", metadata=metadata, owner="some-one")


def test_a_notebook_may_read_what_it_wrote_before(sources, tmp_path):
    metadata = shutil.copytree(METADATA, tmp_path / "metadata")
    path = metadata / "notebooks" / "03-train" / "kernel-metadata.json"
    document = json.loads(path.read_text())
    document["kernel_sources"].append(document["id"])
    path.write_text(json.dumps(document))
    staged = stage_notebooks(sources, tmp_path / "to send", metadata=metadata, owner="some-one")
    assert len(staged) == 5
    assert staged[2].metadata["id"] in staged[2].metadata["kernel_sources"]


def test_a_notebook_without_metadata_is_named(tmp_path):
    stray = notebook(tmp_path / "06-stray.ipynb", "1")
    with pytest.raises(PublishError, match=r"06-stray/kernel-metadata.json: cannot be read"):
        stage_notebooks(stray, tmp_path / "to send", metadata=METADATA, owner="some-one")
