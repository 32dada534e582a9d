"""The page in a real browser: a phone's width and a screen's."""

import re
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the web page needs pip install '.[app]'")

from site_client import served

from dfutils.app.limits import PageLimits
from dfutils.demo.examples import make_faceless_video

SCREENSHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
"""Screenshots of the tests, for people to look at."""


@pytest.fixture(scope="module")
def client(demo_run):
    with served(demo_run, PageLimits()) as client:
        yield client


@pytest.fixture(scope="module")
def faceless(tmp_path_factory):
    return make_faceless_video(tmp_path_factory.mktemp("room") / "room.mp4")


@pytest.fixture(params=[390, 1400])
def page(client, browser_page, request):
    browser_page.page.set_viewport_size({"width": request.param, "height": 900})
    browser_page.open(client.address).page.wait_for_selector("#df-examine")
    return browser_page


def examine(page, path):
    """Upload by the page's own means and wait for the verdict."""
    page.page.set_input_files("#df-file input[type=file]", path)
    page.page.wait_for_selector(f"#df-file :text('{path.stem}')")
    page.page.click("#df-examine")
    page.page.wait_for_selector(".df-verdict", timeout=60_000)
    return page.page.inner_text(".df-answer")


def test_a_clip_is_uploaded_scored_and_explained(page, demo_videos):
    said = examine(page, demo_videos[1])
    number = re.search(r"([^\n]+) % probability of FAKE", said)[1]
    assert re.search(f"(about )?{number} of 100 clips scored like this would be", said)
    assert re.search(r"(REAL|FAKE|UNDECIDED): ", said)
    with page.page.expect_download() as coming:
        page.page.click(".df-download")
    assert coming.value.suggested_filename == "verdict.json"
    page.page.click("#df-heat")
    page.page.wait_for_selector("[aria-label='Heat maps'] img", timeout=60_000)
    assert page.visible_images() == len(page.page.query_selector_all("img")) > 2
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.page.screenshot(path=SCREENSHOTS / f"page-{page.page.viewport_size['width']}.png", full_page=True)
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.errors == []
    assert [address for address in page.external if not address.startswith(("http://127.0.0.1", "ws:"))] == []


def test_a_text_file_and_a_room_without_anybody_are_undecided(page, faceless, tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n" * 40)
    assert "could not be read" in examine(page, text)
    page.page.reload()
    page.page.wait_for_selector("#df-examine")
    page.errors.clear()  # the page that was left may complain that its stream of events was cut off
    said = examine(page, faceless)
    assert "UNDECIDED" in said
    assert "No sufficiently large face was found" in said
    assert page.errors == []


@pytest.mark.parametrize("page", [1400], indirect=True)
def test_it_can_be_used_by_keyboard_alone(page):
    for _ in range(14):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("document.activeElement.innerText") == "Empty room":
            break
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector(".df-undecided", timeout=60_000)
    assert page.page.query_selector("[role=status][aria-live=polite]")


@pytest.mark.parametrize("page", [390], indirect=True)
def test_a_film_of_the_webcam_is_examined(page):
    page.page.click("#df-film")
    page.page.wait_for_selector("#df-file :text('webcam')", timeout=60_000)
    assert page.page.query_selector("#df-webcam video") is None
    page.page.click("#df-examine")
    page.page.wait_for_selector(".df-verdict", timeout=60_000)
    assert "No sufficiently large face was found" in page.page.inner_text(".df-answer")
    assert page.errors == []
