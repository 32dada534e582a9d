"""Send what is staged, and compare it with what arrived."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dfutils.errors import PublishError
from dfutils.publishing.kaggle import PAGE_SIZE, Kaggle, NoAnswerError, PendingError
from dfutils.publishing.metadata import DATASET_FILE, NOTEBOOK_FILE, VARIATION_FILE, read_metadata
from dfutils.publishing.package import IMAGE_PYTHONS, project_of, runs_on
from dfutils.publishing.staging import CREATE, CREATE_MODEL, CREATE_VARIATION, PUSH, VERSION, Staged

logger = logging.getLogger(__name__)

NAMES_SHOWN = 3
COMPARED_FLAGS = ("is_private", "enable_gpu", "enable_tpu", "enable_internet")
COMPARED_SOURCES = ("dataset_sources", "kernel_sources", "competition_sources", "model_sources")


class Terms(NamedTuple):
    """Properties that a new version cannot change: whether it is private, its licence if it has one, and its title."""

    private: bool
    licence: str | None
    title: str


def push_dataset(kaggle: Kaggle, staged: Staged, *, fewer_files: bool = False) -> list[str]:
    """Send a staged dataset, new or as a version, and wait until Kaggle holds exactly what was staged.

    With ``fewer_files`` a version may lack files of the one it replaces. Returns lines that say what happened.

    Raises:
        PublishError: It was refused, would lose files, has another visibility than staged, or did not arrive complete.
    """
    name, size, lines = staged.name, sum(staged.files.values()), list[str]()
    logger.info("%s: sending %d files, %.1f MB", name, len(staged.files), size / 1e6)
    ask_status, list_files = ("datasets", "status", name, "--format", "json"), ("datasets", "files", name)
    before = kaggle.ask_json(name, *ask_status)
    if before is not None:
        on_kaggle, licence = _dataset_terms(kaggle, name), staged.metadata["licenses"][0]["name"]
        lines += check_terms(name, on_kaggle, terms(staged.metadata, licence))
        check_not_poorer(name, kaggle.files(name, *list_files), staged.files, allowed=fewer_files)
    command = staged.commands[CREATE if before is None else VERSION]
    lines.append(kaggle.send(name, command, success="is being created"))
    replaced = (before or {}).get("current_version_number") or 0

    def look() -> None:
        now = kaggle.ask_json(name, *ask_status) or {}
        status = now.get("status", "unknown")
        if status in ("failed", "deleted"):
            raise PublishError(f"{name}: Kaggle could not process it (status {status}). Look at its page on Kaggle.")
        # The replaced version stays ready all the time.
        if status != "ready" or (replaced and (now.get("current_version_number") or 0) <= replaced):
            raise PendingError(
                f"{name}: not ready after {kaggle.wait_seconds:.0f} s (status {status}). "
                f"It was sent; ask later with `kaggle datasets status {name}`."
            )

    kaggle.wait(look)
    check_arrived(name, staged.files, kaggle.files(name, *list_files))
    return [*lines, f"{name}: ready, {len(staged.files)} files of {size} bytes arrived"]


def push_model(kaggle: Kaggle, staged: Staged, *, fewer_files: bool = False) -> list[str]:
    """Make a model and its variation, or a new version of it, and compare what arrived; see `push_dataset`."""
    name, size, lines = staged.name, sum(staged.files.values()), list[str]()
    logger.info("%s: sending %d files, %.1f MB", name, len(staged.files), size / 1e6)
    model, variation = name.rsplit("/", 2)[0], None
    ask_variation = ("models", "instances", "get", name)
    list_files = ("models", "instances", "versions", "files")
    on_kaggle = kaggle.ask_json(model, "models", "get", model)
    if on_kaggle is None:
        lines.append(kaggle.send(model, staged.commands[CREATE_MODEL], success="Your model was created"))
    else:
        variation = kaggle.ask_json(name, *ask_variation)
        held = terms(on_kaggle, None if variation is None else variation.get("licenseName", ""))
        licence = read_metadata(staged.folder / VARIATION_FILE)["licenseName"]
        lines += check_terms(model, held, terms(staged.metadata, licence))
    replaced = int((variation or {}).get("versionNumber", 0))
    if variation is None:
        lines.append(kaggle.send(name, staged.commands[CREATE_VARIATION], success="Your model instance was created"))
    else:
        before = kaggle.files(name, *list_files, f"{name}/{replaced}")
        check_not_poorer(name, before, staged.files, allowed=fewer_files)
        lines.append(kaggle.send(name, staged.commands[VERSION], success="Your model instance version was created"))

    def look() -> int:
        version = int((kaggle.ask_json(name, *ask_variation) or {}).get("versionNumber", 0))
        if version <= replaced:
            raise PendingError(f"{name}: no new version after {kaggle.wait_seconds:.0f} s. Look at its page on Kaggle.")
        return version

    place = f"{name}/{kaggle.wait(look)}"
    check_arrived(place, staged.files, kaggle.files(place, *list_files, place))
    return [*lines, f"{place}: {len(staged.files)} files of {size} bytes arrived"]


def push_notebook(kaggle: Kaggle, staged: Staged) -> list[str]:
    """Push a notebook, read it back and wait for its run, unless ``kaggle.wait_seconds`` is 0.

    Raises:
        PublishError: It was refused, lacks a source, differs from what was pushed, or its run failed.
    """
    name, sent = staged.name, staged.metadata
    line = kaggle.send(name, staged.commands[PUSH], success="successfully pushed")
    with tempfile.TemporaryDirectory() as folder:

        def pull() -> dict[str, Any]:
            answer = kaggle.run("kernels", "pull", name, "-p", folder, "-m")
            if answer.exit_code or not Path(folder, NOTEBOOK_FILE).is_file():
                raise NoAnswerError(
                    f"{name}: was pushed, but could not be read back ({answer.reason}), so it is unknown what Kaggle "
                    "holds. Look at its page, or push it again."
                )
            return read_metadata(Path(folder, NOTEBOOK_FILE))

        kept = kaggle.wait(pull)
        notebooks = (
            read_metadata(path) for path in (staged.folder / sent["code_file"], Path(folder, kept["code_file"]))
        )
        cells, kept_cells = (["".join(cell["source"]) for cell in one.get("cells", [])] for one in notebooks)
    # The client does not report a model that could not be attached. "No accelerator" has three spellings.
    differing = [field for field in COMPARED_FLAGS if kept.get(field) != sent[field]]
    differing += ["machine_shape"] if (kept.get("machine_shape") or "None") != sent["machine_shape"] else []
    differing += [field for field in COMPARED_SOURCES if set(kept.get(field) or []) != set(sent[field])]
    differing += ["cells"] if cells != kept_cells else []
    if differing:
        raise PublishError(
            f"{name}: Kaggle's copy differs from what was sent ({', '.join(differing)}). "
            "Look at its page, then push it again."
        )
    read_back = f"{name}: {len(cells)} cells, flags and sources read back as sent"
    return [line, read_back, f"{name}: {wait_for_run(kaggle, name, just_pushed=True)}"]


def wait_for_run(kaggle: Kaggle, notebook: str, *, just_pushed: bool = False) -> str:
    """Wait until a notebook's run is complete and return its status; Kaggle may not find a new one at once.

    Raises:
        PublishError: There is no such notebook, its run failed, or it is not finished in time.
    """

    def look() -> str:
        answer = kaggle.ask(notebook, "kernels", "status", notebook)
        if answer is None:
            raise (NoAnswerError if just_pushed else PublishError)(
                f"{notebook}: there is no such notebook on Kaggle, or it is not yours to see. "
                "Compare the name with the address of its page, sign in with `kaggle auth login`, or push it first."
            )
        found = re.search(r'has status "(?:KernelWorkerStatus\.)?(\w+)"', answer.stdout)
        status = found[1].lower() if found else "unknown"
        if status in ("error", "cancel_requested", "cancel_acknowledged"):
            why = next((line for line in answer.lines if "Failure message" in line), f"status {status}")
            raise PublishError(
                f"{notebook}: its run failed ({why}). Read its log with `kaggle kernels logs {notebook}`."
            )
        if status != "complete" and kaggle.wait_seconds:
            raise PendingError(
                f"{notebook}: its run is not finished after {kaggle.wait_seconds:.0f} s (status {status}). "
                f"It continues; ask later with `kaggle kernels status {notebook}`."
            )
        return status

    return kaggle.wait(look)


def fetch_faces(kaggle: Kaggle, notebook: str, folder: Path) -> Path:
    """Download a finished notebook's output to ``folder`` and return the face dataset in it.

    Raises:
        PublishError: There is no such notebook, its run has not finished, it holds no face dataset, or a file is
            missing or of another size: the client saves an error page under the file's name.
    """
    wait_for_run(kaggle, notebook)
    listed = kaggle.files(notebook, "kernels", "files", notebook)
    faces = sorted(Path(name).parent for name in listed if Path(name).name == "manifest.csv")
    if not faces:
        raise PublishError(f"{notebook}: its output holds no face dataset (no manifest.csv). Name another one.")
    answer = kaggle.run("kernels", "output", notebook, "-p", str(folder), "--force", "--page-size", PAGE_SIZE)
    if answer.exit_code:
        raise PublishError(f"{notebook}: its output could not be fetched ({answer.reason}). Try again.")
    there = {name: (folder / name).stat().st_size for name in listed if (folder / name).is_file()}
    check_arrived(f"{notebook} in {folder}", listed, there)
    return folder / faces[0]


def _dataset_terms(kaggle: Kaggle, name: str) -> Terms:
    with tempfile.TemporaryDirectory() as folder:
        kaggle.ask(name, "datasets", "metadata", name, "-p", folder)
        try:
            info = read_metadata(Path(folder) / DATASET_FILE)["info"]
            return terms(info, info["licenses"][0]["name"])
        except (PublishError, AttributeError, KeyError, IndexError, TypeError):
            raise PublishError(
                f"{name}: whether it is private on Kaggle cannot be read. Nothing was sent. "
                "Look at its page on Kaggle, then repeat the command."
            ) from None


def terms(document: Mapping[str, Any], licence: str | None) -> Terms:
    """Read the terms of a dataset or model; the client omits an ``isPrivate`` that is false."""
    return Terms(bool(document.get("isPrivate")), licence, document.get("title", ""))


def check_terms(name: str, held: Terms, staged: Terms) -> list[str]:
    """Compare the terms held on Kaggle with those staged: a new title gives a line, other changes a `PublishError`."""
    if staged.private and not held.private:
        raise PublishError(
            f"{name}: is public on Kaggle, and so is every version of it, but it was staged as private. Nothing was "
            "sent. Make it private on its page, or add --public --i-have-the-rights if everybody may see it."
        )
    if held.private and not staged.private:
        raise PublishError(
            f"{name}: is private on Kaggle, and so is every version of it: --public cannot change that. "
            "Nothing was sent. Make it public on its page and send it again, or leave --public out."
        )
    # Kaggle calls "Attribution 4.0 International (CC BY 4.0)" by either name.
    there, here = ({part.strip().casefold() for part in re.split(r"[()]", one.licence or "")} for one in (held, staged))
    if held.licence is not None and not (there & here) - {""}:
        raise PublishError(
            f"{name}: its licence on Kaggle is {held.licence!r}, which a new version keeps, but {staged.licence!r} was "
            f"staged. Nothing was sent. Change it on its page, or give --licence {held.licence!r} --i-have-the-rights."
        )
    if held.title == staged.title:
        return []
    return [f"{name}: keeps its title {held.title!r}; to make it {staged.title!r}, change it on its page on Kaggle"]


def check_not_poorer(name: str, before: Iterable[str], staged: Iterable[str], *, allowed: bool) -> None:
    """Raise `PublishError` for a version that lacks files of the one it replaces, unless that is allowed.

    A wheel counts as replaced if other wheels of its project serve the same of `IMAGE_PYTHONS`.
    """
    names, here = list(before), set(staged)
    here_wheels = [one for one in here if one.endswith(".whl")]

    def is_kept(file: str) -> bool:
        if not file.endswith(".whl"):
            return file in here
        wheels = [one for one in here_wheels if project_of(one) == project_of(file)]
        served = [python for python in IMAGE_PYTHONS if runs_on(file, python)]
        return bool(wheels) and all(any(runs_on(one, python) for one in wheels) for python in served)

    lost = [file for file in names if not is_kept(file)]
    if lost and not allowed:
        raise PublishError(
            f"{name}: the new version would lack {len(lost)} of {len(names)} files ({_some(lost)}). "
            "Nothing was sent. Stage them too, or give --fewer-files if that is intended."
        )


def check_arrived(name: str, staged: Mapping[str, int], arrived: Mapping[str, int]) -> None:
    """Raise `PublishError` if names or sizes of what was staged differ from what Kaggle lists."""
    differences = {
        "missing": [file for file in staged if file not in arrived],
        "of another size": [file for file in staged if arrived.get(file, staged[file]) != staged[file]],
        "not staged": [file for file in arrived if file not in staged],
    }
    for kind, files in differences.items():
        if files:
            raise PublishError(
                f"{name}: {len(arrived)} files arrived, {len(staged)} were staged; {len(files)} {kind} "
                f"({_some(files)}). Send it again before anyone uses it."
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
