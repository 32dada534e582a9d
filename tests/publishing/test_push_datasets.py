"""Datasets sent with the real client to a stub of Kaggle: what arrived is what was staged, or it is an error."""

import json

import pytest
from stub import CUT, KEY, Holding, files_of, missing

from dfutils.errors import PublishError
from dfutils.publishing import publish as module
from dfutils.publishing.datasets import check_arrived, check_not_poorer, push_dataset
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.kept import Kept, check_kept
from dfutils.publishing.rules import DATASET_FILE, check_dataset

ID = "some-one/deepfake-motion-faces"
AV_312 = "av-14.2.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
AV_313 = "av-14.2.0-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def hold(stub, settings=(), **files):
    """A dataset that is on Kaggle already: private, with licence other, unless its settings say otherwise."""
    stub.datasets[ID] = Holding(dict(settings), [{name.replace("__", "/").replace("_", "."): b"old" for name in files}])


@pytest.fixture
def small(tmp_path):
    """A staged dataset of two files, one in a folder."""
    folder = tmp_path / "small"
    (folder / "real" / "a").mkdir(parents=True)
    (folder / "manifest.csv").write_bytes(b"clip_id\r\na\r\n")
    (folder / "real" / "a" / "00.png").write_bytes(b"\x89PNG image")
    document = {"id": ID, "title": "Deepfake motion faces", "licenses": [{"name": "other"}], "isPrivate": True}
    (folder / DATASET_FILE).write_text(json.dumps({**document, "keywords": []}))
    check_dataset({**document, "keywords": []}, folder)
    return folder


def push(folder, **more):
    return push_dataset(Kaggle(timeout_seconds=60, wait_seconds=20), folder, notes="more clips", **more)


def test_a_new_dataset_arrives_byte_by_byte_private_and_with_licence_other(publish, stub, demo_faces, tmp_path):
    done = publish("dataset", demo_faces, "--push")
    assert done.exit_code == 0
    (request,) = stub.called("CreateDataset")
    assert (request["isPrivate"], request["licenseName"]) == (True, "other")
    assert (request["ownerSlug"], request["slug"]) == tuple(ID.split("/"))
    staged = files_of(tmp_path / "to send", but=[DATASET_FILE])
    assert stub.datasets[ID].versions == [staged]
    assert len([name for name in staged if name.startswith(("real/", "fake/"))]) > 100
    assert f"ready, {len(staged)} files of {sum(map(len, staged.values()))} bytes arrived" in done.stdout


def test_a_version_replaces_what_was_there_and_is_waited_for(stub, small):
    hold(stub, manifest_csv=1)
    stub.fail("GetDataset", None, {"currentVersionNumber": 1})  # the old version is ready while the new one is not
    lines = push(small)
    assert stub.datasets[ID].versions[-1] == files_of(small, but=[DATASET_FILE])
    assert stub.called("CreateDatasetVersion")[0]["body"]["versionNotes"] == "more clips"
    assert len(stub.called("GetDataset")) == 3
    assert "is being created" in lines[0]


def test_a_version_that_would_lose_files_is_not_sent(stub, small):
    hold(stub, manifest_csv=1, fake__b__00_png=1)
    with pytest.raises(PublishError, match=r"would lack 1 of 2 files \(fake/b/00.png\). Nothing was sent"):
        push(small)
    assert not stub.called("StartBlobUpload")


@pytest.mark.parametrize(
    ("before", "staged", "lost"),
    [
        (["dfutils-0.1.0-py3-none-any.whl"], ["dfutils-0.2.0-py3-none-any.whl"], False),
        (["av-18.1.0-cp312-cp312-manylinux_2_28_x86_64.whl"], ["dfutils-0.2.0-py3-none-any.whl"], True),
        ([AV_312, AV_313], [AV_312], True),
        ([AV_312, AV_313], ["av-18.1.0-cp313-cp313-manylinux_2_28_x86_64.whl"], True),
        ([AV_312, AV_313], ["av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl"], False),
        (["av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl"], [AV_312, AV_313], False),
        (["av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl"], [AV_313], True),
        (["av-13.0.0-cp310-cp310-manylinux_2_17_x86_64.whl"], [AV_312], False),
        (["manifest.csv", "real/a/00.png"], ["manifest.csv", "real/a/01.png"], True),
        ([], ["manifest.csv"], False),
    ],
    ids=[
        "newer wheel",
        "other wheel",
        "without Python 3.13",
        "without Python 3.12",
        "one for both",
        "two for one",
        "one for both, then without Python 3.12",
        "of a Python that the image no longer has",
        "crop",
        "nothing yet",
    ],
)
def test_only_a_wheel_that_serves_the_same_pythons_may_stand_for_another_file(before, staged, lost):
    names = dict.fromkeys(before, 1), dict.fromkeys(staged, 1)
    check_not_poorer("it", *names, allowed=True)
    if lost:
        with pytest.raises(PublishError, match="--fewer-files"):
            check_not_poorer("it", *names, allowed=False)
    else:
        check_not_poorer("it", *names, allowed=False)


TAKEN = {"status": "error", "error": 'The requested title "Deepfake motion faces" is already in use by a dataset.'}


@pytest.mark.parametrize(
    ("method", "answers", "reason"),
    [
        ("GetDatasetStatus", [CUT], "could not be asked .*Connection.*Check the network"),
        ("GetDatasetStatus", [(401, {"code": 401, "message": "no"})], "Authentication required.*kaggle auth login"),
        ("GetDatasetStatus", [(500, {})], "could not be asked .500"),
        ("GetDatasetStatus", [None, CUT], "did not take it .*Connection"),
        ("CreateDataset", [TAKEN], "did not take it .*already in use.*Choose another --title and --slug"),
        ("GetDatasetStatus", [None, None, {"status": "FAILED"}], "could not process it .status failed"),
        ("ListDatasetFiles", [{"datasetFiles": []}], "arrived with 0 files, staged were 2; 2 missing"),
    ],
    ids=str,
)
def test_what_fails_on_the_way_to_a_new_dataset_is_a_failure(stub, small, method, answers, reason):
    stub.fail(method, *answers)
    with pytest.raises(PublishError, match=f"^{ID}: .*{reason}") as raised:
        push(small)
    assert KEY not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("held", [False, True], ids=["new", "version"])
@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        (
            ("Create", {"status": "error", "error": "no room"}),
            r"did not take it \(Dataset (version )?creation error: no",
        ),
        (("Create", (500, {})), "did not take it .500 Server Error"),
        (("Create", (400, {"code": 400, "message": f"key {KEY} is no good"})), r"key \*\*\* is no good"),
        (("PUT", 403), "did not take it .Upload unsuccessful: .*lacks that file"),
    ],
    ids=["error in a 200", "500", "400 with the key", "403 on a blob"],
)
def test_what_fails_while_sending_is_a_failure_of_a_new_dataset_and_of_a_version(stub, small, held, failing, reason):
    if held:
        hold(stub, manifest_csv=1)
    method, answer = failing
    stub.fail(sending(held) if method == "Create" else method, answer)
    with pytest.raises(PublishError, match=f"^{ID}: .*{reason}") as raised:
        push(small)
    assert KEY not in str(raised.value)
    assert "\n" not in str(raised.value)


def sending(held):
    return "CreateDatasetVersion" if held else "CreateDataset"


@pytest.mark.parametrize(
    ("method", "answers", "reason"),
    [
        ("GetDatasetMetadata", [(500, {})], "could not be asked .500"),
        ("GetDatasetMetadata", [CUT], "could not be asked .*Connection"),
        ("GetDatasetMetadata", [{"errorMessage": "not now"}], "could not be asked .*not now"),
        ("GetDatasetMetadata", [missing("Dataset")], "cannot be read .it is there, but its metadata are not.. Nothing"),
        ("GetDatasetMetadata", [{}], "cannot be read .title and licence are not in its metadata.. Nothing was sent"),
        ("GetDatasetMetadata", [{"info": {"isPrivate": True}}], "cannot be read .title and licence are not in"),
        ("GetDatasetStatus", [None, {"status": "FAILED"}], "could not process it .status failed"),
        ("ListDatasetFiles", [None, {"datasetFiles": []}], "arrived with 0 files, staged were 2; 2 missing"),
    ],
    ids=str,
)
def test_what_fails_on_the_way_to_a_version_is_a_failure(stub, small, method, answers, reason):
    hold(stub, manifest_csv=1)
    stub.fail(method, *answers)
    with pytest.raises(PublishError, match=f"^{ID}: .*{reason}"):
        push(small)
    assert bool(stub.called("StartBlobUpload")) is (method != "GetDatasetMetadata")


def restage(folder, **changes):
    path = folder / DATASET_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("held", "staged", "reason"),
    [
        (
            {"isPrivate": False},
            {},
            "is public on Kaggle, .* staged as private. Nothing was sent. Make it private on its",
        ),
        ({}, {"isPrivate": False}, "is private on Kaggle, .*stays so.*Nothing was sent. Make it public on its page"),
        ({"licenseName": "CC0-1.0"}, {}, "its licence on Kaggle is 'CC0-1.0', .*'other' was staged. Nothing was sent"),
        ({}, {"licenses": [{"name": "CC0-1.0"}]}, "its licence on Kaggle is 'other', .*'CC0-1.0' was staged"),
    ],
    ids=["public on Kaggle", "staged as public", "freer on Kaggle", "staged as freer"],
)
def test_a_version_that_others_would_get_otherwise_than_staged_is_not_sent(stub, small, held, staged, reason):
    hold(stub, held, manifest_csv=1)
    restage(small, **staged)
    with pytest.raises(PublishError, match=f"^{ID}: {reason}"):
        push(small)
    assert not stub.called("StartBlobUpload")
    assert len(stub.datasets[ID].versions) == 1


def test_a_public_dataset_gets_a_public_version(stub, small):
    hold(stub, {"isPrivate": False, "licenseName": "CC0-1.0"}, manifest_csv=1)
    restage(small, isPrivate=False, licenses=[{"name": "CC0-1.0"}])
    assert "is being created" in push(small)[0]


def test_a_title_that_a_version_does_not_change_is_told(stub, small):
    hold(stub, {"title": "Faces that move"}, manifest_csv=1)
    lines = push(small)
    assert len(stub.datasets[ID].versions) == 2
    assert lines[1].startswith(f"{ID}: keeps its title 'Faces that move'; ")


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ("other", "Other (specified in description)", True),
        ("Attribution 4.0 International (CC BY 4.0)", "CC BY 4.0", True),
        ("GPL-3.0", "LGPL-3.0", False),
        ("other", "unknown", False),
    ],
    ids=str,
)
def test_a_licence_is_known_by_both_its_names_and_by_no_part_of_them(here, there, same):
    if same:
        assert check_kept("it", Kept(True, "t", there), private=True, title="t", licence=here) == []
    else:
        with pytest.raises(PublishError, match="its licence on Kaggle is"):
            check_kept("it", Kept(True, "t", there), private=True, title="t", licence=here)


@pytest.mark.parametrize(
    ("arrived", "reason"),
    [
        ({"a.csv": 1, "b/c.png": 2}, None),
        ({"a.csv": 1, "b/c.png": 3}, r"1 of another size \(b/c.png\)"),
        ({"a.csv": 1}, r"arrived with 1 files, staged were 2; 1 missing \(b/c.png\)"),
        ({"a.csv": 1, "b/c.png": 2, "b.zip": 9}, r"1 not staged \(b.zip\)"),
    ],
    ids=["whole", "another size", "missing", "surplus"],
)
def test_only_the_same_names_and_sizes_have_arrived(arrived, reason):
    staged = {"a.csv": 1, "b/c.png": 2}
    if reason:
        with pytest.raises(PublishError, match=reason):
            check_arrived("it", staged, arrived)
    else:
        check_arrived("it", staged, arrived)


def test_a_list_that_cannot_be_read_is_a_failure(stub):
    stub.fail("ListDatasetFiles", {"errorMessage": "not now"})
    with pytest.raises(PublishError, match="could not be listed .not now"):
        Kaggle().files(ID, "datasets", "files", ID)


@pytest.mark.parametrize("held", [False, True], ids=["new", "version"])
def test_a_connection_that_stays_cut_ends_in_a_clear_line(stub, small, held):
    if held:
        hold(stub, manifest_csv=1)
    stub.fail(sending(held), *[CUT] * 20)
    with pytest.raises(PublishError, match=r"kaggle datasets \w+: no end after 4 s.*give the same command again"):
        push_dataset(Kaggle(timeout_seconds=4, wait_seconds=1), small, notes="")


def test_what_is_not_ready_in_time_is_no_success(stub, small):
    stub.fail("GetDatasetStatus", None, None, {"status": "BLOBS_RECEIVED"})
    with pytest.raises(PublishError, match="not ready after 0 s .status blobs_received.. It was sent"):
        push_dataset(Kaggle(wait_seconds=0), small, notes="")


def test_waiting_for_a_version_survives_a_question_without_an_answer(stub, small):
    hold(stub, manifest_csv=1)
    stub.fail("GetDatasetStatus", None, (500, {}))
    assert f"{ID}: ready, 2 files" in push(small)[-1]


def test_long_lists_are_read_to_their_end(stub):
    files = {f"real/{n}.png": b"x" * n for n in range(1, 6)}
    stub.datasets[ID], stub.page_size = Holding({}, [files]), 2
    found = Kaggle().files(ID, "datasets", "files", ID)
    assert found == {name: len(content) for name, content in files.items()}
    assert len(stub.called("ListDatasetFiles")) == 3


def test_a_failure_of_the_command_is_exit_code_1_and_one_line(publish, stub, demo_faces):
    stub.fail("CreateDataset", TAKEN)
    done = publish("dataset", demo_faces, "--push", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "already in use" in done.reason


def test_without_push_the_client_is_never_called(publish, stub, demo_faces, monkeypatch):
    monkeypatch.setattr(module.Kaggle, "run", lambda *_: pytest.fail("called"))
    done = publish("dataset", demo_faces, "--json", "--version-notes", "it's new")
    document = json.loads(done.stdout)
    assert not document["pushed"]
    assert stub.calls == []
    commands = {entry["to"]: entry["command"] for entry in document["commands"]}
    assert commands["make the dataset"].endswith("/to send' --dir-mode zip")
    assert commands["send a new version"].endswith("""--dir-mode zip -m 'it'"'"'s new'""")


@pytest.mark.parametrize("wish", [["--public"], ["--licence", "CC0-1.0"]], ids=str)
def test_faces_go_public_only_by_somebody_who_says_to_have_the_right(publish, demo_faces, tmp_path, wish):
    done = publish("dataset", demo_faces, *wish)
    assert done.exit_code == 1
    assert "--i-have-the-rights" in done.reason
    assert not (tmp_path / "to send").exists()
    assert publish("dataset", demo_faces, *wish, "--i-have-the-rights").exit_code == 0
    metadata = json.loads((tmp_path / "to send" / DATASET_FILE).read_text())
    assert metadata["isPrivate"] is (wish != ["--public"])
    assert metadata["licenses"] == [{"name": "CC0-1.0" if wish[0] == "--licence" else "other"}]
