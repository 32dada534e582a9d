"""A detector as a model on the Hugging Face Hub: stage it with its card, send it, and compare what arrived.

What is sent is what `dfutils.pretrained.hub` downloads: weights, JSON, an OpenVINO graph and texts, but no code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dfutils.errors import DfutilsError, PublishError, how_to_install
from dfutils.files import read_csv, read_json
from dfutils.publishing.card import network_text
from dfutils.publishing.credentials import without_credentials
from dfutils.publishing.metadata import HUB_FILE, slugify
from dfutils.publishing.push import check_arrived, check_not_poorer
from dfutils.publishing.staging import Staged, files_of_detector, lay_out
from dfutils.runs.folder import DETECTOR_EXTRAS, DETECTOR_NEEDS, PREDICTION_COLUMNS, RunFolder
from dfutils.runs.record import DetectorRecord
from dfutils.statistics.formatting import probability_text

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

CARD = "README.md"
TAGS = ("deepfake-detection", "face-forgery-detection", "keras")
TASK = "video-classification"
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,94}[A-Za-z0-9]")


def stage_for_hub(
    run: Path,
    staging: Path,
    *,
    owner: str,
    slug: str | None = None,
    title: str | None = None,
    licence: str | None = None,
    public: bool = False,
) -> Staged:
    """Lay out what prediction needs of a run folder, with a card for the Hub.

    Args:
        run: The run folder of one detector.
        staging: The folder to make; an earlier staging of the same model is replaced.
        owner: User or organisation on the Hub.
        slug: Last part of the address; by default from the title, or else from the detector's name.
        title: Heading of the card; by default the detector's name.
        licence: Identifier of the Hub, such as ``cc-by-nc-4.0``; by default ``other``, with the terms in ``LICENSE``.
        public: Whether everybody may see it.

    Raises:
        PublishError: The run folder is incomplete, altered or an ensemble, or the Hub would refuse the name.
        DatasetError: ``staging`` cannot be written.
    """
    files, _ = files_of_detector(run)
    record = RunFolder(run).detector()
    slug = slug or slugify(title or record.name)
    for what, part in (("owner", owner), ("slug", slug)):
        if not _NAME.fullmatch(part):
            raise PublishError(f"{what}: {part!r} is no name on the Hub. Use letters, digits and single hyphens.")
    name = f"{owner}/{slug}"
    card = hub_card(run, record, name=name, title=title or record.name, licence=licence)
    document = {"id": name, "isPrivate": not public}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, CARD).write_text(card, encoding="utf-8")
        sizes = lay_out(staging, {CARD: Path(folder, CARD), **files}, {HUB_FILE: document}, source=run)
    return Staged(name, staging, document, sizes, {})


def hub_card(run: Path, record: DetectorRecord, *, name: str, title: str, licence: str | None) -> str:
    """Return the card of a detector: the block of metadata that the Hub reads, and what a visitor should know.

    The block's values are written as JSON, which is YAML too.
    """
    terms = run / "LICENSE"
    measured = measurements(run)
    metadata: dict[str, Any] = {"license": licence.lower() if licence else "other"}
    if not licence and terms.is_file():
        metadata |= {"license_name": "see-license", "license_link": terms.name}
    metadata |= {"library_name": "dfutils", "pipeline_tag": TASK, "tags": [*TAGS, record.model]}
    if measured:
        results = [
            {
                "task": {"type": TASK},
                "dataset": {"name": where, "type": slugify(where)},
                "metrics": [{"type": "roc_auc", "name": "AUC", "value": value}],
            }
            for where, value in measured.items()
        ]
        metadata["model-index"] = [{"name": title, "results": results}]
    block = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in metadata.items())

    real_up_to, fake_from = record.answer_range
    about = run / "MODEL_CARD.md"
    text = re.sub(r"\A# .*\n", "", about.read_text(encoding="utf-8")).strip() if about.is_file() else ""
    parts = [
        f"# {title}",
        "Estimates the probability that a face in a video or image was swapped or re-enacted. A verdict is a hint and "
        "no proof: forgeries of kinds that were not in the training data are often missed.",
        network_text(run, record.model_dump()),
        "## Use",
        "With the package dfutils and its extras `hub` and `predict`:",
        f'```python\nfrom dfutils import load_detector\n\ndetector = load_detector("hf://{name}")\n'
        'print(detector.predict("video.mp4"))\n```',
        f"```sh\ndfutils predict video.mp4 --model hf://{name}\n```",
        f"The answer is REAL up to a probability of {probability_text(real_up_to, 3)}, FAKE from "
        f"{probability_text(fake_from, 3)} on, and UNDECIDED between. Calibration and thresholds were fitted on "
        f"{record.fitted_in_words}, for a share of FAKE of {probability_text(record.prior)}.",
    ]
    if measured and not text:  # the model card has its own table
        rows = [f"| {where} | {value:.2f} |" for where, value in measured.items()]
        parts.append("\n".join(["| measured on | AUC |", "|---|---|", *rows]))
    parts.append(text)
    if terms.is_file():
        parts.append(f"## Terms of the weights\n\n{terms.read_text(encoding='utf-8').strip()}")
    return f"---\n{block}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def measurements(run: Path) -> dict[str, float]:
    """Return each AUC that is known for a run, by what it was measured on; empty if none is.

    An included detector has ``metrics.json``, and a run the scores of its test split in ``predictions.csv``.
    """
    folder = RunFolder(run)
    if (run / "metrics.json").is_file():
        known = read_json(run / "metrics.json").get("measured", {})
        return {
            where.removesuffix(": AUC"): float(text.split()[0])
            for where, text in known.items()
            if where.endswith(": AUC")
        }
    if not folder.predictions_file.is_file():
        return {}
    from dfutils.statistics.estimates import auc_score  # and pandas

    with suppress(DfutilsError):  # a test split with one label, or a table of other columns
        rows = [row for row in read_csv(folder.predictions_file, PREDICTION_COLUMNS) if row["split"] == "test"]
        is_fake = [row["is_fake"] == "true" for row in rows]
        return {"test split": round(auc_score(is_fake, [float(row["fake_probability"]) for row in rows]), 4)}
    return {}


def owner_on_hub() -> str:
    """Return the name of the account that huggingface_hub is signed in as.

    Raises:
        PublishError: Nobody is signed in, or the Hub cannot be asked.
    """
    return str(_asked("owner", _signed_in("owner").whoami)["name"])


def push_to_hub(staged: Staged, *, notes: str, fewer_files: bool = False) -> list[str]:
    """Send a staged detector, new or as a commit, and compare what arrived. Returns lines that say what happened.

    Files that the repository has besides those of a detector are left as they are.

    Args:
        staged: What `stage_for_hub` returned.
        notes: Message of the commit.
        fewer_files: Whether files of the detector that the repository holds may be deleted.

    Raises:
        PublishError: Nobody is signed in, it was refused, has another visibility than staged, or did not arrive
            complete.
    """
    name, private, lines = staged.name, bool(staged.metadata["isPrivate"]), list[str]()
    api = _signed_in(name)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.utils import disable_progress_bars

    if not (sys.stderr and sys.stderr.isatty()):
        disable_progress_bars()
    try:
        info = _asked(name, lambda: api.model_info(name), passed_on=RepositoryNotFoundError)
    except RepositoryNotFoundError:
        _asked(name, lambda: api.create_repo(name, private=private))
        lines.append(f"{name}: was created, {'private' if private else 'public'}")
        info, held = None, {}
    else:
        if bool(info.private) != private:
            there, advice = ("private", "leave --public out") if info.private else ("public", "add --public")
            raise PublishError(
                f"{name}: is {there} on the Hub, which a new version keeps. Nothing was sent. "
                f"Change it in its settings there, or {advice}."
            )
        held = {one: size for one, (size, _) in _held(api, name, info.sha).items() if one in _ours()}
        check_not_poorer(name, held, staged.files, allowed=fewer_files)
    logger.info("%s: sending %d files, %.1f MB", name, len(staged.files), sum(staged.files.values()) / 1e6)
    lost = sorted(set(held) - set(staged.files))
    additions = [CommitOperationAdd(one, str(staged.folder / one)) for one in staged.files]
    operations = [*additions, *(CommitOperationDelete(one) for one in lost)]
    parent = info.sha if info else None
    commit = _asked(name, lambda: api.create_commit(name, operations, commit_message=notes, parent_commit=parent))
    arrived = {one: found for one, found in _held(api, name, commit.oid).items() if one in _ours()}
    check_arrived(name, staged.files, {one: size for one, (size, _) in arrived.items()})
    if damaged := [one for one in staged.files if arrived[one][1] not in _checksums(staged.folder / one)]:
        raise PublishError(f"{name}: {damaged[0]} arrived with another content. Send it again before anyone uses it.")
    size = sum(staged.files.values())
    return [*lines, f"hf://{name}@{commit.oid}: {len(staged.files)} files of {size} bytes arrived"]


def _ours() -> set[str]:
    return {CARD, *DETECTOR_NEEDS, *DETECTOR_EXTRAS}


def _held(api: HfApi, name: str, revision: str) -> dict[str, tuple[int, str]]:
    """Return size and checksum of each file of a repository: SHA-256 of large files, otherwise that of git."""

    def look() -> dict[str, tuple[int, str]]:
        files = [one for one in api.list_repo_tree(name, recursive=True, revision=revision) if hasattr(one, "size")]
        return {one.path: (one.size, one.lfs.sha256 if one.lfs else one.blob_id) for one in files}

    return _asked(name, look)


def _checksums(path: Path) -> tuple[str, str]:
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha256(content).hexdigest(), hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def _signed_in(name: str) -> HfApi:
    try:
        from huggingface_hub import HfApi, get_token
    except ModuleNotFoundError as error:
        raise PublishError(f"{name}: needs {error.name}, which is not installed. {how_to_install('hub')}.") from error
    if not get_token():
        raise PublishError(
            f"{name}: nobody is signed in to the Hub. Run `hf auth login` with a token that may write, or set HF_TOKEN."
        )
    return HfApi(library_name="dfutils")


def _asked(name: str, ask: Callable[[], Result], *, passed_on: type[Exception] | tuple[()] = ()) -> Result:
    """Return what the Hub answers; any error but those ``passed_on`` becomes a `PublishError` of one line."""
    try:
        return ask()
    except passed_on:
        raise
    except Exception as error:  # of the HTTP library, which differs between versions
        said = f"{error}\n{error.__cause__ or ''}" if type(error) is RuntimeError else str(error)
        lines = [line.strip(" .") for line in said.splitlines() if line and not line.startswith("For more information")]
        reason = without_credentials("; ".join(lines[:2])) or type(error).__name__
        raise PublishError(
            f"{name}: the Hub refused it or could not be reached ({reason}). Check the name and that your token may "
            "write there, then repeat the command."
        ) from error
