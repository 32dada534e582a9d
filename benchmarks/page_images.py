"""The two images of the web page in docs/: a made-up clip judged on a wide screen and on a phone.

``python -m benchmarks.page_images`` needs Chromium and a page on ``--port``: ``dfutils app --port 7860``.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
VIEWS = (("page-wide.png", 1000, 1330, "openvino"), ("page-phone.png", 390, 1330, "dark"))


def main() -> None:
    """Take them."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7860)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        for name, width, height, scheme in VIEWS:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            _take(context.new_page(), f"http://127.0.0.1:{options.port}/", DOCS / name)
        browser.close()


def _take(page: Any, address: str, path: Path) -> None:
    page.goto(address)
    page.get_by_role("button", name="Forged face").click()
    page.wait_for_selector(".df-verdict", timeout=120_000)
    page.wait_for_timeout(500)
    page.screenshot(path=path)


if __name__ == "__main__":
    main()
