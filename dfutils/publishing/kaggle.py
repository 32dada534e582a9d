"""Call Kaggle's command line and read its output: the exit code alone does not tell whether something arrived."""

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

PAGE_SIZE = "200"
"""Maximum number of rows that the client lists at a time."""
LONGEST_PAUSE_SECONDS = 30.0
UNANSWERED_IN_A_ROW = 5
"""Number of consecutive requests that may fail while waiting: two minutes of a run that takes hours."""
SIGN_IN = "Sign in with `kaggle auth login`."

# Kaggle answers "not there" and "not yours to see" alike; the client ends a 404 with the hint "To search for one, …".
_ABSENT = re.compile(r"\b40[34]\b|not found|forbidden|denied|cannot access|to search for one", re.IGNORECASE)
_TROUBLE = re.compile(
    r"error|unsuccessful|skipping|not valid|already in use|denied|refused|forbidden|"
    r"authentication required|failure message|unauthori[sz]ed|exception:",
    re.IGNORECASE,
)
_HARMLESS = re.compile("Starting upload for file|Upload successful")
_ADVICE = {
    "authentication required": SIGN_IN,
    "unauthorized": SIGN_IN,
    "already in use": "Choose another --title and --slug.",
    "upload unsuccessful": "What arrived lacks that file; send it again before anyone uses it.",
    "not valid dataset sources": "Publish these datasets first, then this notebook again.",
    "not valid kernel sources": "Push these notebooks first, then this one again.",
    "not valid competition sources": "Accept the competition's rules on Kaggle, then push it again.",
    "connection": "Check the network and repeat the command.",
}


class NoAnswerError(PublishError):
    """Raised when Kaggle did not answer; it may do so a little later."""


class PendingError(PublishError):
    """Raised while Kaggle is still working; its message is shown if that takes too long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Exit code and output of the client, without credentials. Exit code 0 does not mean that it worked."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """All output without progress bars and empty lines."""
        lines = (line.strip() for line in f"{self.stdout}\n{self.stderr}".splitlines())
        return [line for line in lines if line and "%|" not in line]

    @property
    def reason(self) -> str:
        """The most informative line about what went wrong; after a traceback, the last one."""
        if not self.lines:
            return f"no output, exit code {self.exit_code}"
        if any(line.startswith("Traceback") for line in self.lines):
            return self.lines[-1]
        return next((line for line in self.lines if _TROUBLE.search(line)), self.lines[-1])

    @property
    def advice(self) -> str:
        """What to do about a failure."""
        output = "\n".join(self.lines).lower()
        found = (advice for sign, advice in _ADVICE.items() if sign in output)
        return next(found, "Nothing was confirmed; look at its page on Kaggle, then repeat the command.")


@dataclass(frozen=True, slots=True)
class Kaggle:
    """Kaggle's command line: how long one command may take, and how long Kaggle may process what was sent."""

    timeout_seconds: float = 6 * 3600.0
    wait_seconds: float = 3600.0

    def run(self, *arguments: str) -> Answer:
        """Call the client once, or raise `PublishError` if it is not installed or does not end in time."""
        beside = Path(sys.executable).with_name("kaggle")
        client = str(beside) if beside.is_file() else shutil.which("kaggle")
        if not client:
            raise PublishError("kaggle: is not installed. Run `pip install kaggle six`, then `kaggle auth login`.")
        logger.debug("kaggle %s", " ".join(arguments))
        try:
            done = subprocess.run(
                [client, "-W", *arguments],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=self.timeout_seconds,
                check=False,
                env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"},
            )
        except subprocess.TimeoutExpired:
            raise PublishError(
                f"kaggle {' '.join(arguments[:2])}: did not finish within {self.timeout_seconds:.0f} s. "
                "Check the connection and repeat the command."
            ) from None
        except OSError as error:
            raise PublishError(f"{client}: cannot be run ({error.strerror}). Install it again.") from error
        streams = (without_credentials(text.decode("utf-8", "replace")) for text in (done.stdout, done.stderr))
        answer = Answer(done.returncode, *streams)
        logger.debug("%s", "\n".join(answer.lines))
        return answer

    def send(self, subject: str, arguments: Sequence[str], *, success: str) -> str:
        """Send something and return the client's line of success.

        The client has no JSON for this: it worked if the output has its message of success and no sign of trouble.

        Raises:
            PublishError: Kaggle did not accept it, or not all of it.
        """
        answer = self.run(*arguments)
        line = next((line for line in answer.lines if success in line), None)
        others = (line for line in answer.stdout.splitlines() if success not in line and not _HARMLESS.search(line))
        trouble = next((line for line in others if _TROUBLE.search(line)), None)
        if answer.exit_code or line is None or trouble:
            reason = (trouble or answer.reason).strip()
            raise PublishError(f"{subject}: Kaggle did not accept it ({reason}). {answer.advice}")
        return line

    def ask(self, subject: str, *arguments: str) -> Answer | None:
        """Ask Kaggle for something; None if it does not exist there.

        Raises:
            NoAnswerError: Kaggle did not answer.
            PublishError: The client is not signed in.
        """
        answer = self.run(*arguments)
        if answer.exit_code and _ABSENT.search(answer.reason):
            return None
        if answer.exit_code:
            error = PublishError if answer.advice == SIGN_IN else NoAnswerError
            raise error(f"{subject}: Kaggle could not be queried ({answer.reason}). {answer.advice}")
        return answer

    def ask_json(self, subject: str, *arguments: str) -> Any:
        """Ask for a JSON document, as `ask` does; any other answer raises `NoAnswerError`."""
        answer = self.ask(subject, *arguments)
        try:
            return json.loads(answer.stdout) if answer else None
        except ValueError:
            reason = answer.reason if answer else ""
            raise NoAnswerError(f"{subject}: Kaggle's answer is not JSON ({reason}). Give the command again.") from None

    def files(self, subject: str, *arguments: str) -> dict[str, int]:
        """List remote files with their sizes, over all pages, as `ask` does; empty if there are none."""
        found: dict[str, int] = {}
        page: list[str] = []
        while answer := self.ask(subject, *arguments, "--format", "json", "--page-size", PAGE_SIZE, *page):
            # The client prints the token of the next page before the JSON.
            match = re.match(r"Next Page Token = (\S+)\n", answer.stdout)
            try:
                rows = json.loads(answer.stdout[match.end() if match else 0 :])
            except ValueError:
                raise PublishError(
                    f"{subject}: its files could not be listed ({answer.reason}). Repeat the command."
                ) from None
            found.update((row["name"], int(row.get("size") or 0)) for row in rows)
            if not match or match[1] in page:
                break
            page = ["--page-token", match[1]]
        return found

    def wait(self, look: Callable[[], Result]) -> Result:
        """Call ``look`` at growing intervals until it raises neither `PendingError` nor, too often, `NoAnswerError`."""
        end, pause, unanswered = time.monotonic() + self.wait_seconds, min(0.5, LONGEST_PAUSE_SECONDS), 0
        while True:
            try:
                return look()
            except PendingError:
                unanswered = 0
                if time.monotonic() + pause > end:
                    raise
            except NoAnswerError as error:
                unanswered += 1
                if unanswered > UNANSWERED_IN_A_ROW:
                    raise
                logger.info("%s", error)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
