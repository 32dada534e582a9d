"""Credentials: in no output, in no staged file."""

import pytest

from dfutils.errors import PublishError
from dfutils.publishing.credentials import check_no_credentials, secrets, without_credentials

KEY, TOKEN = "0123456789abcdef", "KGAT_abcdef0123456789"
HUB_TOKEN = "hf_abcdefghijklmnopqrstuvwxyz01234567"


@pytest.fixture(autouse=True)
def signed_in(tmp_path, monkeypatch):
    """A key in the environment, another in kaggle.json, and a token in a file."""
    home = tmp_path / ".kaggle"
    home.mkdir()
    (home / "kaggle.json").write_text('{"username": "some-one", "key": "fedcba9876543210"}')
    (home / "access_token").write_text("opaque-token-of-a-file\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KAGGLE_CONFIG_DIR", raising=False)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    for name in ("HF_TOKEN_PATH", "HF_HOME", "HUGGING_FACE_HUB_TOKEN", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", HUB_TOKEN)
    hub = tmp_path / ".cache" / "huggingface"
    hub.mkdir(parents=True)
    (hub / "token").write_text("opaque-token-of-the-hub")


def test_all_places_that_the_client_looks_at_are_known():
    kaggle = {KEY, TOKEN, "fedcba9876543210", "opaque-token-of-a-file"}
    assert secrets() == {*kaggle, HUB_TOKEN, "opaque-token-of-the-hub"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"bad key {KEY}", "bad key ***"),
        ("somebody's KGAT_0000000000", "somebody's ***"),
        (f"somebody's hf_{'a' * 34}", "somebody's ***"),
        ("Authorization: Basic c29tZS1vbmU6MDEyMw==", "Authorization: ***"),
        ("PUT https://upload.example/x?upload_id=abc&sig=def failed", "PUT https://upload.example/x?… failed"),
        ("Is the key right? Look at owner/name.", "Is the key right? Look at owner/name."),
    ],
)
def test_what_is_shown_holds_no_credentials(said, shown):
    assert without_credentials(said) == shown


@pytest.mark.parametrize("content", [f"key = {KEY!r}", "token = 'KGAT_9999999999'", f"token = 'hf_{'b' * 34}'"])
def test_a_staged_notebook_with_a_key_in_it_is_refused(tmp_path, content):
    folder = tmp_path / "staged"
    folder.mkdir()
    (folder / "a.ipynb").write_text("nothing")
    check_no_credentials(folder)
    (folder / "b.ipynb").write_text(content)
    with pytest.raises(PublishError, match=r"b.ipynb: holds a key or token of Kaggle") as raised:
        check_no_credentials(folder)
    assert KEY not in str(raised.value)
