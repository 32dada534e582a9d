"""Links and images of the pages lead to files and headings that exist."""

import re

import pytest
from reader import PROJECT

PAGES = [
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(PROJECT / name for name in ("benchmarks/README.md", "research/README.md", "research/LOG.md")),
    *sorted((PROJECT / "docs").glob("*.md")),
]
FENCED = re.compile(r"^(```).*?^\1", flags=re.DOTALL | re.MULTILINE)


def links(text):
    """Return the targets of a page's links and images, except in code blocks."""
    return re.findall(r"\]\(([^()\s]+)\)", FENCED.sub("", text))


def anchors(text):
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page):
    """Return the relative links of a page that lead nowhere."""
    broken = []
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_every_relative_link_leads_somewhere(page):
    assert not broken_links(page)


def test_every_page_and_image_of_the_docs_is_linked_to():
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in links(page.read_text(encoding="utf-8"))
    }
    assert set((PROJECT / "docs").iterdir()) <= linked


def test_a_missing_file_heading_or_image_is_found(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# One thing: `b`\n")
    page.write_text(
        "# Here\n[1](other.md) [2](other.md#one-thing-b) [3](#here) [4](https://example.org/x)\n"
        "![5](missing.png) [6](other.md#here) [7](#nowhere) [8](gone/)\n```text\n[9](in-code)\n```\n"
    )
    assert broken_links(page) == ["missing.png", "other.md#here", "#nowhere", "gone/"]
