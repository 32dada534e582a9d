"""Take the screenshots in docs/ in headless Chromium: two rendered notebooks, the report, and the web page.

    make images        # renders notebooks and report, then runs python -m benchmarks.screenshots reports

For the web page the script starts ``dfutils app`` and lets it judge a made-up clip, on a wide screen and on a phone.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import ROOT
from benchmarks.load import running_app
from dfutils.app.examples import EXAMPLES
from dfutils.extraction.video import iter_frames
from dfutils.files import write_bytes

WIDTH, SCALE = 940, 2
NOTEBOOKS = {"01-extract-motion-faces": ("One video in detail", 1400), "04-evaluate": ("Curves", 1400)}
"""Each notebook with the heading at which its screenshot starts, and the height shown, in pixels."""

REPORT_HEIGHT = 1370
"""Height of the report that is shown, from its top, in pixels."""

VIEWS = (("page-wide.png", 1000, 1330, "light"), ("page-phone.png", 390, 1330, "dark"))
"""File, width, height and colour scheme of each screenshot of the web page."""


EXAMPLE = "Forged face"
"""Button of the web page that is clicked."""


def take_examples() -> None:
    """Write the picture of each example of the web page: the first frame of its clip."""
    with tempfile.TemporaryDirectory() as folder:
        for example in EXAMPLES:
            clip = Path(folder) / f"{example.name}.mp4"
            example.make(clip)
            buffer = io.BytesIO()
            Image.fromarray(next(iter_frames(clip)).image()).save(buffer, format="JPEG", quality=80)
            write_bytes(example.picture, buffer.getvalue())


def take_pages(browser: Any, pages: Path, out: Path) -> None:
    """Write ``notebook-NN.png`` for each of `NOTEBOOKS`, and ``report.png``."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, device_scale_factor=SCALE)

    def take(name: str, top: float, height: float) -> None:
        area = {"x": 0, "y": top, "width": WIDTH, "height": height}
        image = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=area))).convert("RGB")
        buffer = io.BytesIO()
        # A palette of 256 colours: a quarter of the bytes, and no visible difference.
        image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, format="PNG", optimize=True)
        write_bytes(out / name, buffer.getvalue())

    for name, (heading, height) in NOTEBOOKS.items():
        page.goto((pages / f"{name}.html").resolve().as_uri())
        top = page.locator(f"h2:has-text('{heading}')").bounding_box()["y"] - 40
        take(f"notebook-{name[:2]}.png", top, height)
    page.goto((pages / "evaluation-report.html").resolve().as_uri())
    take("report.png", 0, REPORT_HEIGHT)


def take_app(browser: Any, address: str, out: Path) -> None:
    """Write the `VIEWS` of the web page at ``address`` with a verdict on its example of a forged face."""
    for name, width, height, scheme in VIEWS:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        page.goto(address)
        page.get_by_role("button", name=EXAMPLE).click()
        page.wait_for_selector(".df-verdict", timeout=120_000)
        page.wait_for_timeout(500)
        page.screenshot(path=out / name)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, help="folder that `make reports` made")
    parser.add_argument("--port", type=int, default=7870, help="free port for the web page (default: %(default)s)")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    take_examples()
    with sync_playwright() as driver, running_app(options.port) as app:
        browser = driver.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"])
        take_pages(browser, options.pages, ROOT / "docs")
        take_app(browser, app.address, ROOT / "docs")
        browser.close()


if __name__ == "__main__":
    main()
