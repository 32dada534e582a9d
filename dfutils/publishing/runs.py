"""The run of a notebook on Kaggle: waiting for it, and fetching what it left."""

from __future__ import annotations

import re
from pathlib import Path

from dfutils.errors import PublishError
from dfutils.publishing.datasets import check_arrived
from dfutils.publishing.kaggle import Kaggle

ABSENT_AFTER_PUSH = 5
"""How often a notebook that was just pushed may not be there yet."""

_STATUS = re.compile(r'has status "(?:KernelWorkerStatus\.)?(\w+)"')
_FAILED = {"error", "cancel_requested", "cancel_acknowledged"}


def wait_for_run(kaggle: Kaggle, notebook: str, *, just_pushed: bool = False) -> str:
    """Wait until a notebook's run is complete; its status.

    Args:
        kaggle: The client.
        notebook: Its address.
        just_pushed: It is surely there, although Kaggle may not find it at once.

    Raises:
        PublishError: There is no such notebook, its run failed, or is not over in time.
    """
    status, absent = "", 0

    def look() -> str | None:
        nonlocal status, absent
        answer = kaggle.ask(notebook, "kernels", "status", notebook)
        absent = 0 if answer else absent + 1
        if absent > (ABSENT_AFTER_PUSH if just_pushed else 0):
            raise PublishError(
                f"{notebook}: there is no such notebook on Kaggle, or it is not yours to see. "
                "Compare the name with the address of its page, sign in with `kaggle auth login`, or push it first."
            )
        found = _STATUS.search(answer.stdout) if answer else None
        status = found.group(1).lower() if found else "unknown"
        if status in _FAILED and answer:
            why = next((line for line in answer.lines if "Failure message" in line), f"status {status}")
            raise PublishError(
                f"{notebook}: its run failed ({why}). Read its log with `kaggle kernels logs {notebook}`."
            )
        return status if status == "complete" or not kaggle.wait_seconds else None

    return kaggle.wait(
        look,
        otherwise=lambda: (
            f"{notebook}: its run is not over after {kaggle.wait_seconds:.0f} s (status {status}). "
            f"It goes on; ask later with `kaggle kernels status {notebook}`."
        ),
    )


def fetch_output(kaggle: Kaggle, notebook: str, folder: Path) -> dict[str, int]:
    """Download a finished notebook's output to ``folder``; the client would keep an error page as the file.

    Returns:
        Names and sizes of the output's files.

    Raises:
        PublishError: There is no such notebook, its run has not finished, or a file is missing or of another size.
    """
    wait_for_run(kaggle, notebook)
    listed = kaggle.files(notebook, "kernels", "files", notebook)
    if not listed:
        raise PublishError(f"{notebook}: has no output. Look at its page on Kaggle.")
    answer = kaggle.run("kernels", "output", notebook, "-p", str(folder), "--force", "--page-size", "200")
    if answer.exit_code:
        raise PublishError(f"{notebook}: its output could not be fetched ({answer.reason}). Try again.")
    there = {name: (folder / name).stat().st_size for name in listed if (folder / name).is_file()}
    check_arrived(f"{notebook} in {folder}", listed, there)
    return listed
