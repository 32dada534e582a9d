"""The browser of the page tests does notice what it is there to notice, and is missed where it is absent."""

import os
import subprocess
import sys

import pytest

DOT = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def shown(browser_page, tmp_path):
    def show(body):
        page = tmp_path / "page.html"
        page.write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{body}", encoding="utf-8")
        return browser_page.open(page)

    return show


def test_a_quiet_page_is_found_quiet(shown):
    page = shown(f"<img src='{DOT}' width=9 height=9><a href='https://example.org/'>a link is no request</a>")
    assert (page.errors, page.external, page.failures) == ([], [], [])
    assert (page.broken_images(), page.visible_images()) == ([], 1)


def test_scripts_that_fail_and_complain_are_heard(shown):
    page = shown("<script>console.error('it is odd'); console.log('nothing'); nowhere()</script>")
    assert page.errors == ["it is odd", "nowhere is not defined"]


def test_what_leaves_the_page_is_seen(shown):
    page = shown("<script src='http://127.0.0.1:9/require.js'></script>")
    assert page.external == page.failures == ["http://127.0.0.1:9/require.js"]


def test_images_that_are_broken_or_hidden_do_not_count(shown):
    page = shown(f"<img src='{DOT}' hidden><img src='data:image/png;base64,AAAA' width=5 height=5>")
    assert (page.broken_images(), page.visible_images()) == ([1], 0)


def test_the_last_line_says_how_many_tests_were_skipped_for_want_of_chromium(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "DFUTILS_CHROMIUM"}
    # Two of the tests above, and not this one, have "page" in their names.
    command = [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", __file__, "-k", "page"]
    done = subprocess.run(
        command, env=environment | {"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("2 tests of pages were skipped: Chromium is not installed. `apt-get install chromium`")
