"""Datasets sent with the real client to a stub of Kaggle: what arrived is what was staged, or it is an error."""

import pytest
from stub import CUT, KEY, Holding, files_of, missing

from dfutils.errors import PublishError
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.metadata import DATASET_FILE
from dfutils.publishing.push import Terms, check_arrived, check_terms, push_dataset
from dfutils.publishing.staging import CREATE, stage_files

ID = "some-one/deepfake-motion-faces"
TAKEN = {"status": "error", "error": 'The requested title "Deepfake motion faces" is already in use by a dataset.'}
REFUSED = {"status": "error", "error": f"key {KEY} is bad"}


@pytest.fixture
def stage(tmp_path):
    """Stages a dataset of two files, one in a folder."""

    def call(**changes):
        source = tmp_path / "source"
        (source / "real" / "a").mkdir(parents=True)
        (source / "manifest.csv").write_bytes(b"clip_id\r\na\r\n")
        (source / "real" / "a" / "00.png").write_bytes(b"\x89PNG image")
        document = {"id": ID, "title": "Deepfake motion faces", "licenses": [{"name": "other"}], "isPrivate": True}
        files = {name: source / name for name in ("manifest.csv", "real/a/00.png")}
        document |= {"keywords": [], **changes}
        return stage_files(files, tmp_path / "small", document, source=source, notes="more clips")

    return call


def hold(stub, **settings):
    """A dataset on Kaggle: private, with licence other, unless its settings say otherwise."""
    stub.datasets[ID] = Holding(settings, [{"manifest.csv": b"old"}])


def push(staged, wait_seconds=20):
    return push_dataset(Kaggle(timeout_seconds=60, wait_seconds=wait_seconds), staged)


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


def test_a_public_version_replaces_what_was_public_there_and_is_waited_for(stub, stage):
    hold(stub, title="Faces that move", isPrivate=False, licenseName="CC0-1.0")
    # The old version is ready while the new one is not.
    stub.fail("GetDataset", None, {"currentVersionNumber": 1})
    staged = stage(isPrivate=False, licenses=[{"name": "CC0-1.0"}])
    lines = push(staged)
    assert stub.datasets[ID].versions[-1] == files_of(staged.folder, but=[DATASET_FILE])
    assert stub.called("CreateDatasetVersion")[0]["body"]["versionNotes"] == "more clips"
    assert len(stub.called("GetDataset")) == 3
    assert lines[0].startswith(f"{ID}: keeps its title 'Faces that move'; ")
    assert "is being created" in lines[1]
    assert lines[2].startswith(f"{ID}: ready, 2 files")


@pytest.mark.parametrize(
    ("held", "method", "answers", "reason"),
    [
        (False, "GetDatasetStatus", [CUT], "could not be queried .*Connection.*Check the network"),
        (False, "GetDatasetStatus", [(401, {"message": "no"})], "Authentication required.*kaggle auth login"),
        (False, "GetDatasetStatus", [(500, {})], "could not be queried .500"),
        (False, "CreateDataset", [TAKEN], "did not accept it .*already in use.*Choose another --title and --slug"),
        (False, "CreateDataset", [(500, {})], "did not accept it .500 Server Error"),
        (True, "CreateDatasetVersion", [REFUSED], r"did not accept it .Dataset version creation.*key \*\*\* is bad"),
        (False, "PUT", [(403, {})], "did not accept it .Upload unsuccessful: .*lacks that file"),
        (False, "GetDatasetStatus", [None, None, {"status": "FAILED"}], "could not process it .status failed"),
        (False, "ListDatasetFiles", [{"datasetFiles": []}], "0 files arrived, 2 were staged; 2 missing"),
    ],
    ids=str,
)
def test_whatever_fails_on_the_way_is_a_failure_in_one_line(*, stub, stage, held, method, answers, reason):
    if held:
        hold(stub)
    stub.fail(method, *answers)
    with pytest.raises(PublishError, match=f"^{ID}: .*{reason}") as raised:
        push(stage())
    assert KEY not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (missing("Dataset"), "private on Kaggle cannot be read. Nothing was sent"),
        ({"info": {"isPrivate": True}}, "private on Kaggle cannot be read. Nothing was sent"),
        (
            {"info": {"title": "t", "isPrivate": True, "licenses": [{"name": "CC0-1.0"}]}},
            "its licence on Kaggle is 'CC0-1.0', .*'other' was staged. Nothing was sent",
        ),
    ],
    ids=["missing", "incomplete", "another licence"],
)
def test_nothing_is_sent_to_a_dataset_with_unknown_or_other_terms(stub, stage, answer, reason):
    hold(stub)
    stub.fail("GetDatasetMetadata", answer)
    with pytest.raises(PublishError, match=f"^{ID}: .*{reason}"):
        push(stage())
    assert not stub.called("StartBlobUpload")


@pytest.mark.parametrize(
    ("there", "here", "reason"),
    [
        (Terms(True, "CC BY 4.0", "t"), Terms(True, "Attribution 4.0 International (CC BY 4.0)", "t"), None),
        (Terms(True, "Other (specified in description)", "t"), Terms(True, "other", "t"), None),
        (Terms(True, "LGPL-3.0", "t"), Terms(True, "GPL-3.0", "t"), "its licence on Kaggle is 'LGPL-3.0', "),
        (Terms(True, "unknown", "t"), Terms(True, "other", "t"), "its licence on Kaggle is 'unknown', "),
        (
            Terms(False, "other", "t"),
            Terms(True, "other", "t"),
            "is public on Kaggle, .* staged as private.*Make it pr",
        ),
        (Terms(True, "other", "t"), Terms(False, "other", "t"), "is private on Kaggle, .*Make it public on its page"),
    ],
    ids=["by its short name", "by its long name", "by a part of its name", "other", "public there", "private there"],
)
def test_a_version_has_the_visibility_and_the_licence_of_the_one_before(there, here, reason):
    if reason is None:
        assert check_terms("it", there, here) == []
    else:
        with pytest.raises(PublishError, match=f"^it: {reason}"):
            check_terms("it", there, here)


@pytest.mark.parametrize(
    ("arrived", "reason"),
    [({"b/c.png": 3}, r"1 of another size \(b/c.png\)"), ({"b/c.png": 2, "b.zip": 9}, r"1 not staged \(b.zip\)")],
    ids=["another size", "surplus"],
)
def test_only_the_same_names_and_sizes_have_arrived(arrived, reason):
    check_arrived("it", {"b/c.png": 2}, {"b/c.png": 2})
    with pytest.raises(PublishError, match=reason):
        check_arrived("it", {"b/c.png": 2}, arrived)


def test_a_connection_that_stays_cut_ends_in_a_clear_line(stub, stage):
    stub.fail("CreateDataset", *[CUT] * 20)
    with pytest.raises(PublishError, match=r"create: did not finish within 4 s.*repeat the command"):
        Kaggle(timeout_seconds=4).run(*stage().commands[CREATE])


def test_what_is_not_ready_in_time_is_no_success(stub, stage):
    stub.fail("GetDatasetStatus", None, None, {"status": "BLOBS_RECEIVED"})
    with pytest.raises(PublishError, match="not ready after 0 s .status blobs_received.. It was sent"):
        push(stage(), wait_seconds=0)
