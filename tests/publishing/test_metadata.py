"""Every committed metadata file keeps Kaggle's rules, and each broken rule is named."""

import json
from pathlib import Path

import pytest
from slugify import slugify as kaggles_slugify

from dfutils.errors import PublishError
from dfutils.publishing.metadata import (
    DATASET_FILE,
    MODEL_FILE,
    NOTEBOOK_FILE,
    VARIATION_FILE,
    check_metadata,
    read_metadata,
    slugify,
)

PROJECT = Path(__file__).parents[2]
METADATA = PROJECT / "kaggle-metadata"
FILES = sorted(path for path in METADATA.rglob("*") if path.is_file())
NOTEBOOKS = [path for path in FILES if path.name == NOTEBOOK_FILE]


def filled(path):
    return read_metadata(path, owner="some-one")


def test_a_metadata_file_that_holds_no_object_is_named(tmp_path):
    (tmp_path / "kaggle.json").write_text("[]")
    with pytest.raises(PublishError, match=r"kaggle\.json: is not a JSON object\. Restore the original file"):
        read_metadata(tmp_path / "kaggle.json")


def test_the_committed_files_are_those_of_two_datasets_a_model_and_every_notebook():
    names = sorted(path.stem for path in PROJECT.glob("notebooks/*.ipynb"))
    assert [path.relative_to(METADATA).as_posix() for path in FILES] == [
        *(f"datasets/{name}/{DATASET_FILE}" for name in ("dfutils", "faces")),
        *(f"models/detector/{name}" for name in (VARIATION_FILE, MODEL_FILE)),
        *(f"notebooks/{name}/{NOTEBOOK_FILE}" for name in names),
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_committed_files_keep_the_rules_are_private_and_name_no_owner(path):
    document = filled(path)
    check_metadata(path.name, document)
    assert document.get("isPrivate", document.get("is_private")) in ([None] if path.name == VARIATION_FILE else [True])
    assert document.get("licenses", [{"name": "other"}]) == [{"name": "other"}]
    with pytest.raises(PublishError, match="still says INSERT_OWNER_SLUG_HERE"):
        check_metadata(path.name, json.loads(path.read_text()))


def test_committed_notebooks_run_offline_only_training_has_gpus_and_each_reads_what_an_earlier_one_made():
    documents = [filled(path) for path in NOTEBOOKS]
    for path, document in zip(NOTEBOOKS, documents, strict=True):
        assert document["code_file"] == f"{path.parent.name}.ipynb"
        assert document["enable_internet"] is False
        assert document["enable_gpu"] is (path.parent.name == "03-train")
        assert document["machine_shape"] == ("NvidiaTeslaT4" if document["enable_gpu"] else "None")
        assert "some-one/dfutils" in document["dataset_sources"]
    numbers = {document["id"]: n for n, document in enumerate(documents, 1)}
    feeding = {n: [numbers[source] for source in document["kernel_sources"]] for n, document in enumerate(documents, 1)}
    assert feeding == {1: [], 2: [1], 3: [2], 4: [3], 5: [3]}
    datasets = {filled(path)["id"] for path in FILES if path.name == DATASET_FILE}
    assert {source for document in documents for source in document["dataset_sources"]} <= datasets


@pytest.mark.parametrize("title", ["Deepfakes 3: Train a detector", "  Ends in a dot. ", "Café 2 -- go!", "It's a_b c"])
def test_titles_become_the_addresses_that_kaggles_client_expects(title):
    assert slugify(title) == kaggles_slugify(title)


FACES, TRAIN, MODEL, VARIATION = (
    METADATA / place
    for place in (
        f"datasets/faces/{DATASET_FILE}",
        f"notebooks/03-train/{NOTEBOOK_FILE}",
        f"models/detector/{MODEL_FILE}",
        f"models/detector/{VARIATION_FILE}",
    )
)


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        (FACES, {"id": "some-one"}, "address: 'some-one' is not of the form OWNER/NAME"),
        (FACES, {"id": "Some One/deepfake-motion-faces"}, "address: 'Some One"),
        (FACES, {"id": "some-one/faces\n"}, "address: "),
        (FACES, {"id": "some-one/motion--faces"}, "single hyphens"),
        (FACES, {"id": "some-one/faces"}, "slug: 'faces' has 5 characters. Kaggle accepts 6 to 50"),
        (FACES, {"title": "Faces "}, "title: 'Faces ' has 5 characters"),
        (FACES, {"title": "F" * 51}, "title: .* has 51 characters"),
        (FACES, {"title": "Other faces"}, "becomes 'other-faces' on Kaggle, not 'deepfake-motion-faces'"),
        (FACES, {"subtitle": "Too short"}, "subtitle: 'Too short' has 9 characters. Kaggle accepts 20 to 80"),
        (FACES, {"licenses": [{"name": "MIT"}, {"name": "other"}]}, "is not exactly one"),
        (FACES, {"isPrivate": "true"}, "isPrivate is 'true'. Write a JSON bool"),
        (FACES, {"isPrivate": None}, "isPrivate is missing"),
        (TRAIN, {"enable_internet": None}, "enable_internet is missing"),
        (TRAIN, {"machine_shape": None}, "machine_shape is missing"),
        (TRAIN, {"machine_shape": "NvidiaTeslaP100"}, "'NvidiaTeslaP100' does not go with enable_gpu True"),
        (TRAIN, {"enable_gpu": False}, "'NvidiaTeslaT4' does not go with enable_gpu False. Write None"),
        (TRAIN, {"machine_shape": "None"}, "'None' does not go with enable_gpu True"),
        (TRAIN, {"title": "Deepfakes 3"}, "becomes 'deepfakes-3'"),
        (MODEL, {"isPrivate": 1}, "isPrivate is 1"),
        (MODEL, {"slug": "Detector"}, "address: 'some-one/Detector'"),
        (VARIATION, {"licenseName": None}, "licenseName is missing"),
    ],
    ids=str,
)
def test_a_broken_rule_is_named(path, changes, message):
    document = {key: value for key, value in {**filled(path), **changes}.items() if value is not None}
    with pytest.raises(PublishError, match=message):
        check_metadata(path.name, document)
