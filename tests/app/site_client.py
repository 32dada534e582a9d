"""Page and API on a real port of this machine, and clients: one speaks HTTP as Gradio's page does."""

import contextlib
import functools
import itertools
import json
import socket
import tempfile
import threading
import time
import uuid
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from hostile_corpus import OK, make_corpus
from prometheus_client.parser import text_string_to_metric_families

import dfutils
from dfutils.app.server import build_site
from dfutils.demo.rendering import DemoSettings, faceless_frames
from dfutils.extraction.video import iter_frames

UNFINISHED = "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
"""Starlette leaves the temporary file of a part without an end to the garbage collector."""


class Client:
    """A visitor or an attacker."""

    def __init__(self, address):
        self.address = address
        self.http = httpx.Client(base_url=address, timeout=120, trust_env=False)

    @functools.cached_property
    def numbers(self):
        """Numbers of the page's events, by name."""
        return {one["api_name"]: one["id"] for one in self.http.get("/config").json()["dependencies"]}

    def post_file(self, content, name="clip.mp4"):
        """Upload a file and return the response."""
        return self.http.post("/gradio_api/upload", files={"files": (name, content)})

    def upload(self, content, name="clip.mp4"):
        """Upload a file and return its token."""
        answer = self.post_file(content, name)
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def ask(self, event, data, *, heard=lambda _: None):
        """Return all messages of one event; ``heard`` gets each as it comes."""
        session = uuid.uuid4().hex
        body = {"data": data, "fn_index": self.numbers[event], "session_hash": session}
        joined = self.http.post("/gradio_api/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        said = []
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    said.append(json.loads(line[5:]))
                    heard(said[-1])
                    if said[-1]["msg"] in {"process_completed", "close_stream"}:
                        break
        return said

    def examine(self, path, *, heard=lambda _: None, **more):
        """Return what the page finally shows about an upload: ``(status, result)`` as HTML."""
        done = self.ask(
            "examine",
            [None if path is None else {"path": path, "meta": {"_type": "gradio.FileData"}, **more}],
            heard=heard,
        )
        _, status, result, *_ = done[-1]["output"]["data"]
        return status, result


class ApiClient:
    """A program that asks the HTTP API."""

    def __init__(self, address, *, key=None):
        self.address = address
        self.http = httpx.Client(
            base_url=address, timeout=120, trust_env=False, headers={"authorization": f"Bearer {key}"} if key else {}
        )

    def send(self, content, name="clip.mp4", *, wait=None, **more):
        """Send a file and return the response."""
        params = {} if wait is None else {"wait": wait}
        return self.http.post("/v1/verdicts", params=params, files={"file": (name, content)}, **more)

    def verdict(self, content, name="clip.mp4"):
        """Send a file and return the verdict on it."""
        answer = self.send(content, name, wait=60)
        assert answer.status_code == 200, answer.text
        (verdict,) = answer.json()["verdicts"]
        return verdict

    def figures(self):
        """Return the figures of the server by name, with the labels that they have."""
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}

    def wait_for(self, name, value):
        """Wait until a figure has a value."""
        deadline = time.monotonic() + 60
        while (found := self.figures()[(name,)]) != value:
            assert time.monotonic() < deadline, f"{name} is {found}"
            time.sleep(0.05)


@contextlib.contextmanager
def served(model, limits, *, page=True, api=False, keys=None):
    """Yield a client of a site that runs in a thread of this process; ``client.site`` is what it serves.

    With an API the client is one of the API, otherwise a visitor of the page.
    """
    site = build_site(model, limits=limits, page=page, api=api, keys=keys)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(site.application, host="127.0.0.1", port=port, log_level="error", server_header=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    client = (ApiClient if api else Client)(f"http://127.0.0.1:{port}")
    client.site = site
    yield client
    client.http.close()
    server.should_exit = True
    thread.join(10)


def uploads_of(client):
    """Return the files that the server of a client stores."""
    return list(client.site.uploads.folder.iterdir())


@contextlib.contextmanager
def raw_request(client, content):
    """Yield a connection to the server of a client on which these bytes were sent."""
    host, port = client.http.base_url.netloc.decode().split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(content)
        yield raw


def raw_answer(client, content):
    """Send bytes to the server of a client, and return all that it answers until it hangs up."""
    with raw_request(client, content) as raw:
        return b"".join(iter(lambda: raw.recv(4000), b""))


def hostile_files(folder, clip):
    """Write the hostile corpus; return the right outcomes of each file that can be sent, and its path, by name."""
    images = [frame.image() for frame in itertools.islice(iter_frames(clip), 24)]
    faceless = list(faceless_frames(rng=np.random.default_rng(0), settings=DemoSettings(seconds=1)))
    right = make_corpus(folder, images, faceless)
    files = {name: folder / name for name in right if (folder / name).is_file()}  # no pipes, no links to nowhere
    assert len(files) >= 70
    return {name: right[name] for name in files}, files


def wrong_outcomes(right, reasons):
    """Return the reasons of the files of the corpus that had another outcome than those that are right."""
    found = {name: OK if reasons[name] in {"ok", "low_confidence", "incomplete"} else reasons[name] for name in right}
    return {name: found[name] for name in right if found[name] not in right[name]}


def secrets_in(text, client):
    """Return what a text tells about the server's disk or code."""
    folders = [client.site.uploads.folder, tempfile.gettempdir(), Path(dfutils.__file__).parent, Path.home()]
    secrets = [*map(str, folders), client.site.uploads.folder.name, "site-packages", "Traceback"]
    return [secret for secret in secrets if len(secret) > 1 and secret in text]
