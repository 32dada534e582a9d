"""Uploads through the HTTP interface: the whole hostile corpus, long clips, two people, many visitors at once."""

import itertools
import json
import re
import tempfile
import threading
from base64 import b64decode
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hostile_corpus import OK, encode, make_corpus

pytest.importorskip("gradio", reason="the web page needs pip install '.[app]'")

from site_client import served

import dfutils
from dfutils.app.limits import ServerLimits
from dfutils.demo.examples import make_two_people_video
from dfutils.demo.rendering import DemoSettings, faceless_frames
from dfutils.extraction.video import iter_frames
from dfutils.prediction.detector import Detector
from dfutils.report.verdict_words import REASONS

LIMITS = ServerLimits(waiting=1, max_pixels=2_000_000, max_seconds=30)
"""One visitor waits while one is served. The long clip and the large images of the corpus are far above the limits."""


@pytest.fixture(scope="module")
def client(demo_run):
    with served(demo_run, LIMITS) as client:
        yield client


@pytest.fixture(scope="module")
def corpus(client, demo_videos, tmp_path_factory):
    """The outcomes that are right for each file of the corpus, and what the page showed: ``(status, result)``."""
    images = [frame.image() for frame in itertools.islice(iter_frames(demo_videos[1]), 24)]
    faceless = list(faceless_frames(rng=np.random.default_rng(0), settings=DemoSettings(seconds=1)))
    folder = tmp_path_factory.mktemp("corpus")
    right = make_corpus(folder, images, faceless)
    files = {name: folder / name for name in right if (folder / name).is_file()}  # no pipes, no links to nowhere
    shown = {name: client.examine(client.upload(path.read_bytes(), path.name)) for name, path in files.items()}
    return {name: right[name] for name in files}, shown


def verdict_of(result):
    content = result.partition("data:application/json;base64,")[2].partition('"')[0]
    (verdict,) = json.loads(b64decode(content))["verdicts"]
    return verdict


def test_every_file_of_the_corpus_gets_the_right_outcome(corpus):
    right, shown = corpus
    assert len(right) >= 70
    reasons = {name: verdict_of(result)["reason"] for name, (_, result) in shown.items()}
    scored = {"ok", "low_confidence", "incomplete"}
    found = {name: OK if reason in scored else reason for name, reason in reasons.items()}
    assert {name: found[name] for name in right if found[name] not in right[name]} == {}


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


def test_no_answer_to_the_corpus_names_a_path_of_the_server(client, corpus):
    folders = [client.site.uploads.folder, tempfile.gettempdir(), Path(dfutils.__file__).parent, Path.home()]
    secrets = [*map(str, folders), client.site.uploads.folder.name, "site-packages", "Traceback"]
    for status, result in corpus[1].values():
        text = status + re.sub(r'"data:[^"]*"', "", result) + json.dumps(verdict_of(result))
        assert [secret for secret in secrets if len(secret) > 1 and secret in text] == []


def test_after_the_corpus_the_server_runs_and_stores_nothing(client, corpus, demo_videos):
    assert client.http.get("/").status_code == 200
    status, result = client.examine(client.upload(demo_videos[0].read_bytes()))
    assert "Done" in status
    assert verdict_of(result)["fake_probability"] is not None
    assert list(client.site.uploads.folder.iterdir()) == []


def test_a_clip_above_the_length_limit_is_undecided_and_says_so(client, tmp_path):
    gray = [np.full((48, 64, 3), 90, np.uint8)] * 32
    clip = encode(tmp_path / "long.mp4", gray, rate=1)
    _, result = client.examine(client.upload(clip.read_bytes()))
    assert verdict_of(result)["reason"] == "too_large"
    assert "too large: longer than 30 s. Cut it, or scale it down." in result
    assert "longer than 30 s" in verdict_of(result)["detail"]


def test_two_people_are_shown_with_a_score_each(client, tmp_path):
    _, result = client.examine(client.upload(make_two_people_video(tmp_path / "two.mp4").read_bytes()))
    assert len(verdict_of(result)["tracks"]) == 2
    sections = re.findall(r"<section><h3>Person (\d)</h3>(.*?)</section>", result)
    assert [number for number, _ in sections] == ["1", "2"]
    for _, section in sections:
        assert "% probability of FAKE" in section
        assert "<img" in section


def test_a_full_queue_refuses_visitors_and_a_waiting_visitor_sees_the_position(client, demo_videos, monkeypatch):
    content = demo_videos[0].read_bytes()
    begun, go_on, has_place = threading.Event(), threading.Event(), threading.Event()
    examine = Detector.examine

    def held(*arguments, **more):
        begun.set()
        assert go_on.wait(60)
        return examine(*arguments, **more)

    def hear(message):
        if "you are number 1 in the queue" in json.dumps(message):
            has_place.set()

    monkeypatch.setattr(Detector, "examine", held)
    with ThreadPoolExecutor(3) as visitors:
        try:
            first = visitors.submit(client.examine, client.upload(content))
            assert begun.wait(60)
            others = [visitors.submit(client.examine, client.upload(content), heard=hear) for _ in range(2)]
            (refused,), (waiting,) = wait(others, 60, FIRST_COMPLETED)
            assert has_place.wait(60)
        finally:
            go_on.set()
    status, result = refused.result()
    assert "Busy: 1 person is waiting already" in status
    assert result == ""
    for served_one in (first, waiting):
        assert verdict_of(served_one.result()[1])["fake_probability"] is not None
