"""Kaggle's own command line, called and read: its exit codes do not tell whether something arrived."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dfutils.errors import PublishError
from dfutils.publishing.credentials import without_credentials

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PAGE_SIZE = 200
"""The most that the client lists at a time."""
LONGEST_PAUSE_SECONDS = 30.0
FAILED_POLLS = 5
"""How many questions in a row may stay without an answer while waiting: two minutes of a run of hours."""
SIGN_IN = "Sign in with `kaggle auth login`."

# The client's 2.2.5 ends its answer to a 404 with a hint, "To search for one, try ...".
_ABSENT = re.compile(r"\b40[34]\b|not found|forbidden|denied|cannot access|to search for one", re.IGNORECASE)
_TROUBLE = re.compile(
    r"error|unsuccessful|skipping|not valid|already in use|denied|refused|forbidden|"
    r"authentication required|failure message|unauthori[sz]ed|exception:",
    re.IGNORECASE,
)
_NEXT_PAGE = "Next Page Token = "


class NoAnswerError(PublishError):
    """Kaggle could not be asked this time; a little later it may well be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client said, credentials blotted out.

    Attributes:
        exit_code: Zero does not mean that it worked.
        stdout: Results.
        stderr: Progress and errors.
    """

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """Everything said, without progress bars and empty lines."""
        said = (line.strip() for line in f"{self.stdout}\n{self.stderr}".splitlines())
        return [line for line in said if line and "%|" not in line]

    @property
    def reason(self) -> str:
        """The line that says most about what went wrong; the end of a traceback, if there is one."""
        if not self.lines:
            return f"no output, exit code {self.exit_code}"
        if any(line.startswith("Traceback") for line in self.lines):
            return self.lines[-1]
        return next((line for line in self.lines if _TROUBLE.search(line)), self.lines[-1])

    @property
    def says_absent(self) -> bool:
        """Whether the thing asked for is not there, or not ours to see: Kaggle answers both alike."""
        return bool(self.exit_code and _ABSENT.search(self.reason))


@dataclass(frozen=True, slots=True)
class Kaggle:
    """Kaggle's command line.

    Attributes:
        timeout_seconds: After this time one command is given up.
        wait_seconds: How long Kaggle may take to process what was sent.
    """

    timeout_seconds: float = 6 * 3600.0
    wait_seconds: float = 3600.0

    def run(self, *arguments: str) -> Answer:
        """Call the client once; the answer's exit code is *not* to be trusted.

        Raises:
            PublishError: It is not installed, or did not end in time.
        """
        command = [client_path(), "-W", *arguments]
        logger.debug("%s", " ".join(command))
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=self.timeout_seconds,
                check=False,
                env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"},
            )
        except subprocess.TimeoutExpired as error:
            said = without_credentials((error.stdout or b"").decode("utf-8", "replace")).strip().splitlines()
            raise PublishError(
                f"kaggle {' '.join(arguments[:2])}: no end after {self.timeout_seconds:.0f} s"
                f"{f' (last: {said[-1]})' if said else ''}. Check the connection and give the same command again."
            ) from None
        except OSError as error:
            raise PublishError(f"{command[0]}: cannot be run ({error.strerror}). Install it again.") from error
        streams = (without_credentials(text.decode("utf-8", "replace")) for text in (done.stdout, done.stderr))
        answer = Answer(done.returncode, *streams)
        logger.debug("%s", "\n".join(answer.lines))
        return answer

    def send(self, subject: str, arguments: Sequence[str], *, success: str) -> str:
        """Call the client to send something; only its own words of success, and no word of trouble, count.

        Args:
            subject: What is sent, for the message.
            arguments: Of the client.
            success: What the client says when Kaggle took it.

        Returns:
            The line of success.

        Raises:
            PublishError: Kaggle did not take it, or not all of it.
        """
        answer = self.run(*arguments)
        line = next((line for line in answer.lines if success in line), None)
        harmless = ("Starting upload for file", "Upload successful", success)
        said = (line for line in answer.stdout.splitlines() if not any(words in line for words in harmless))
        trouble = next((line for line in said if _TROUBLE.search(line)), None)
        if answer.exit_code or line is None or trouble:
            reason = (trouble or answer.reason).strip()
            raise PublishError(f"{subject}: Kaggle did not take it ({reason}). {_advice(answer)}")
        return line

    def ask(self, subject: str, *arguments: str) -> Answer | None:
        """Call the client to learn something; None when Kaggle has no such thing.

        Raises:
            NoAnswerError: There is no telling now.
            PublishError: There is no telling at all.
        """
        answer = self.run(*arguments)
        if answer.says_absent:
            return None
        if answer.exit_code:
            advice = _advice(answer)
            error = PublishError if advice == SIGN_IN else NoAnswerError
            raise error(f"{subject}: Kaggle could not be asked ({answer.reason}). {advice}")
        return answer

    def files(self, subject: str, *arguments: str) -> dict[str, int] | None:
        """List remote files with their sizes, over all pages; None when Kaggle has no such thing.

        Raises:
            PublishError: The list cannot be read.
        """
        found: dict[str, int] = {}
        page: tuple[str, ...] = ()
        while True:
            answer = self.ask(subject, *arguments, "--format", "json", "--page-size", str(PAGE_SIZE), *page)
            if answer is None:
                return None
            token, items = _page(subject, answer)
            found.update((str(item["name"]), int(item.get("size") or 0)) for item in items)
            if not token or page == ("--page-token", token):
                return found
            page = ("--page-token", token)

    def wait(self, look: Callable[[], Result | None], *, otherwise: Callable[[], str]) -> Result:
        """Look again and again, at growing intervals, until there is a result; a few looks may fail.

        Raises:
            PublishError: There was none in time; ``otherwise`` gives the message.
        """
        end, pause, failed = time.monotonic() + self.wait_seconds, 0.5, 0
        while True:
            try:
                result, failed = look(), 0
            except NoAnswerError as error:
                result, failed = None, failed + 1
                if failed > FAILED_POLLS or time.monotonic() + pause > end:
                    raise
                logger.info("%s", error)
            if result is not None:
                return result
            if time.monotonic() + pause > end:
                raise PublishError(otherwise())
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def client_path() -> str:
    """The ``kaggle`` command: beside this Python, else on the path.

    Raises:
        PublishError: It is not installed.
    """
    beside = Path(sys.executable).with_name("kaggle")
    found = str(beside) if beside.is_file() else shutil.which("kaggle")
    if not found:
        raise PublishError("kaggle: is not installed. Run `pip install kaggle six`, then `kaggle auth login`.")
    return found


def _page(subject: str, answer: Answer) -> tuple[str, list[dict[str, Any]]]:
    """The token of the next page and the items of this one; the client prints the token before the JSON."""
    lines = answer.stdout.splitlines()
    token = next((line.removeprefix(_NEXT_PAGE).strip() for line in lines if line.startswith(_NEXT_PAGE)), "")
    document = "\n".join(line for line in lines if not line.startswith(_NEXT_PAGE)).strip()
    try:
        items = json.loads(document or "[]")
    except ValueError:
        items = None
    if not isinstance(items, list):
        raise PublishError(f"{subject}: its files could not be listed ({answer.reason}). Give the same command again.")
    return token, items


def _advice(answer: Answer) -> str:
    said = "\n".join(answer.lines).lower()
    for sign, advice in _ADVICE:
        if sign in said:
            return advice
    return "Nothing was confirmed; look at its page on Kaggle, then give the same command again."


_ADVICE = (
    ("authentication required", SIGN_IN),
    ("unauthorized", SIGN_IN),
    ("already in use", "Choose another --title and --slug."),
    ("upload unsuccessful", "What arrived lacks that file; send it again before anyone uses it."),
    ("use '--dir-mode'", "What arrived lacks that folder; send it again with --dir-mode zip."),
    ("not valid dataset sources", "Publish these datasets first, then this notebook again."),
    ("not valid kernel sources", "Push these notebooks first, then this one again."),
    ("not valid competition sources", "Accept the competition's rules on Kaggle, then push it again."),
    ("connection", "Check the network and give the same command again."),
)
