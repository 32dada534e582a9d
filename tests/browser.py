"""A real headless Chromium for tests of pages: what it complains of, and what it asks for beyond the page."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
NO_BROWSER = "NO BROWSER:"
"""Starts the reason of every test that is skipped for want of one."""
UNBROKEN = "[...document.images].map(image => image.decode().then(() => image.naturalWidth > 0, () => false))"


@dataclass
class BrowserPage:
    """A tab, and what happened in it.

    Attributes:
        page: Playwright's own object.
        errors: Errors on the console and uncaught exceptions, in order.
        requests: Addresses of everything that was asked for, the page itself too.
        failures: Addresses of what was asked for in vain.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def open(self, place: str | Path) -> "BrowserPage":
        """Show a file, or an address, and wait until all of it is there."""
        address = place if isinstance(place, str) else place.resolve().as_uri()
        self.page.goto(address, wait_until="load")
        return self

    @property
    def external(self) -> list[str]:
        """What was asked for over the network."""
        return [address for address in self.requests if not address.startswith(("file:", "data:", "blob:", "about:"))]

    def broken_images(self) -> list[int]:
        """Positions of the ``<img>`` that do not decode, seen or not."""
        fine = self.page.evaluate(f"() => Promise.all({UNBROKEN})")
        return [number for number, is_fine in enumerate(fine) if not is_fine]

    def visible_images(self) -> int:
        """How many ``<img>`` are whole and take up room on the page."""
        broken = set(self.broken_images())
        boxes = [image.bounding_box() for image in self.page.query_selector_all("img")]
        return sum(
            number not in broken and box is not None and min(box["width"], box["height"]) > 1
            for number, box in enumerate(boxes)
        )


def chromium_path() -> str | None:
    """``$DFUTILS_CHROMIUM``, else the browser on the path."""
    return os.environ.get("DFUTILS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium with a profile of its own; for one module, since Playwright keeps an event loop running meanwhile."""
    path = chromium_path()
    if path is None:
        pytest.skip(f"{NO_BROWSER} Chromium is not installed. `apt-get install chromium`, or set $DFUTILS_CHROMIUM.")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason=f"{NO_BROWSER} playwright is not installed. `pip install playwright`."
    )
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def browser_page(browser: Any) -> Iterator[BrowserPage]:
    """A fresh tab of 1,100 × 800 pixels that keeps what goes wrong in it."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    tab = BrowserPage(context.new_page())
    tab.page.on("console", lambda said: tab.errors.append(said.text) if said.type == "error" else None)
    tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.page.on("request", lambda request: tab.requests.append(request.url))
    tab.page.on("requestfailed", lambda request: tab.failures.append(request.url))
    yield tab
    context.close()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say below everything else how many tests were skipped for want of a browser: a green run hides them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):  # a worker of pytest-xdist has no terminal
        return
    reasons = [report.longrepr[2].partition(NO_BROWSER) for report in reporter.stats.get("skipped", ())]
    wanted = [reason for _, found, reason in reasons if found]
    if wanted:
        reporter.write_line(f"{len(wanted)} tests of pages were skipped:{wanted[0]}")
