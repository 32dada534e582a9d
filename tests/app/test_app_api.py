"""The page through its HTTP interface: what visitors get, and what attackers do not."""

import http.server
import json
import socket
import threading
import time
import zipfile
from base64 import b64decode
from io import BytesIO

import httpx
import pytest
from hostile_corpus import jpeg, png

pytest.importorskip("gradio", reason="the web page needs pip install '.[app]'")

from rounding import SCORE
from site_client import served

from dfutils.app.guard import HEADERS
from dfutils.app.limits import ServerLimits
from dfutils.report.verdict_words import of_a_hundred

LIMITS = ServerLimits(upload_megabytes=3, upload_seconds=2, max_pixels=2_000_000, max_seconds=30, uploads=3)
SCRIPT = '<img src=x onerror="alert(1)">.mp4'


@pytest.fixture(scope="module")
def client(demo_run):
    with served(demo_run, LIMITS) as client:
        yield client


@pytest.fixture
def elsewhere():
    """A server that should get no request, and the paths that were requested."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def uploads_of(client):
    return list(client.site.uploads.folder.iterdir())


def downloaded(result):
    """The JSON behind the page's download link."""
    content = result.partition("data:application/json;base64,")[2].partition('"')[0]
    return json.loads(b64decode(content))


def test_a_clip_gets_the_verdict_that_the_command_line_gives(client, demo_run, demo_videos):
    from dfutils import load_detector

    expected = load_detector(demo_run).predict(demo_videos[0])
    status, result = client.examine(client.upload(demo_videos[0].read_bytes()))
    (verdict,) = downloaded(result)["verdicts"]
    assert "Done" in status
    assert verdict["label"] == str(expected.label)
    assert verdict["fake_probability"] == pytest.approx(expected.fake_probability, abs=SCORE)
    assert f"{of_a_hundred(expected.fake_probability)} of 100 clips with such a score would be fake." in result
    assert "<svg" in result
    assert result.count("<img") == len({frame.time_seconds for frame in expected.tracks[0].frames})
    assert uploads_of(client) == []


def test_every_stage_is_shown(client, demo_videos):
    said = json.dumps(client.ask("examine", [{"path": client.upload(demo_videos[1].read_bytes())}]))
    assert "Step 1 of 2" in said


def test_an_upload_is_answered_once_and_then_deleted(client, demo_videos):
    token = client.upload(demo_videos[0].read_bytes())
    client.examine(token)
    status, result = client.examine(token)
    assert "There is no upload" in status
    assert result == ""


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../etc/passwd",
        "file:///etc/passwd",
        "",
        None,
        {"path": "/etc/passwd"},
        ["/etc/passwd"],
        "A" * 43 + ".mp4",
        "concat:/etc/passwd",
    ],
)
def test_only_the_token_of_an_upload_is_examined(client, path):
    status, result = client.examine(path)
    assert "There is no upload" in status
    assert result == ""


@pytest.mark.parametrize("route", ["file=", "file/", "proxy=", "stream/a/b/", "component_server/", "custom_component/"])
@pytest.mark.parametrize("name", ["/etc/passwd", "../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"])
def test_no_file_is_served(client, route, name):
    assert client.http.get(f"/gradio_api/{route}{name}").status_code == 404


def test_an_upload_cannot_be_fetched(client, demo_videos):
    token = client.upload(demo_videos[0].read_bytes())
    (path,) = uploads_of(client)
    for name in (token, path):
        assert client.http.get(f"/gradio_api/file={name}").status_code == 404
    assert path.stat().st_mode & 0o077 == 0
    client.examine(token)


def test_a_traversal_below_the_assets_finds_nothing(client):
    with socket.create_connection(client.http.base_url.netloc.decode().split(":")) as raw:
        raw.sendall(b"GET /assets/../../../../../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"404" in raw.recv(99)


@pytest.mark.parametrize(
    "route", ["run/examine", "api/examine", "call/examine", "vibe-edit", "stream/a", "login", "process_recording"]
)
def test_routes_that_the_page_does_not_need_are_closed(client, route):
    assert client.http.post(f"/gradio_api/{route}", json={"data": [None]}).status_code == 404


def test_no_address_is_fetched(client, elsewhere):
    address, asked = elsewhere
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/a.ts\n#EXT-X-ENDLIST\n".encode()
    for path, more in ((f"{address}/a.mp4", {}), ("x.mp4", {"url": f"{address}/b.mp4"}), (None, {})):
        client.examine(path, **more) if path else client.http.get(f"/gradio_api/file={address}/c.mp4")
    for name in ("a.m3u8", "a.mp4", "a.mpd"):
        _, result = client.examine(client.upload(playlist, name))
        assert "UNDECIDED" in result
    assert asked == []


def test_a_file_name_is_never_shown(client):
    status, result = client.examine(client.upload(b"no video", SCRIPT), orig_name=SCRIPT)
    assert "onerror" not in status + result
    assert "UNDECIDED" in result


def test_html_in_a_file_is_never_shown(client):
    _, result = client.examine(client.upload(b"<script>alert(1)</script>" * 99, "page.html"))
    assert "<script" not in result


def zipped():
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.mp4", b"0" * 999)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "could not be read"),
        (b"this is no video\n" * 40, "could not be read"),
        (zipped(), "could not be read"),
        (b"\xff\xd8\xff\xe0" + b"<?php system($_GET[0]); ?>" * 9, "could not be read"),
        (png(60_000, 60_000), "too large"),
        (jpeg(20_000, 20_000), "too large"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "could not be read"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(4000), "could not be read"),
    ],
    ids=["empty", "text", "zip", "polyglot", "huge png", "huge jpeg", "concat script", "hollow mp4"],
)
def test_hostile_content_is_undecided_with_its_reason(client, content, reason):
    status, result = client.examine(client.upload(content))
    assert "Done" in status
    assert "UNDECIDED" in result
    assert reason in result
    assert "/tmp" not in json.dumps(downloaded(result))
    assert client.site.uploads.folder.name not in json.dumps(downloaded(result))


def test_an_image_with_an_archive_behind_it_is_examined_as_an_image(client, demo_videos):
    import cv2

    from dfutils.extraction.video import iter_frames

    image = next(iter(iter_frames(demo_videos[0]))).image()
    content = cv2.imencode(".png", image[..., ::-1])[1].tobytes() + zipped()
    _, result = client.examine(client.upload(content, "polyglot.zip"))
    assert "The surroundings of the faces of this image were not examined" in result


def test_a_job_that_takes_too_long_is_aborted_and_the_next_is_served(demo_run, demo_videos):
    with served(demo_run, ServerLimits(job_seconds=0.05)) as hasty:
        for _ in range(2):
            status, result = hasty.examine(hasty.upload(demo_videos[0].read_bytes()))
            assert "too long" in result or "took more than" in status
            assert "FAKE:" not in result
            assert "REAL:" not in result
        assert uploads_of(hasty) == []


def test_more_than_the_size_limit_is_refused_while_it_arrives(client):
    assert client.post_file(bytes(4_000_000)).status_code == 413
    assert uploads_of(client) == []


def raw_request(client, head, body=b""):
    host, port = client.http.base_url.netloc.decode().split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(head + body)
        return raw.recv(400)


def test_a_huge_content_length_is_refused_before_the_body(client):
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    start = time.monotonic()
    assert b" 413 " in raw_request(client, head + b"Content-Length: 10000000000\r\n\r\n")
    assert time.monotonic() - start < LIMITS.upload_seconds


def test_a_body_without_a_length_is_counted(client):
    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
        for _ in range(500):
            yield bytes(100_000)

    try:
        answer = client.http.post(
            "/gradio_api/upload", content=endless(), headers={"content-type": "multipart/form-data; boundary=b"}
        )
    except httpx.WriteError:
        return  # the server hung up, which is as good
    assert answer.status_code == 413


def test_an_upload_that_the_visitor_aborts_is_one_line_in_the_log(client, caplog):
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    head += b"Content-Length: 100000\r\n\r\n"
    host, port = client.http.base_url.netloc.decode().split(":")
    with caplog.at_level("INFO", logger="dfutils.app.guard"):
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(head + b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\nabc')
        deadline = time.monotonic() + 20
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.05)
    (record,) = caplog.records
    assert record.getMessage() == "/gradio_api/upload: the client disconnected before the request was complete"
    assert record.exc_info is None


def test_a_slow_upload_is_aborted(client):
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    assert b" 408 " in raw_request(client, head + b"Content-Length: 1000\r\n\r\n", b"--b\r\n")


def test_a_request_that_is_not_an_upload_is_refused(client):
    assert client.http.post("/gradio_api/upload", content=b"x").status_code == 400
    two = [("files", ("a.mp4", b"a")), ("files", ("b.mp4", b"b"))]
    assert client.http.post("/gradio_api/upload", files=two).status_code == 400


def test_a_long_event_is_refused(client):
    assert client.http.post("/gradio_api/queue/join", content=b"[" * 100_000).status_code == 413


def test_uploads_do_not_fill_the_disk(client):
    tokens = [client.upload(b"x") for _ in range(LIMITS.uploads)]
    assert client.post_file(b"x").status_code == 503
    for token in tokens:
        client.examine(token)
    client.examine(client.upload(b"x"))


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"data": 5, "fn_index": 99}', b'{"data": [], "fn_index": "a"}'])
def test_errors_show_neither_trace_nor_path(client, body):
    answer = client.http.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    assert answer.status_code >= 400
    for secret in ("Traceback", "site-packages", "/tmp", ".py"):
        assert secret not in answer.text


@pytest.mark.parametrize("path", ["/", "/config", "/nowhere", "/gradio_api/file=/etc/passwd"])
def test_every_answer_has_the_security_headers(client, path):
    headers = client.http.get(path).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


def test_the_page_names_no_folder_of_the_server(client):
    for path in ("/", "/config", "/gradio_api/info"):
        text = client.http.get(path).text
        assert str(client.site.uploads.folder.parent / "dfutils") not in text
        assert "site-packages" not in text
