"""The command ``dfutils publish``: stage, check, show the commands; send only when asked."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dfutils
from dfutils.errors import PublishError
from dfutils.publishing.credentials import check_no_credentials
from dfutils.publishing.datasets import push_dataset
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.models import push_model, stage_model
from dfutils.publishing.notebooks import push_notebooks, stage_notebooks
from dfutils.publishing.package import stage_package
from dfutils.publishing.rules import DATASET_FILE, MODEL_FILE, VARIATION_FILE, check_dataset, slugify, uploaded_files
from dfutils.publishing.runs import fetch_output
from dfutils.publishing.staging import stage_dataset
from dfutils.publishing.templates import metadata_folder, owner_name, read_template

KINDS = ("dataset", "package", "notebooks", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """What the command line says.

    Attributes:
        source: What to publish.
        staging: Folder to lay it out in.
        owner: Name in the address of your Kaggle page; None asks Kaggle's client.
        slug: Other than the committed one.
        title: Other than the committed one.
        subtitle: Other than the committed one.
        licence: Other than the committed one; needs ``rights``.
        public: Show it to everybody; needs ``rights``.
        rights: You have the right to publish or license it so.
        notes: What changed.
        fewer_files: A version may lack files of the one it replaces.
        wheels: Download what Kaggle's image lacks.
        fetch: Notebook whose output is downloaded to ``source`` first.
        metadata: ``kaggle-metadata/``, if it is elsewhere.
        push: Send it.
        wait_seconds: How long Kaggle may take.
    """

    source: Path
    staging: Path
    owner: str | None = None
    slug: str | None = None
    title: str | None = None
    subtitle: str | None = None
    licence: str | None = None
    public: bool = False
    rights: bool = False
    notes: str = f"dfutils {dfutils.__version__}"
    fewer_files: bool = False
    wheels: bool = False
    fetch: str | None = None
    metadata: Path | None = None
    push: bool = False
    wait_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Publication:
    """What was staged, how it would be sent, and what happened.

    Attributes:
        names: Addresses on Kaggle.
        folder: Where it lies.
        files: Files to be sent, with their sizes.
        commands: What each command is for, and the command.
        notes: What else there is to know.
        sent: What happened; empty after a dry run.
    """

    names: list[str]
    folder: Path
    files: Mapping[str, int]
    commands: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "names": self.names,
            "folder": str(self.folder),
            "files": len(self.files),
            "size_bytes": sum(self.files.values()),
            "commands": [{"to": purpose, "command": command} for purpose, command in self.commands],
            "notes": self.notes,
            "pushed": bool(self.sent),
            "sent": self.sent,
        }

    def lines(self) -> list[str]:
        """The same for a person."""
        size = sum(self.files.values()) / 1e6
        lines = [
            f"{', '.join(self.names)}: {len(self.files)} files, {size:.1f} MB staged in {self.folder}",
            *self.notes,
        ]
        if self.sent:
            return [*lines, *self.sent]
        lines += [f"to {purpose}:\n  {command}" for purpose, command in self.commands]
        return [*lines, "Nothing was sent. Add --push to send it."]


def publish(kind: str, options: PublishOptions) -> Publication:
    """Stage one of `KINDS`, check it against Kaggle's rules, and send it if asked.

    Raises:
        PublishError: It is not fit to be sent, was refused, or did not arrive whole.
    """
    if (options.public or options.licence) and not options.rights:
        raise PublishError(
            "rights: --public and --licence are for what is yours to give. Add --i-have-the-rights if that is so; "
            "faces of research data sets stay private."
        )
    kaggle = Kaggle(wait_seconds=options.wait_seconds)
    options = replace(options, owner=owner_name(options.owner))
    if options.fetch:
        options = replace(options, source=_fetched(kaggle, options))
    return _PUBLISHERS[kind](kaggle, options)


def _fetched(kaggle: Kaggle, options: PublishOptions) -> Path:
    """The face dataset in a notebook's output, wherever it lies in there."""
    names = fetch_output(kaggle, str(options.fetch), options.source)
    folders = sorted(Path(name).parent for name in names if Path(name).name == "manifest.csv")
    if not folders:
        raise PublishError(f"{options.fetch}: its output holds no face dataset (no manifest.csv). Name another one.")
    return options.source / folders[0]


def _publish_dataset(kaggle: Kaggle, options: PublishOptions) -> Publication:
    document = _dataset_document(options, "faces")
    owner, slug = document["id"].split("/")
    staged = stage_dataset(
        options.source,
        options.staging,
        owner=owner,
        slug=slug,
        title=document["title"],
        subtitle=document.get("subtitle", ""),
        about=document.get("description", ""),
        keywords=document["keywords"],
        licence=document["licenses"][0]["name"],
        public=options.public,
    )
    check_dataset(staged.metadata, staged.folder)
    return _sent_dataset(kaggle, options, staged.folder, staged.metadata, [])


def _publish_package(kaggle: Kaggle, options: PublishOptions) -> Publication:
    document = _dataset_document(options, "dfutils")
    staged = stage_package(
        options.source, options.staging, metadata=document, wheels=options.wheels, offline=not options.wheels
    )
    return _sent_dataset(kaggle, options, staged.folder, staged.metadata, staged.notes)


def _dataset_document(options: PublishOptions, name: str) -> dict[str, Any]:
    """The committed metadata with what the command line says otherwise."""
    path = metadata_folder(options.metadata) / "datasets" / name / DATASET_FILE
    document = read_template(path, owner=str(options.owner))
    slug = options.slug or (slugify(options.title) if options.title else None)
    document["id"] = f"{options.owner}/{slug}" if slug else document["id"]
    document["title"] = options.title or document["title"]
    if options.subtitle is not None:
        document["subtitle"] = options.subtitle
    if options.licence:
        document["licenses"] = [{"name": options.licence}]
    document["isPrivate"] = not options.public
    return document


def _sent_dataset(
    kaggle: Kaggle, options: PublishOptions, folder: Path, document: Mapping[str, Any], notes: list[str]
) -> Publication:
    check_no_credentials(folder)
    upload = f"-p {shlex.quote(str(folder))} --dir-mode zip"
    public = " --public" if options.public else ""
    commands = [
        ("make the dataset", f"kaggle datasets create {upload}{public}"),
        ("send a new version", f"kaggle datasets version {upload} -m {shlex.quote(options.notes)}"),
        ("ask whether it is ready", f"kaggle datasets status {document['id']}"),
        ("list what arrived", f"kaggle datasets files {document['id']} --page-size 200"),
    ]
    sent = push_dataset(kaggle, folder, notes=options.notes, fewer_files=options.fewer_files) if options.push else []
    return Publication([document["id"]], folder, uploaded_files(folder), commands, notes, sent)


def _publish_notebooks(kaggle: Kaggle, options: PublishOptions) -> Publication:
    if options.slug or options.title or options.subtitle or options.licence:
        raise PublishError("notebooks: have their names in kaggle-metadata/notebooks. Change them there.")
    staged = stage_notebooks(
        options.source,
        options.staging,
        metadata=metadata_folder(options.metadata),
        owner=str(options.owner),
        public=options.public,
    )
    check_no_credentials(options.staging)
    names = [one.metadata["id"] for one in staged]
    commands = []
    for one in staged:
        commands.append((f"run {one.metadata['title']}", f"kaggle kernels push -p {shlex.quote(str(one.folder))}"))
        commands.append(("ask how far it is", f"kaggle kernels status {one.metadata['id']}"))
    files = {f"{one.folder.name}/{name}": size for one in staged for name, size in uploaded_files(one.folder).items()}
    sent = push_notebooks(kaggle, staged) if options.push else []
    return Publication(names, options.staging, files, commands, [], sent)


def _publish_model(kaggle: Kaggle, options: PublishOptions) -> Publication:
    folder = metadata_folder(options.metadata) / "models" / "detector"
    model = read_template(folder / MODEL_FILE, owner=str(options.owner))
    variation = read_template(folder / VARIATION_FILE, owner=str(options.owner))
    slug = options.slug or (slugify(options.title) if options.title else model["slug"])
    model.update(slug=slug, title=options.title or model["title"], isPrivate=not options.public)
    if options.subtitle is not None:
        model["subtitle"] = options.subtitle
    if options.licence:
        variation["licenseName"] = options.licence
    staged = stage_model(options.source, options.staging, model=model, variation=variation)
    check_no_credentials(staged.folder)
    upload = f"-p {shlex.quote(str(staged.folder))}"
    commands = [
        ("make the model", f"kaggle models create {upload}"),
        ("make its variation", f"kaggle models instances create {upload} --dir-mode zip"),
        (
            "send a new version",
            f"kaggle models instances versions create {staged.variation_name} {upload} --dir-mode zip "
            f"-n {shlex.quote(options.notes)}",
        ),
    ]
    sent = push_model(kaggle, staged, notes=options.notes, fewer_files=options.fewer_files) if options.push else []
    return Publication([staged.variation_name], staged.folder, uploaded_files(staged.folder), commands, [], sent)


_PUBLISHERS = {
    "dataset": _publish_dataset,
    "package": _publish_package,
    "notebooks": _publish_notebooks,
    "model": _publish_model,
}
