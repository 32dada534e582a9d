"""The page through its HTTP interface: what visitors get, and what attackers do not."""

import http.server
import itertools
import json
import re
import threading
from base64 import b64decode
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from html import unescape

import pytest

pytest.importorskip("gradio", reason="the web page needs pip install '.[app]'")

from rounding import SCORE
from site_client import hostile_files, raw_answer, secrets_in, served, uploads_of, wrong_outcomes

from dfutils import load_detector
from dfutils.app.guard import HEADERS
from dfutils.app.limits import ServerLimits
from dfutils.demo.examples import make_two_people_video
from dfutils.report.verdict_words import REASONS, of_a_hundred

LIMITS = ServerLimits(upload_megabytes=3, max_pixels=2_000_000, max_seconds=30, waiting=1)
"""One visitor waits while one is served. The long clip and the large images of the corpus are far above the limits."""


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


def verdict_of(result):
    """The verdict behind the page's download link."""
    content = result.partition("data:application/json;base64,")[2].partition('"')[0]
    (verdict,) = json.loads(b64decode(content))["verdicts"]
    return verdict


def test_a_clip_gets_the_verdict_that_the_command_line_gives_and_is_deleted(client, demo_run, demo_videos):
    expected, heard = load_detector(demo_run).predict(demo_videos[0]), []
    token = client.upload(demo_videos[0].read_bytes())
    status, result = client.examine(token, heard=lambda message: heard.append(str(message)))
    assert "Step 1 of 2" in "".join(heard)
    assert "Done" in status
    verdict = verdict_of(result)
    assert verdict["label"] == str(expected.label)
    assert verdict["fake_probability"] == pytest.approx(expected.fake_probability, abs=SCORE)
    assert f"{of_a_hundred(expected.fake_probability)} of 100 clips with such a score would be fake." in result
    assert "<svg" in result
    assert result.count("<img") == len({frame.time_seconds for frame in expected.tracks[0].frames})
    assert uploads_of(client) == []
    status, result = client.examine(token)
    assert ("There is no upload" in status, result) == (True, "")


def test_two_people_are_shown_with_a_score_each(client, tmp_path):
    _, result = client.examine(client.upload(make_two_people_video(tmp_path / "two.mp4").read_bytes()))
    assert len(verdict_of(result)["tracks"]) == 2
    sections = re.findall(r"<section><h3>Person (\d)</h3>(.*?)</section>", result)
    assert sorted(number for number, _ in sections) == ["1", "2"]
    assert all("% probability of FAKE" in section and "<img" in section for _, section in sections)


def test_a_full_queue_refuses_visitors_and_a_waiting_visitor_sees_the_position(client, demo_videos, held):
    content, has_place = demo_videos[0].read_bytes(), threading.Event()

    def hear(message):
        if "you are number 1 in the queue" in str(message):
            has_place.set()

    with ThreadPoolExecutor(3) as visitors:
        try:
            first = visitors.submit(client.examine, client.upload(content))
            assert held.begun.wait(60)
            others = [visitors.submit(client.examine, client.upload(content), heard=hear) for _ in range(2)]
            (refused,), (waiting,) = wait(others, 60, FIRST_COMPLETED)
            assert has_place.wait(60)
        finally:
            held.set()
    status, result = refused.result()
    assert "Busy: 1 person is waiting already" in status
    assert result == ""
    for one in (first, waiting):
        assert verdict_of(one.result()[1])["fake_probability"] is not None


@pytest.mark.parametrize(
    "path", [None, "", "/etc/passwd", "../../../../etc/passwd", {"path": "/etc/passwd"}, "A" * 43 + ".mp4"]
)
def test_only_the_token_of_an_upload_is_examined(client, path):
    status, result = client.examine(path)
    assert "There is no upload" in status
    assert result == ""


def test_what_the_page_does_not_need_is_not_found(client):
    routes = ("file=", "file/", "proxy=", "stream/a/b/", "component_server/", "custom_component/")
    names = ("/etc/passwd", "../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "//etc/passwd")
    for route, name in itertools.product(routes, names):
        assert client.http.get(f"/gradio_api/{route}{name}").status_code == 404, route + name
    for route in ("run/examine", "api/examine", "call/examine", "vibe-edit", "stream/a", "login", "process_recording"):
        assert client.http.post(f"/gradio_api/{route}", json={"data": [None]}).status_code == 404, route
    # httpx would tidy this path up before it sends it.
    traversal = b"GET /assets/../../../../../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert raw_answer(client, traversal).startswith(b"HTTP/1.1 404 ")


def test_an_upload_cannot_be_fetched(client, demo_videos):
    token = client.upload(demo_videos[0].read_bytes())
    (path,) = uploads_of(client)
    for name in (token, path):
        assert client.http.get(f"/gradio_api/file={name}").status_code == 404
    assert path.stat().st_mode & 0o077 == 0
    client.examine(token)


def test_no_address_is_fetched(client, elsewhere):
    address, asked = elsewhere
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/a.ts\n#EXT-X-ENDLIST\n".encode()
    client.examine(f"{address}/a.mp4")
    client.examine("x.mp4", url=f"{address}/b.mp4")
    client.http.get(f"/gradio_api/file={address}/c.mp4")
    for name in ("a.m3u8", "a.mp4", "a.mpd"):
        _, result = client.examine(client.upload(playlist, name))
        assert "UNDECIDED" in result
    assert asked == []


def test_neither_the_name_of_a_file_nor_html_in_it_is_shown(client):
    name = '<img src=x onerror="alert(1)">.mp4'
    status, result = client.examine(client.upload(b"<script>alert(1)</script>" * 99, name), orig_name=name)
    assert "UNDECIDED" in result
    assert "onerror" not in status + result
    assert "<script" not in result


def test_an_upload_of_another_size_or_form_is_refused_and_not_stored(client):
    """What the page and the API have in common is tested in test_http_api.py."""
    assert client.post_file(bytes(4_000_000)).status_code == 413
    assert client.http.post("/gradio_api/upload", content=b"x").status_code == 400
    two = [("files", ("a.mp4", b"a")), ("files", ("b.mp4", b"b"))]
    assert client.http.post("/gradio_api/upload", files=two).status_code == 400
    assert uploads_of(client) == []


def test_an_event_that_the_page_does_not_send_is_refused_without_trace_or_path(client):
    assert client.http.post("/gradio_api/queue/join", content=b"[" * 100_000).status_code == 413
    for body in (b"{", b"[]", b'{"data": 5, "fn_index": 99}', b'{"data": [], "fn_index": "a"}'):
        answer = client.http.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
        assert answer.status_code >= 400
        assert secrets_in(answer.text, client) == []
        assert ".py" not in answer.text


def test_every_answer_has_the_security_headers(client):
    for path in ("/", "/config", "/nowhere", "/gradio_api/file=/etc/passwd"):
        headers = client.http.get(path).headers
        assert {name: headers.get(name) for name in HEADERS} == HEADERS
        assert "server" not in headers
    assert "default-src 'self'" in HEADERS["content-security-policy"]
    assert (HEADERS["x-content-type-options"], HEADERS["referrer-policy"]) == ("nosniff", "no-referrer")


def test_the_page_names_no_folder_of_the_server(client):
    for path in ("/", "/config", "/gradio_api/info"):
        text = client.http.get(path).text
        assert str(client.site.uploads.folder.parent / "dfutils") not in text
        assert "site-packages" not in text


@pytest.fixture(scope="module")
def corpus(client, demo_videos, tmp_path_factory):
    """The outcomes that are right for each file of the corpus, and what the page showed: ``(status, result)``."""
    right, files = hostile_files(tmp_path_factory.mktemp("corpus"), demo_videos[1])
    shown = {name: client.examine(client.upload(path.read_bytes(), path.name)) for name, path in files.items()}
    return right, shown


def test_every_file_of_the_corpus_gets_the_right_outcome(corpus):
    right, shown = corpus
    assert wrong_outcomes(right, {name: verdict_of(result)["reason"] for name, (_, result) in shown.items()}) == {}
    assert "too large: longer than 30 s. Cut it, or scale it down." in shown["real/too-long.mkv"][1]
    assert "The surroundings of the faces of this image were not examined" in shown["real/photo.png"][1]


def test_a_file_without_a_score_is_undecided_and_the_page_says_why(corpus):
    for _, result in corpus[1].values():
        verdict = verdict_of(result)
        if verdict["fake_probability"] is None:
            assert verdict["label"] == "UNDECIDED"
            assert "UNDECIDED: no verdict" in result
            assert REASONS[verdict["reason"]].partition("{")[0] in unescape(result)
            assert verdict["detail"].endswith(".")
        else:
            assert f"{verdict['label']}: " in result


def test_no_answer_to_the_corpus_names_a_path_and_the_server_runs_on_and_stores_nothing(client, corpus, demo_videos):
    for status, result in corpus[1].values():
        text = status + re.sub(r'"data:[^"]*"', "", result) + json.dumps(verdict_of(result))
        assert secrets_in(text, client) == []
    _, result = client.examine(client.upload(demo_videos[0].read_bytes()))
    assert verdict_of(result)["fake_probability"] is not None
    assert uploads_of(client) == []
