"""Inputs that are URLs have the verdicts of their files, and leave no copy behind."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("openvino")
pytest.importorskip("aiohttp")

import fsspec

from dfutils.cli import main
from dfutils.errors import DfutilsError
from dfutils.extraction import remote
from dfutils.extraction.shards import WHOLE
from dfutils.prediction.archive import predict_archive, read_archive
from dfutils.prediction.verdict_folder import read_verdicts


@pytest.fixture(scope="module")
def memory(demo_videos):
    """A folder of fsspec's in-memory file system: a clip, and a file that is none."""
    system = fsspec.filesystem("memory")
    system.pipe("/films/clip.mp4", demo_videos[0].read_bytes())
    system.pipe("/films/notes.mp4", b"no video")
    yield "memory://films"
    system.rm("/films", recursive=True)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def http(demo_videos):
    """The demo's videos on a local web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=demo_videos[0].parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def own_temporary(tmp_path, monkeypatch):
    """Temporary files go where the test can count them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def test_a_url_has_the_verdict_of_its_file(detector, memory, http, demo_videos):
    ours = detector.predict(demo_videos[0])
    for url in (f"{memory}/clip.mp4", f"{http}/{demo_videos[0].name}"):
        verdict = detector.predict(url)
        assert verdict.input == url
        assert (verdict.fake_probability, verdict.label, verdict.tracks) == (
            ours.fake_probability,
            ours.label,
            ours.tracks,
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [("notes.mp4", "cannot be read as a video (8 bytes"), ("none.mp4", "is not there, or its server does not answer")],
)
def test_what_cannot_be_fetched_or_read_is_undecided(name, said, detector, memory):
    verdict = detector.predict(f"{memory}/{name}")
    assert (verdict.label, verdict.reason) == ("UNDECIDED", "unreadable")
    assert verdict.detail.startswith(said)  # and no temporary name


def test_a_file_system_that_fails_is_told(detector, memory, monkeypatch):
    def fail(*_, **__):
        raise OSError("connection reset")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "open", fail)
    assert detector.predict(f"{memory}/clip.mp4").detail.startswith("cannot be fetched (OSError: connection reset).")


def test_a_file_above_the_limit_is_not_kept(detector, memory, monkeypatch):
    monkeypatch.setattr(remote, "MOST_BYTES", 10)
    verdict = detector.predict(f"{memory}/clip.mp4")
    assert (verdict.reason, verdict.detail) == ("too_large", "has more than 10 bytes. Cut it, or copy it here.")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("odd://films/clip.mp4", "is not an address of a known kind"),
        ("simplecache::memory://films/clip.mp4", "is a chain of addresses"),
        ("http://127.0.0.1:9/clip.mp4", "is not there, or its server does not answer"),
    ],
)
def test_other_addresses_are_refused_with_the_reason(url, said, detector):
    if url.startswith("simplecache"):  # not a URL by itself
        url = f"memory://{url}"
    verdict = detector.predict(url)
    assert verdict.reason == "unreadable"
    assert said in verdict.detail


def test_a_kind_that_is_not_installed_is_named(detector):
    with pytest.raises(
        DfutilsError, match=r"s3://films/clip\.mp4: addresses need fsspec, .*\[remote\].*; for s3:// also s3fs"
    ):
        detector.predict("s3://films/clip.mp4")


def test_a_manifest_may_name_urls(detector, memory, tmp_path):
    (tmp_path / "archive.csv").write_text(f"file\n{memory}/clip.mp4\n{memory}/notes.mp4\n{memory}/none.mp4\n")
    folder = tmp_path / "verdicts"
    for _ in range(3):
        predict_archive(
            detector, read_archive(tmp_path / "archive.csv"), folder, shard=WHOLE, retry_errors=True, progress=False
        )
    rows = {row["input"]: row["status"] for row in read_verdicts(folder)}
    assert rows == {f"{memory}/clip.mp4": "scored", f"{memory}/notes.mp4": "quarantined", f"{memory}/none.mp4": "error"}


def test_a_report_needs_the_file_itself(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["predict", "https://example.org/a.mp4", "--report", str(tmp_path / "a.html")])
    assert ended.value.code == 2
    assert "download it first" in capsys.readouterr().err
