"""Read the fenced code blocks of a page, with the requirement that the opening line of a block may name."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

RUN, SHOWN = ("sh", "python"), ("text", "csv", "json")
"""Languages of blocks that are run, and of blocks that are only shown."""

NEEDS = {
    "install": "installs packages for minutes: only the names of its files, extras and targets are checked",
    "account": "sends something to Kaggle or Hugging Face: run against stubs of their servers",
    "cluster": "names the scheduler of a Dask cluster: run against one on this machine",
    "browser": "serves a page or an API until it is interrupted: run until it answers",
    "server": "asks the HTTP API: run against one on this machine",
}
"""Values of ``needs=`` after the language of a block that is run; readers of the page do not see them."""

OPENING = re.compile(r"^\s*(?P<fence>`{3,}|~{3,})\s*(?P<info>[^`]*)$")


class MarkerError(ValueError):
    """Raised when a code block has no known language or an unknown requirement."""


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One block: place such as ``README.md:36``, language, a name in `NEEDS` or nothing, and text."""

    place: str
    language: str
    needs: str
    text: str


def read_blocks(page: Path) -> list[CodeBlock]:
    """Return the blocks of a page, in order.

    Raises:
        MarkerError: A block has no known language, an unknown marker or no end.
    """
    blocks, lines = [], iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        opening = OPENING.match(line)
        if not opening:
            continue
        place, fence, inside = f"{page.name}:{number}", opening["fence"], []
        for _, text in lines:
            if re.fullmatch(rf"\s*{fence}{fence[0]}*\s*", text):
                break
            inside.append(text)
        else:
            raise MarkerError(f"{place}: the code block has no end.")
        language, needs = _read_info(opening["info"].split(), place)
        blocks.append(CodeBlock(place, language, needs, textwrap.dedent("\n".join(inside))))
    return blocks


def _read_info(words: list[str], place: str) -> tuple[str, str]:
    language, *markers = words or [""]
    if language not in (*RUN, *SHOWN):
        raise MarkerError(
            f"{place}: a code block is run ({', '.join(RUN)}) or shown ({', '.join(SHOWN)}). Received: {language!r}."
        )
    known = {"sh": [f"needs={name}" for name in NEEDS], "python": ["needs=server"]}.get(language, [])
    if len(markers) > 1 or not set(markers) <= set(known):
        raise MarkerError(
            f"{place}: what a block of {language} needs is one of {known}. Received: {' '.join(markers)}."
        )
    return language, markers[0].removeprefix("needs=") if markers else ""
