import hashlib
import os
import urllib.request
from dataclasses import replace

import pytest

from dfutils import weights
from dfutils.errors import WeightsError
from dfutils.weights import WeightFile, cache_folder, find_weights

CONTENT = b"these are weights"


@pytest.fixture
def known(monkeypatch, tmp_path):
    """A known file called ``toy``, which is nowhere yet."""
    toy = WeightFile("toy.bin", len(CONTENT), f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", "made for this test")
    monkeypatch.setitem(weights.WEIGHT_FILES, "toy", toy)
    monkeypatch.setenv("DFUTILS_WEIGHTS", "")
    monkeypatch.setenv("DFUTILS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DFUTILS_KAGGLE_INPUT", str(tmp_path / "kaggle"))
    return toy


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "place",
    [
        *("first/toy.bin", "second/toy.bin", "cache/weights/toy.bin"),
        *("kaggle/datasets/owner/slug/toy.bin", "kaggle/slug/toy.bin"),
    ],
)
def test_a_file_is_found_in_every_place_it_may_be(known, monkeypatch, tmp_path, place):
    monkeypatch.setenv("DFUTILS_WEIGHTS", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    path = put(tmp_path / place)
    assert find_weights("toy") == path


def test_an_altered_file_is_refused(known, tmp_path):
    put(tmp_path / "cache/weights/toy.bin", b"these are other weights")
    with pytest.raises(WeightsError, match="is not toy.bin"):
        find_weights("toy")


def test_a_file_that_cannot_be_opened_is_named(known, tmp_path):
    (tmp_path / "cache/weights/toy.bin").mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"toy\.bin: cannot be read \(Is a directory\)\. Go without; or check its"):
        find_weights("toy", without_it="go without")


def test_a_missing_file_is_named_with_the_reason_and_ways_to_get_it(known, monkeypatch):
    with pytest.raises(WeightsError, match=r": not on this machine\. Put the file into .*cache/weights or a folder"):
        find_weights("toy")
    monkeypatch.setitem(weights.WEIGHT_FILES, "toy", replace(known, url="http://127.0.0.1:9/toy.bin"))
    with pytest.raises(WeightsError, match=r"and DFUTILS_OFFLINE is set.*\. Unset DFUTILS_OFFLINE"):
        find_weights("toy")
    monkeypatch.delenv("DFUTILS_OFFLINE")
    monkeypatch.setattr(urllib.request, "_opener", None)
    with pytest.raises(WeightsError, match=r"their download failed \(.*\)\. Download http://127\S+/toy\.bin and put"):
        find_weights("toy")


@pytest.mark.parametrize(("served", "fits"), [(CONTENT, True), (b"a page that says no", False)])
def test_a_download_is_kept_only_when_its_checksum_fits(known, monkeypatch, tmp_path, served, fits):
    url = put(tmp_path / "published" / "toy.bin", served).as_uri()
    monkeypatch.setitem(weights.WEIGHT_FILES, "toy", replace(known, url=url))
    monkeypatch.delenv("DFUTILS_OFFLINE")
    if fits:
        assert find_weights("toy").read_bytes() == CONTENT
    else:
        with pytest.raises(WeightsError, match="is not toy.bin"):
            find_weights("toy")
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == (["toy.bin"] if fits else [])


def test_the_cache_is_temporary_where_the_home_folder_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.delenv("DFUTILS_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dfutils"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr("os.access", lambda _path, mode: mode != os.W_OK)
    assert cache_folder().parent == tmp_path / "tmp"
