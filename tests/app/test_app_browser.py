"""The page in a real browser: a phone's width and a screen's."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("gradio", reason="the web page needs pip install '.[app]'")

from site_client import served

from dfutils.app.examples import EXAMPLES
from dfutils.app.limits import ServerLimits
from dfutils.demo.examples import make_faceless_video
from dfutils.extraction.video import iter_frames
from dfutils.files import sha256_of

SCREENSHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
"""Screenshots of the tests, for people to look at."""


@pytest.fixture(scope="module")
def client(demo_run):
    with served(demo_run, ServerLimits()) as client:
        yield client


@pytest.fixture
def page(client, browser_page):
    """The page on a phone; `wide` makes it a screen."""
    browser_page.page.set_viewport_size({"width": 390, "height": 900})
    browser_page.open(client.address).page.wait_for_selector("#df-examine")
    return browser_page


def wide(page):
    page.page.set_viewport_size({"width": 1400, "height": 900})


def examine(page, path):
    """Upload by the page's own means and wait for the verdict."""
    page.page.set_input_files("#df-file input[type=file]", path)
    page.page.wait_for_selector(f"#df-file :text('{path.stem}')")
    page.page.click("#df-examine")
    page.page.wait_for_selector(".df-verdict", timeout=60_000)
    return page.page.inner_text(".df-answer")


def share_of_stage(page):
    """The box over the film, as shares of the film's sides: left, top, right, bottom."""
    return page.page.evaluate(
        """() => {
          const film = document.querySelector(".df-stage").firstChild.getBoundingClientRect();
          const box = document.querySelector(".df-box").getBoundingClientRect();
          return [(box.left - film.left) / film.width, (box.top - film.top) / film.height,
            (box.right - film.left) / film.width, (box.bottom - film.top) / film.height];
        }"""
    )


def download(page, what):
    """The name and the content of a download."""
    with page.page.expect_download() as coming:
        page.page.click(f".df-download:text('{what}')")
    return coming.value.suggested_filename, Path(coming.value.path()).read_text()


@pytest.fixture
def answered(page, demo_videos):
    """The page once it has answered a clip, and what it says first."""
    return page, examine(page, demo_videos[1])


def test_a_clip_is_uploaded_scored_and_explained(answered, demo_videos):
    page, said = answered
    number = re.search(r"([^\n]+) % probability of FAKE", said)[1]
    assert re.search(f"(about )?{number} of 100 clips with such a score would be fake", said)
    assert re.search(r"(REAL|FAKE|UNDECIDED): ", said)
    name, html = download(page, "page")
    assert name == "verdict.html"
    assert sha256_of(demo_videos[1]) in html
    assert f"{demo_videos[1].stat().st_size:,} bytes" in html
    assert re.search(r"<h2 class=\"df-\w+\">(REAL|FAKE|UNDECIDED): ", html)
    page.page.click("#df-heat")
    page.page.wait_for_selector("[aria-label='Heat maps'] img", timeout=60_000)
    for show in (lambda _: None, wide):
        show(page)
        assert page.visible_images() == len(page.page.query_selector_all("img")) > 2
        assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.page.screenshot(path=SCREENSHOTS / f"page-{page.page.viewport_size['width']}.png", full_page=True)
    assert page.errors == []
    assert [address for address in page.external if not address.startswith(("http://127.0.0.1", "ws:"))] == []


def test_the_upload_is_played_with_a_box_around_the_face(answered):
    page, _ = answered
    film = "document.querySelector('.df-stage video')"
    page.page.wait_for_selector(".df-stage video")
    page.page.wait_for_function(f"{film}.readyState >= 2")
    assert page.page.evaluate(f"{film}.src").startswith("blob:")
    name, document = download(page, "JSON")
    assert name == "verdict.json"
    (verdict,) = json.loads(document)["verdicts"]
    frame = verdict["tracks"][0]["frames"][4]
    page.page.evaluate(f"time => {{ {film}.pause(); {film}.currentTime = time; }}", frame["time_seconds"])
    page.page.wait_for_timeout(300)
    width, height = page.page.evaluate(f"[{film}.videoWidth, {film}.videoHeight]")
    left, top, right, bottom = frame["box"]
    expected = [left / width, top / height, right / width, bottom / height]
    assert share_of_stage(page) == pytest.approx(expected, abs=0.02)  # the box's own lines are 3 pixels wide
    wide(page)
    page.page.wait_for_timeout(300)
    assert share_of_stage(page) == pytest.approx(expected, abs=0.02)
    line = page.page.get_attribute(".df-now", "d")
    page.page.click(".df-timeline", position={"x": 200, "y": 60})
    page.page.wait_for_timeout(300)
    assert page.page.get_attribute(".df-now", "d") != line  # the timeline moves the film
    assert page.errors == []


def test_an_image_is_shown_with_its_box(page, demo_videos, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), next(iter_frames(demo_videos[1])).image()[:, :, ::-1])
    examine(page, photo)
    page.page.wait_for_selector(".df-stage img")
    left, top, right, bottom = share_of_stage(page)
    assert 0.1 < left < 0.5 < right < 0.9
    assert 0 < top < 0.6 < bottom < 1
    assert page.page.inner_text(".df-box") == "face"


def test_the_examples_are_pictures_of_their_clips(page, tmp_path):
    wide(page)
    for example in EXAMPLES:
        style = page.page.evaluate(
            f"getComputedStyle(document.querySelector('#df-{example.name}')).backgroundImage.slice(-60_000)"
        )
        assert "data:image/jpeg" in style
        example.make(tmp_path / f"{example.name}.mp4")
        frame = next(iter_frames(tmp_path / f"{example.name}.mp4")).image()
        shown = cv2.imread(str(example.picture))[:, :, ::-1]
        assert np.corrcoef(frame.ravel(), shown.ravel())[0, 1] > 0.98
    page.page.click("#df-forged_face")
    page.page.wait_for_selector(".df-stage video", timeout=60_000)
    assert page.page.evaluate("document.querySelector('.df-stage video').src").startswith("data:video/mp4")


def test_a_text_file_and_a_room_without_anybody_are_undecided(page, tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n" * 40)
    assert "could not be read" in examine(page, text)
    page.page.reload()
    page.page.wait_for_selector("#df-examine")
    page.errors.clear()  # the page that was left may complain that its stream of events was cut off
    said = examine(page, make_faceless_video(tmp_path / "room.mp4"))
    assert "UNDECIDED" in said
    assert "No sufficiently large face was found" in said
    assert page.errors == []


def test_it_can_be_used_by_keyboard_alone(page):
    for _ in range(14):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("document.activeElement.innerText") == "Empty room":
            break
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector(".df-undecided", timeout=60_000)
    assert page.page.query_selector("[role=status][aria-live=polite]")


def test_a_film_of_the_webcam_is_examined(page):
    page.page.click("#df-film")
    page.page.wait_for_selector("#df-file :text('webcam')", timeout=60_000)
    assert page.page.query_selector("#df-webcam video") is None
    page.page.click("#df-examine")
    page.page.wait_for_selector(".df-verdict", timeout=60_000)
    assert "No sufficiently large face was found" in page.page.inner_text(".df-answer")
    assert page.errors == []
