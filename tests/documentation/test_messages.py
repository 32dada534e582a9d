"""docs/messages.md has every message of the package."""

import pytest
from messages import PAGE, TITLES, Site, sites


def test_no_message_is_missing_on_the_page():
    text = PAGE.read_text(encoding="utf-8").replace("\\|", "|").replace("&lt;", "<")
    lines = [line.removeprefix("* ") for line in text.splitlines() if line.startswith("* ")]
    missing = [f"{one.module}:{one.first}: {one.template}" for one in sites() if not any(map(one.pattern.match, lines))]
    assert not missing, "Write the page again: see tests/messages.py"


def test_every_folder_that_raises_has_a_heading():
    assert {one.module.split("/")[0] for one in sites() if "/" in one.module} <= set(TITLES)


@pytest.mark.parametrize("parts", [("", ": is new")])
def test_a_message_that_is_not_on_the_page_is_noticed(parts):
    assert not Site("a.py", 1, 1, "RunError", parts).pattern.match("run: is old")
