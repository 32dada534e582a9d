"""Collect the messages of the package's errors while tests provoke them, and write docs/messages.md.

DFUTILS_MESSAGES=/tmp/messages.jsonl make unit
python tests/messages.py /tmp/messages.jsonl
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dfutils import errors

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "dfutils"
PAGE = PROJECT / "docs" / "messages.md"

TITLES = {
    "extraction": "Videos, images, labels and face datasets",
    "training": "Training",
    "runs": "Runs and calibration",
    "evaluation": "Evaluation",
    "report": "Reports",
    "figures": "Figures",
    "statistics": "Statistics",
    "prediction": "Prediction and export",
    "publishing": "Kaggle and Hugging Face",
    "app": "Web page and HTTP API",
    "notebook": "Notebooks",
    "demo": "Demo",
    "commands": "Command line",
    "pretrained": "Included detectors",
    "": "Settings, weights and files",
}
"""Heading of the messages of each folder of the package."""

HEAD = """# Messages

Every error of the package, as tests provoke it: what happened, to which file, with which value, and what to do. A
message of which only the fixed words are shown, with … between them, is not provoked by a test in its own process.

This page is written by `tests/messages.py`; a test checks that no message is missing.
"""

TEMPORARY = r"(/[^\s:,;'\"()]+)?/pytest-of-[^\s/]+/pytest-\d+(/popen-gw\d+)?/[^\s/:,;'\"()]+/?"
"""The folder of one test."""

NAMES = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.DfutilsError)}


@dataclass(frozen=True)
class Site:
    """A place that raises one of the package's errors.

    Attributes:
        module: Path below the package.
        first: Line of the statement.
        last: Its last line.
        kind: Name of the error.
        parts: The fixed words of the message, in order; empty if the message is made elsewhere.
    """

    module: str
    first: int
    last: int
    kind: str
    parts: tuple[str, ...]

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the message matches, whatever stands between its fixed words."""
        return re.compile(".*".join(re.escape(tidy(part)) for part in self.parts))

    @property
    def template(self) -> str:
        """The message with … in place of what varies."""
        return "…".join(tidy(part) for part in self.parts)


def sites() -> list[Site]:
    """Return every statement of the package that raises one of its errors with a message of its own."""
    return [site for path in sorted(PACKAGE.rglob("*.py")) for site in _sites_of(path)]


def _sites_of(path: Path) -> Iterator[Site]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
            continue
        name = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", ""))
        if name in NAMES and (parts := tuple(_fixed_words(node.exc.args[0]))):
            module = path.relative_to(PACKAGE).as_posix()
            yield Site(module, node.lineno, node.end_lineno or node.lineno, name, parts)


def _fixed_words(message: ast.expr) -> Iterator[str]:
    """Yield the constant parts of a message; an empty one stands for a value at its beginning or end."""
    match message:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            before = None
            for one in values:
                if isinstance(one, ast.Constant):
                    yield str(one.value)
                elif not isinstance(before, ast.Constant):
                    yield ""
                before = one
            if not isinstance(before, ast.Constant):
                yield ""


def start_recording(path: Path) -> None:
    """Append every error that is made from now on to a file of JSON lines."""
    original = errors.DfutilsError.__init__

    def recorded(self: errors.DfutilsError, *values: object) -> None:
        original(self, *values)
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_locals.get("self") is self:
            frame = frame.f_back
        place = Path(frame.f_code.co_filename)
        if place.is_relative_to(PACKAGE):
            entry = {"module": place.relative_to(PACKAGE).as_posix(), "kind": type(self).__name__, "message": str(self)}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    errors.DfutilsError.__init__ = recorded  # type: ignore[method-assign]


def tidy(message: str) -> str:
    """Return a message on one line, without the folders of temporary files."""
    message = re.sub(TEMPORARY, lambda match: "" if match[0].endswith("/") else "folder", message)
    return " ".join(message.replace(f"{PROJECT}/", "").split())


def page(entries: list[dict]) -> str:
    """Return docs/messages.md."""
    lines = [HEAD]
    for folder, title in TITLES.items():
        own = [site for site in sites() if ("" if "/" not in site.module else site.module.split("/")[0]) == folder]
        rows = sorted({_row(site, entries) for site in own})
        if rows:
            lines += [f"## {title}\n", *rows, ""]
    return "\n".join(lines)


def _row(site: Site, entries: list[dict]) -> str:
    found = [
        tidy(entry["message"])
        for entry in entries
        if entry["module"] == site.module
        and entry.get("kind", site.kind) == site.kind
        and site.pattern.fullmatch(tidy(entry["message"]))
    ]
    text = min(found, key=lambda message: (len(message), message), default=site.template)
    return f"* {text.replace('|', chr(92) + '|').replace('<', '&lt;')} (`{site.kind}`)"


if __name__ == "__main__":
    PAGE.write_text(page([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]), encoding="utf-8")
