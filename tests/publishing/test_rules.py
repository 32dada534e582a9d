"""Kaggle's rules: every committed metadata file keeps them, and each broken one is named."""

import json
from pathlib import Path

import pytest
from slugify import slugify as kaggles_slugify

from dfutils.errors import PublishError
from dfutils.publishing.rules import (
    DATASET_FILE,
    MODEL_FILE,
    NOTEBOOK_FILE,
    VARIATION_FILE,
    check_dataset,
    check_model,
    check_notebook,
    slugify,
)
from dfutils.publishing.templates import owner_name, read_template

PROJECT = Path(__file__).parents[2]
METADATA = PROJECT / "kaggle-metadata"
DATASETS = sorted((METADATA / "datasets").glob(f"*/{DATASET_FILE}"))
NOTEBOOKS = sorted((METADATA / "notebooks").glob(f"*/{NOTEBOOK_FILE}"))
MODELS = sorted((METADATA / "models").glob(f"*/{MODEL_FILE}"))


def filled(path):
    return read_template(path, owner="some-one")


def test_nothing_else_lies_among_the_metadata():
    variations = [path.with_name(VARIATION_FILE) for path in MODELS]
    known = {*DATASETS, *NOTEBOOKS, *MODELS, *variations}
    assert {path for path in METADATA.rglob("*") if path.is_file()} == known
    assert [path.parent.name for path in DATASETS] == ["dfutils", "faces"]


@pytest.mark.parametrize("path", DATASETS, ids=lambda path: path.parent.name)
def test_committed_datasets_keep_the_rules_and_are_private(path):
    document = filled(path)
    check_dataset(document)
    assert document["isPrivate"] is True
    assert document["licenses"] == [{"name": "other"}]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.parent.name)
def test_committed_notebooks_keep_the_rules_offline_and_private(path):
    document = filled(path)
    check_notebook(document, PROJECT / "notebooks")
    assert document["code_file"] == f"{path.parent.name}.ipynb"
    assert (document["is_private"], document["enable_internet"]) == (True, False)
    assert document["enable_gpu"] is (path.parent.name == "03-train")
    assert document["machine_shape"] == ("NvidiaTeslaT4" if document["enable_gpu"] else "None")
    assert "some-one/dfutils" in document["dataset_sources"]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_committed_models_keep_the_rules_and_are_private(path):
    model = filled(path)
    check_model(model, filled(path.with_name(VARIATION_FILE)))
    assert model["isPrivate"] is True


@pytest.mark.parametrize("path", [*DATASETS, *NOTEBOOKS, *MODELS], ids=lambda path: path.parent.name)
def test_no_committed_file_names_an_owner(path):
    document = json.loads(path.read_text())
    check = {DATASET_FILE: check_dataset, NOTEBOOK_FILE: check_notebook}.get(path.name)
    with pytest.raises(PublishError, match="still says INSERT_OWNER_SLUG_HERE"):
        check(document) if check else check_model(document, filled(path.with_name(VARIATION_FILE)))


def test_every_notebook_has_metadata_and_reads_what_an_earlier_one_made():
    documents = [filled(path) for path in NOTEBOOKS]
    assert [path.parent.name for path in NOTEBOOKS] == sorted(path.stem for path in PROJECT.glob("notebooks/*.ipynb"))
    numbers = {document["id"]: n for n, document in enumerate(documents, 1)}
    feeding = {n: [numbers[source] for source in document["kernel_sources"]] for n, document in enumerate(documents, 1)}
    assert feeding == {1: [], 2: [1], 3: [2], 4: [3], 5: [3]}
    datasets = {filled(path)["id"] for path in DATASETS}
    assert {source for document in documents for source in document["dataset_sources"]} <= datasets


@pytest.mark.parametrize(
    "title",
    [
        "Deepfakes 3: Train a detector",
        "Made-up face crops",
        "  Ends in a dot. ",
        "Café 2 -- go!",
        "It's a test",
        "a_b c",
    ],
)
def test_titles_become_the_addresses_that_kaggles_client_expects(title):
    assert slugify(title) == kaggles_slugify(title)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "some-one"}, "'some-one' is not OWNER/NAME"),
        ({"id": "Some One/deepfake-motion-faces"}, "owner: 'Some One'"),
        ({"title": "Faces"}, "title: 'Faces' has 5 characters"),
        ({"title": "Other faces"}, "becomes 'other-faces' on Kaggle, not 'deepfake-motion-faces'"),
        ({"subtitle": "Too short"}, "subtitle: 'Too short' has 9 characters. Kaggle takes 20 to 80"),
        ({"subtitle": "x" * 81}, "81 characters"),
        ({"licenses": []}, "licenses: .. is not exactly one"),
        ({"licenses": [{"name": "MIT"}, {"name": "other"}]}, "is not exactly one"),
        ({"isPrivate": "true"}, "isPrivate is 'true'. Write a JSON true or false"),
        ({"isPrivate": None}, "isPrivate is missing"),
        ({"keywords": None}, "keywords is missing"),
        ({"licences": []}, "'licences' is no field"),
    ],
    ids=str,
)
def test_a_dataset_that_breaks_a_rule_is_refused(changes, message):
    with pytest.raises(PublishError, match=message):
        check_dataset(changed(filled(METADATA / "datasets" / "faces" / DATASET_FILE), changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"enable_internet": None}, "enable_internet is missing"),
        ({"enable_gpu": "true"}, "enable_gpu is 'true'"),
        ({"machine_shape": None}, "machine_shape is missing"),
        ({"machine_shape": "NvidiaTeslaT4x2"}, "'NvidiaTeslaT4x2' does not go with enable_gpu True"),
        ({"machine_shape": "NvidiaTeslaP100"}, "'NvidiaTeslaP100' does not go with enable_gpu True"),
        ({"enable_gpu": False}, "'NvidiaTeslaT4' does not go with enable_gpu False. Write None"),
        ({"machine_shape": "None"}, "'None' does not go with enable_gpu True"),
        ({"kernel_type": "script"}, "'script' is not 'notebook'"),
        ({"title": "Deepfakes 3"}, "becomes 'deepfakes-3'"),
        ({"dataset_sources": ["faces"]}, "'faces' is not OWNER/NAME"),
        ({"kernel_sources": ["some-one/abcd"]}, "'abcd' has 4 characters. Kaggle takes 5"),
        ({"model_sources": ["some-one/detector/keras/gru"]}, "Name all five"),
        ({"code_file": "elsewhere.ipynb"}, "elsewhere.ipynb: does not exist"),
        ({"docker_image": "gcr.io/…"}, "'docker_image' is no field"),
    ],
    ids=str,
)
def test_a_notebook_that_breaks_a_rule_is_refused(changes, message):
    document = filled(METADATA / "notebooks" / "03-train" / NOTEBOOK_FILE)
    with pytest.raises(PublishError, match=message):
        check_notebook(changed(document, changes), PROJECT / "notebooks")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"isPrivate": 1}, "isPrivate is 1"),
        ({"fineTunable": "false"}, "fineTunable is 'false'"),
        ({"modelInstanceType": "Base Model"}, "'Base Model' is unknown"),
        ({"licenseName": ""}, "licenseName: is empty"),
        ({"modelSlug": "another"}, "modelSlug: 'another' is not the model"),
        ({"instanceSlug": "inception_gru"}, "slug: 'inception_gru'"),
    ],
    ids=str,
)
def test_a_model_that_breaks_a_rule_is_refused(changes, message):
    folder = METADATA / "models" / "detector"
    model, variation = filled(folder / MODEL_FILE), filled(folder / VARIATION_FILE)
    of_model = {key: value for key, value in changes.items() if key in model}
    of_variation = {key: value for key, value in changes.items() if key in variation}
    with pytest.raises(PublishError, match=message):
        check_model({**model, **of_model}, {**variation, **of_variation})


def test_a_folder_is_checked_with_its_metadata(tmp_path):
    document = filled(METADATA / "datasets" / "faces" / DATASET_FILE)
    with pytest.raises(PublishError, match="holds no file to send"):
        check_dataset(document, tmp_path)
    (tmp_path / "manifest.csv").write_text("")
    with pytest.raises(PublishError, match="manifest.csv: is empty"):
        check_dataset(document, tmp_path)
    (tmp_path / "manifest.csv").write_text("clip_id")
    check_dataset(document, tmp_path)
    with pytest.raises(PublishError, match="frames.csv: does not exist"):
        check_dataset({**document, "resources": [{"path": "frames.csv"}]}, tmp_path)
    for n in range(50):
        (tmp_path / f"{n}.txt").write_text("more")
    with pytest.raises(PublishError, match="more than 50 files and folders at the top"):
        check_dataset(document, tmp_path)


def test_a_dataset_beyond_kaggles_size_is_refused(tmp_path):
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(201 * 10**9)  # a sparse file: no disk is filled
    with pytest.raises(PublishError, match="201 GB are more than Kaggle's 200 GB"):
        check_dataset(filled(METADATA / "datasets" / "faces" / DATASET_FILE), tmp_path)


def test_the_owner_is_the_one_who_is_signed_in_unless_another_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    with pytest.raises(PublishError, match="owner: is unknown. Give --owner"):
        owner_name(None)
    (tmp_path / "kaggle.json").write_text('{"username": "file-owner", "key": "0123456789"}')
    assert owner_name(None) == "file-owner"
    monkeypatch.setenv("KAGGLE_USERNAME", "shell-owner")
    assert owner_name(None) == "shell-owner"
    assert owner_name("given-owner") == "given-owner"


def changed(document, changes):
    """The document with values replaced, and those that are None taken out."""
    return {key: value for key, value in {**document, **changes}.items() if value is not None}
