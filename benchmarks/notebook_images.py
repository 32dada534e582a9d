"""Images in docs/ of two rendered notebooks and of the report, taken in headless Chromium.

python -m benchmarks.notebook_images reports
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image

from benchmarks.tables import ROOT
from dfutils.files import write_bytes

WIDTH, SCALE = 940, 2
SHOWN = {"01-extract-motion-faces": ("One video, closely", 1400), "04-evaluate": ("The images", 1400)}
"""Each notebook with the heading that its image starts at, and how much of the page it shows, in pixels."""


REPORT_HEIGHT = 1370
"""How much of the evaluation report is shown, from its top, in pixels."""


def take(pages: Path, out: Path) -> None:
    """Write ``notebook-NAME.png`` for each of `SHOWN`, and ``report.png``."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, device_scale_factor=SCALE)
        for name, (heading, height) in SHOWN.items():
            page.goto((pages / f"{name}.html").resolve().as_uri())
            top = page.locator(f"h2:has-text('{heading}')").bounding_box()["y"] - 40
            clip = {"x": 0, "y": top, "width": WIDTH, "height": height}
            image = page.screenshot(full_page=True, clip=clip)
            write_bytes(out / f"notebook-{name[:2]}.png", _smaller(image))
        page.goto((pages / "evaluation-report.html").resolve().as_uri())
        top_of_report = {"x": 0, "y": 0, "width": WIDTH, "height": REPORT_HEIGHT}
        write_bytes(out / "report.png", _smaller(page.screenshot(full_page=True, clip=top_of_report)))
        browser.close()


def _smaller(png: bytes) -> bytes:
    """A palette of 256 colours: a quarter of the bytes, and no difference to be seen."""
    buffer = io.BytesIO()
    quantized = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    quantized.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", type=Path, help="what `make reports` made")
    take(parser.parse_args().pages, ROOT / "docs")


if __name__ == "__main__":
    main()
