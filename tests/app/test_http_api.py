"""The HTTP API on a real port: what programs get, and what hostile ones do not."""

import contextlib
import functools
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pytest
from site_client import (
    UNFINISHED,
    ApiClient,
    Client,
    hostile_files,
    raw_answer,
    raw_request,
    secrets_in,
    served,
    uploads_of,
    wrong_outcomes,
)

import dfutils
from dfutils.app import service as service_module
from dfutils.app.access import ApiKeys, RateLimit
from dfutils.app.documents import EXAMPLES, VerdictDocument
from dfutils.app.kept import Kept
from dfutils.app.limits import ServerLimits
from dfutils.app.service import NOT_LOADED, STOPPING
from dfutils.cli import main
from dfutils.errors import ServeError
from dfutils.extraction.video import iter_frames
from dfutils.prediction.detector import Detector

LIMITS = ServerLimits(upload_megabytes=3, upload_seconds=20, max_pixels=2_000_000, max_seconds=30, per_minute=100_000)
KEYS = "first-key-of-this-test", "other-key-of-this-test"
FORM = {"content-type": "multipart/form-data; boundary=b"}
HEAD = b"POST /v1/verdicts%s HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\nabc\r\n'
FILE = PART % (b"file", b'; filename="a.mp4"')


@pytest.fixture(scope="module")
def api_of(demo_run):
    """Serve the API with the run of the demo, whose crops are small: it scores a file in no time."""

    def serve(limits=LIMITS, **more):
        return served(demo_run, limits, page=False, api=True, **more)

    return serve


@pytest.fixture(scope="module")
def client(api_of):
    with api_of() as client:
        yield client


@pytest.fixture(scope="module")
def clip(demo_videos):
    return demo_videos[1]


@pytest.fixture(scope="module")
def photo(clip):
    return cv2.imencode(".png", next(iter_frames(clip)).image()[..., ::-1])[1].tobytes()


def refused(answer, status):
    """Return the text of a refusal, after checking its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert set(document) == {"status", "error"}
    assert document["status"] == status
    return document["error"]


def test_a_file_gets_the_very_document_that_predict_prints(client, clip, demo_run, tmp_path, capsys):
    for content, reason in ((clip.read_bytes(), "ok"), (b"this is no video\n" * 40, "unreadable")):
        (tmp_path / "clip.mp4").write_bytes(content)
        with contextlib.chdir(tmp_path):
            assert main(["predict", "clip.mp4", "--json", "--model", str(demo_run)]) == 0
        answer = client.send(content, "clip.mp4", wait=60)
        assert answer.status_code == 200
        assert answer.text + "\n" == capsys.readouterr().out
        assert answer.json()["verdicts"][0]["reason"] == reason
        assert client.http.get(answer.headers["location"]).text == answer.text
        assert uploads_of(client) == []
        VerdictDocument.model_validate(answer.json())


def test_without_waiting_a_client_learns_where_the_verdict_will_be(client, photo, held):
    answer = client.send(photo, "photo.png")
    assert answer.status_code == 202
    assert answer.json()["id"] in answer.headers["location"]
    assert answer.json()["position"] == 0
    assert "Step 1 of 2" in answer.json()["progress"]
    assert answer.headers["retry-after"] == "1"
    started = time.monotonic()
    again = client.http.get(answer.headers["location"], params={"wait": 0.3})
    assert again.status_code == 202
    assert time.monotonic() - started >= 0.3
    held.set()
    done = client.http.get(answer.headers["location"], params={"wait": 60})
    assert done.status_code == 200
    assert done.json()["verdicts"][0]["input"] == "photo.png"


def test_a_verdict_is_forgotten_on_request(client):
    place = client.send(b"text", wait=60).headers["location"]
    assert client.http.get(place).status_code == 200
    assert client.http.delete(place).status_code == 204
    for ask in (client.http.get, client.http.delete):
        assert "There is no verdict with this id" in refused(ask(place), 404)


def test_a_file_that_waits_is_not_examined_after_its_verdict_was_deleted(client, photo, held):
    first = client.send(photo)
    assert held.begun.wait(60)
    second = client.send(photo)
    assert second.json()["position"] == 1
    assert second.json()["progress"] == "Busy: you are number 1 in the queue"
    assert client.http.delete(second.headers["location"]).status_code == 204
    client.wait_for("dfutils_queue_files", 1)
    client.wait_for("dfutils_uploads_stored", 1)
    held.set()
    assert client.http.get(first.headers["location"], params={"wait": 60}).status_code == 200


def test_the_oldest_verdicts_are_forgotten(api_of):
    with api_of(ServerLimits(results=1)) as small:
        first, second = (small.send(b"text", wait=60).headers["location"] for _ in range(2))
        small.wait_for("dfutils_verdicts_kept", 1)
        refused(small.http.get(first), 404)
        assert small.http.get(second).status_code == 200


def test_values_are_kept_for_a_bounded_time_and_number(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    kept = Kept(most=2, seconds=10)
    for name in "abc":
        kept.put(name, name.upper())
    assert [kept.get(name) for name in "abc"] == [None, "B", "C"]
    now[0] += 10.5
    assert kept.get("c") is None
    assert len(kept) == 0


def test_two_clients_that_know_no_key_or_another_one_see_nothing(api_of, photo, caplog):
    with caplog.at_level(logging.DEBUG), api_of(keys=ApiKeys(KEYS)) as stranger:
        owner, other = (ApiClient(stranger.address, key=key) for key in KEYS)
        wrong = ApiClient(stranger.address, key=KEYS[0][:-1])
        place = owner.send(photo, wait=60).headers["location"]
        for client in (stranger, wrong):
            for answer in (
                *(client.send(photo), client.http.get(place), client.http.delete(place)),
                *(client.http.get("/v1/detector"), client.http.get("/metrics")),
            ):
                assert "The API key is missing or wrong" in refused(answer, 401)
                assert answer.headers["www-authenticate"] == "Bearer"
            assert client.http.get("/healthz").status_code == 200
            assert client.http.get("/openapi.json").json()["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        refused(other.http.get(place), 404)
        refused(other.http.delete(place), 404)
        assert owner.http.get(place).status_code == 200
        assert owner.figures()[("dfutils_http_requests_total", "POST", "/v1/verdicts", "401")] == 2
        shown = owner.http.get("/metrics").text + caplog.text
        assert [key for key in (*KEYS, KEYS[0][:-1]) if key in shown] == []
        # A program that waits for a sign before it sends the file need not send it.
        said = raw_answer(stranger, HEAD % b"" + b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in said
        for one in (owner, other, wrong):
            one.http.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n \n", "has no API key"),
        (b"a-key-that-is-long-enough\nshort\n", "line 2 is not an API key (5 characters)"),
        (b"two words that are long enough\n", "line 1 is not an API key (30 characters)"),
        (b"\xff\xfe\x00", "is not a text file"),
    ],
)
def test_a_file_without_good_keys_is_an_error_that_shows_none(tmp_path, capsys, content, said):
    keys = tmp_path / "keys.txt"
    keys.write_bytes(content)
    assert main(["serve", "--api-keys", str(keys)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "words" not in error
    assert "short" not in error


def test_keys_are_one_per_line(tmp_path):
    keys = tmp_path / "keys.txt"
    keys.write_text(f"\n{KEYS[0]}  \n\n{KEYS[1]}\r\n")
    read = ApiKeys.read(keys)
    owners = [read.owner(key) for key in (*KEYS, "", "third-key-of-this-test", KEYS[0] + "\ud800")]
    assert owners[0] != owners[1]
    assert None not in owners[:2]
    assert owners[2:] == [None, None, None]
    with pytest.raises(ServeError, match=r"cannot be read \(No such file or directory\)"):
        ApiKeys.read(tmp_path / "other.txt")


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org"])
def test_other_machines_are_served_only_with_keys(host, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["serve", "--host", host])
    error = capsys.readouterr().err
    assert f"other machines can reach {host}" in error
    assert "--api-keys FILE" in error


def test_a_port_in_use_is_an_error(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert f"127.0.0.1:{port}: cannot be served (Address already in use)" in capsys.readouterr().err


def test_an_unknown_model_or_limit_is_an_error_at_once(tmp_path, capsys):
    (tmp_path / "limits.json").write_text('{"upload_gigabytes": 1}')
    for words, said in (
        ("--model no-such-run", "no-such-run: is neither a run folder nor a detector"),
        (f"--settings {tmp_path}/limits.json", "limits.json: upload_gigabytes: "),
    ):
        assert main(["serve", "--port", "0", *words.split()]) == 1
        assert said in capsys.readouterr().err


def test_each_client_has_its_own_rate(api_of):
    with api_of(LIMITS.model_copy(update={"per_minute": 2}), keys=ApiKeys(KEYS)) as server:
        first, second = (ApiClient(server.address, key=key) for key in KEYS)
        assert [first.send(b"text").status_code for _ in range(2)] == [202, 202]
        answer = first.send(b"text")
        assert "More than 2 files in a minute. Try again in " in refused(answer, 429)
        assert 0 < int(answer.headers["retry-after"]) <= 30
        assert second.send(b"text", wait=60).status_code == 200
        assert uploads_of(server) == []  # the others were examined before
        for one in (first, second):
            one.http.close()


def test_without_keys_each_address_has_its_own_rate(api_of):
    with api_of(LIMITS.model_copy(update={"per_minute": 1})) as server:
        # A proxy on this machine says for whom it asks.
        answers = [
            server.send(b"text", wait=60, headers={"x-forwarded-for": address}).status_code
            for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2")
        ]
    assert answers == [200, 429, 200]


def test_a_client_may_ask_again_as_the_minute_passes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rate = RateLimit(per_minute=6)
    assert [rate.seconds_to_wait("a") for _ in range(7)] == [0, 0, 0, 0, 0, 0, pytest.approx(10)]
    now[0] = 9.0
    assert rate.seconds_to_wait("a") == pytest.approx(1)
    now[0] = 10.5
    assert rate.seconds_to_wait("a") == 0
    assert rate.seconds_to_wait("a") > 0
    now[0] = 1000.0
    assert [rate.seconds_to_wait("a") > 0 for _ in range(7)] == [False] * 6 + [True]


def test_a_file_that_is_too_large_is_refused_and_not_stored_whatever_its_length_is_said_to_be(client):
    said = "Larger than 3 MB. Cut the clip or scale it down."
    assert refused(client.send(bytes(4_000_000)), 413) == said
    assert refused(client.send(bytes(3_000_001)), 413) == said  # the form alone would be small enough

    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(500):
            yield bytes(100_000)

    with contextlib.suppress(OSError):  # the server may hang up before the client has looked
        assert refused(client.http.post("/v1/verdicts", content=endless(), headers=FORM), 413) == said
    start = time.monotonic()
    answer = raw_answer(client, HEAD % b"" + b"Content-Length: 10000000000\r\n\r\n")  # and no body
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert said.encode() in answer
    assert time.monotonic() - start < LIMITS.upload_seconds
    assert uploads_of(client) == []


@pytest.mark.filterwarnings(UNFINISHED)
@pytest.mark.parametrize(
    ("status", "said", "request_"),
    [
        (415, "Received: 'text/plain'", {"content": b"x", "headers": {"content-type": "text/plain"}}),
        (415, "Received: ''", {"content": b"x"}),
        (400, "not an upload of a single file", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
        (400, "not an upload of a single file", {"content": b"nonsense", "headers": FORM}),
        (400, "not an upload of a single file", {"content": FILE * 2 + b"--b--", "headers": FORM}),
        (422, "Received: nothing", {"content": b"--b--\r\n", "headers": FORM}),
        (422, "one file, named 'file'", {"content": PART % (b"file", b"") + b"--b--\r\n", "headers": FORM}),
        (422, "Received: 'movie'", {"files": {"movie": ("a.mp4", b"abc")}}),
        (422, "Received: 'file', 'label'", {"files": {"file": ("a.mp4", b"abc")}, "data": {"label": "FAKE"}}),
        *(
            (422, f"wait: input should be {rule}", {"files": {"file": ("a.mp4", b"")}, "params": {"wait": wait}})
            for wait, rule in {"-1": "greater", "61": "less", "nan": "a finite", "long": "a valid number"}.items()
        ),
    ],
)
def test_a_request_that_is_no_upload_is_refused_with_its_reason(client, status, said, request_):
    assert said in refused(client.http.post("/v1/verdicts", **request_), status)
    assert uploads_of(client) == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", path, 404) for path in ("/v1/", "/v1/verdicts/..%2f..", "/v1/verdicts/a", "/v1/a/b")),
        *(("PUT", path, 405) for path in ("/v1/verdicts", "/v1/verdicts/a", "/healthz")),
        ("POST", "/v1/detector", 405),
    ],
)
def test_what_the_api_does_not_have_is_refused_as_json(client, method, path, status):
    answer = client.http.request(method, path)
    assert refused(answer, status)
    assert ("allow" in answer.headers) == (status == 405)


def test_there_is_no_page_unless_it_is_asked_for(client):
    for path in ("/", "/config", "/gradio_api/info", "/docs"):
        assert "/openapi.json describes what is" in refused(client.http.get(path), 404)
    refused(client.http.post("/gradio_api/upload", files={"files": ("a.mp4", b"abc")}), 404)
    assert uploads_of(client) == []


@pytest.mark.parametrize(
    ("sent", "name", "charset"),
    [
        (b"a/b\\c.mp4", "c.mp4", ""),
        (b"../../", "upload", ""),
        (b"x" * 300 + b".mp4", "x" * 200, ""),
        ("é\u202e.mp4".encode(), "é\u202e.mp4", ""),
        (b"\\ud800.mp4", "?.mp4", "; charset=unicode_escape"),  # half a character
    ],
)
def test_a_verdict_names_the_file_without_folders(client, sent, name, charset):
    part = PART % (b"file", b'; filename="' + sent.replace(b"\\", b"\\\\") + b'"')
    headers = {"content-type": FORM["content-type"] + charset}
    answer = client.http.post("/v1/verdicts?wait=60", content=part + b"--b--\r\n", headers=headers)
    assert answer.json()["verdicts"][0]["input"] == name


def test_many_clients_at_once_are_all_answered(client, photo):
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda number: client.send(photo, f"{number}.png", wait=60), range(12)))
    assert [answer.status_code for answer in answers] == [200] * 12
    verdicts = [answer.json()["verdicts"][0] for answer in answers]
    assert [verdict["input"] for verdict in verdicts] == [f"{number}.png" for number in range(12)]
    assert len({verdict["fake_probability"] for verdict in verdicts}) == 1
    assert uploads_of(client) == []


def test_more_clients_than_may_wait_are_told_to_come_back(api_of, photo, held):
    with api_of(LIMITS.model_copy(update={"waiting": 2})) as small:
        answers = [small.send(photo) for _ in range(6)]
        accepted = [answer for answer in answers if answer.status_code == 202]
        others = [answer for answer in answers if answer.status_code != 202]
        assert len(accepted) == 3
        for answer in others:
            assert refused(answer, 503) == "Busy: 2 people are waiting already. Please try again in a few minutes."
            assert int(answer.headers["retry-after"]) > 0
        assert len(uploads_of(small)) == 3
        held.set()
        for answer in accepted:
            assert small.http.get(answer.headers["location"], params={"wait": 60}).status_code == 200
        assert small.send(photo, wait=60).status_code == 200


def test_uploads_do_not_fill_the_disk(api_of, photo, held):
    with api_of(LIMITS.model_copy(update={"uploads": 1})) as small:
        first = small.send(photo)
        assert "too many uploads" in refused(small.send(photo), 503)
        held.set()
        assert small.http.get(first.headers["location"], params={"wait": 60}).status_code == 200
        assert small.send(photo, wait=60).status_code == 200


@pytest.fixture(scope="module")
def corpus(client, clip, tmp_path_factory):
    """The outcomes that are right for each file of the corpus, and the response to each."""
    right, files = hostile_files(tmp_path_factory.mktemp("corpus"), clip)
    with ThreadPoolExecutor(4) as clients:
        answers = clients.map(lambda path: client.send(path.read_bytes(), path.name, wait=60), files.values())
        return right, dict(zip(files, answers, strict=True))


def test_every_file_of_the_corpus_gets_the_right_outcome(corpus):
    right, answers = corpus
    assert {answer.status_code for answer in answers.values()} == {200}
    reasons = {name: answer.json()["verdicts"][0]["reason"] for name, answer in answers.items()}
    assert wrong_outcomes(right, reasons) == {}


def test_no_answer_to_the_corpus_names_a_path_and_the_server_runs_on_and_stores_nothing(client, corpus, photo):
    for answer in corpus[1].values():
        VerdictDocument.model_validate(answer.json())
        assert secrets_in(answer.text, client) == []
    assert client.verdict(photo)["fake_probability"] is not None
    assert uploads_of(client) == []


def test_a_client_that_goes_in_the_middle_of_an_upload_leaves_nothing(api_of, caplog):
    with caplog.at_level("INFO", logger="dfutils.app.guard"), api_of(ServerLimits(uploads=1)) as client:
        for number in range(2):
            with raw_request(client, HEAD % b"" + b"Content-Length: 100000\r\n\r\n" + FILE):
                pass
            deadline = time.monotonic() + 20
            while len(caplog.records) <= number and time.monotonic() < deadline:
                time.sleep(0.02)
        said = {record.getMessage() for record in caplog.records}
        assert said == {"/v1/verdicts: the client disconnected before the request was complete"}
        assert [record.exc_info for record in caplog.records] == [None] * 2
        assert client.figures()[("dfutils_http_requests_total", "POST", "/v1/verdicts", "499")] == 2
        assert uploads_of(client) == []
        assert client.send(b"text", wait=60).status_code == 200  # its place was given back


def test_a_client_that_goes_while_it_waits_gives_its_place_to_others(client, photo, held):
    first = client.send(photo)
    assert held.begun.wait(60)
    body = FILE + b"--b--\r\n"
    with raw_request(client, HEAD % b"?wait=60" + b"Content-Length: %d\r\n\r\n" % len(body) + body):
        client.wait_for("dfutils_queue_files", 2)
    client.wait_for("dfutils_queue_files", 1)
    client.wait_for("dfutils_uploads_stored", 1)
    held.set()
    assert client.http.get(first.headers["location"], params={"wait": 60}).status_code == 200


def test_a_slow_upload_is_aborted(api_of):
    with api_of(ServerLimits(upload_seconds=0.2)) as client:
        said = raw_answer(client, HEAD % b"" + b"Content-Length: 1000\r\n\r\n--b\r\n")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b'"error":"The upload took too long."' in said


def test_an_examination_that_fails_or_takes_too_long_is_an_error(api_of, photo, monkeypatch, held):
    with api_of(ServerLimits(job_seconds=0.5)) as client:
        assert refused(client.send(photo, wait=60), 503).startswith("This took more than 0.5 s.")
        held.set()
        client.wait_for("dfutils_queue_files", 0)

        def broken(*_, **__):
            raise ValueError("/a/secret/path")

        monkeypatch.setattr(Detector, "examine", broken)
        answer = client.send(photo, wait=60)
        assert refused(answer, 500).startswith("Something went wrong on the server")
        assert uploads_of(client) == []


def test_the_detector_is_described():
    with served(None, LIMITS, page=False, api=True) as client:  # the included detector
        client.verdict(b"text")  # so that it is loaded
        about = client.http.get("/v1/detector").json()
    assert about["detector"] == dfutils.load_detector().about
    assert about["limits"]["upload_megabytes"] == LIMITS.upload_megabytes
    assert about["measured"]
    assert about["weaknesses"]


def test_a_server_without_its_detector_says_so(api_of, photo, monkeypatch, caplog):
    may_load = threading.Event()

    def broken(_):
        assert may_load.wait(60)
        raise ServeError("/a/secret/path: is damaged.")

    monkeypatch.setattr(service_module, "load_detector", broken)
    with api_of() as client:
        assert client.http.get("/healthz").json() == {"status": "loading"}
        assert "is being loaded" in refused(client.http.get("/v1/detector"), 503)
        waiting = client.send(photo)
        assert waiting.json()["progress"].startswith("Loading the detector")
        may_load.set()
        assert refused(client.http.get(waiting.headers["location"], params={"wait": 60}), 503) == NOT_LOADED
        assert refused(client.http.get("/v1/detector"), 503) == NOT_LOADED
        assert client.http.get("/healthz").status_code == 503
        assert client.http.get("/healthz").json() == {"status": "failed"}
        assert client.figures()[("dfutils_ready",)] == 0


def test_the_figures_count_what_happened(api_of, photo):
    with api_of(LIMITS) as client:
        verdict = client.verdict(photo)
        client.verdict(b"text")
        client.http.get("/v1/nothing")
        answer = client.http.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        figures = client.figures()
    assert figures[("dfutils_verdicts_total", verdict["label"], verdict["reason"])] == 1
    assert figures[("dfutils_verdicts_total", "UNDECIDED", "unreadable")] == 1
    assert figures[("dfutils_verdict_seconds_count",)] == 2
    assert figures[("dfutils_http_requests_total", "POST", "/v1/verdicts", "200")] == 2
    assert figures[("dfutils_http_requests_total", "GET", "other", "404")] == 1
    assert figures[("dfutils_queue_files",)] == figures[("dfutils_uploads_stored",)] == 0
    assert figures[("dfutils_verdicts_kept",)] == 2
    assert figures[("dfutils_ready",)] == 1
    assert figures[("process_resident_memory_bytes",)] > 0


def test_the_description_has_an_example_of_every_document(client):
    for model, example in EXAMPLES.items():
        model.model_validate(example)
    description = client.http.get("/openapi.json").json()
    assert set(description["paths"]) == {
        *("/v1/verdicts", "/v1/verdicts/{verdict_id}", "/v1/detector", "/healthz", "/metrics")
    }
    for operations in description["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                described = response.get("content", {}).get("application/json")
                assert status == "204" or "text/plain" in response["content"] or described["example"]


def test_page_and_api_share_one_queue(demo_run, photo, held):
    pytest.importorskip("gradio", reason="the web page needs pip install '.[app]'")
    with served(demo_run, LIMITS, api=True) as client:
        visitor, places = Client(client.address), []
        assert "Is this face forged?" in visitor.http.get("/").text
        first = client.send(photo)
        assert held.begun.wait(60)

        def hear(message):
            if "you are number 1 in the queue" in str(message):
                places.append(client.send(photo).json()["position"])
                held.set()

        status, result = visitor.examine(visitor.upload(photo, "photo.png"), heard=hear)
        assert "Done" in status
        assert "df-verdict" in result
        assert places == [2]
        assert client.http.get(first.headers["location"]).status_code == 200
        client.wait_for("dfutils_queue_files", 0)
        assert client.figures()[("dfutils_verdict_seconds_count",)] == 3
        visitor.http.close()


@contextlib.contextmanager
def child_server(tmp_path, *arguments):
    """Yield the process of a real ``dfutils serve`` and its address."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "dfutils", "serve", "--port", "0", *arguments]
    # Tests that run in the background of a shell ignore SIGINT, and so would their children.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=listening) as process:  # noqa: PLW1509
        try:
            yield process, re.search(r"http://\S+", process.stderr.readline())[0]
        finally:
            process.kill()


def test_a_server_that_is_told_to_end_finishes_what_it_has_begun(tmp_path, photo):
    with child_server(tmp_path) as (process, address):
        client = ApiClient(address)
        with ThreadPoolExecutor(3) as clients:
            waiting = [clients.submit(client.send, photo, wait=60) for _ in range(3)]
            client.wait_for("dfutils_queue_files", 3)
            process.send_signal(signal.SIGTERM)
            answers = [one.result() for one in waiting]
        client.http.close()
        assert process.wait(30) == 143
        log = process.stderr.read()
    assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 503} == {STOPPING}
    assert "Traceback" not in log
    assert list(tmp_path.iterdir()) == []


def test_a_server_ends_though_nobody_fetches_a_verdict(tmp_path, demo_run, clip):
    with child_server(tmp_path, "--model", str(demo_run)) as (process, address):
        client = ApiClient(address)
        assert client.send(clip.read_bytes()).status_code == 202
        client.http.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "interrupted" in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def test_the_documentation_lists_every_limit_with_its_default():
    page = Path(__file__).parents[2] / "docs" / "http-api.md"
    shown = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", page.read_text(), flags=re.MULTILINE))
    assert {name: float(value) for name, value in shown.items()} == ServerLimits().model_dump()
