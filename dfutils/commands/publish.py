"""``dfutils publish``: one sub-command per kind of content, which stages it, and sends it only with ``--push``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import dfutils
from dfutils.commands.base import add_usual_options, print_result
from dfutils.errors import PublishError

if TYPE_CHECKING:
    from dfutils.publishing.kaggle import Kaggle
    from dfutils.publishing.staging import Staged

EXAMPLES = {
    "dataset": "dfutils publish dataset faces --owner some-one",
    "package": "dfutils publish package --with-wheels",
    "notebooks": "dfutils publish notebooks --owner some-one",
    "model": "dfutils publish model run --owner some-one",
    "space": "dfutils publish space --staging to-send",
}
EXAMPLE = EXAMPLES["dataset"]

NOTEBOOKS_MINUTES, OTHERS_MINUTES = 720, 60


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each kind, with its options."""
    kinds = parser.add_subparsers(
        dest="kind", required=True, metavar="KIND", parser_class=argparse.ArgumentParser, title="what to publish"
    )

    def add(kind: str, summary: str) -> argparse.ArgumentParser:
        command = kinds.add_parser(kind, help=summary, description=summary)
        add_usual_options(command, EXAMPLES[kind])
        return command

    dataset = add("dataset", "stage a face dataset for Kaggle; send it with --push")
    dataset.add_argument("source", type=Path, metavar="FACES", help="face dataset")
    dataset.add_argument("--fetch", metavar="OWNER/NOTEBOOK", help="first download this notebook's output to FACES")

    package = add("package", "stage the package as a Kaggle dataset for offline notebooks; send it with --push")
    package.add_argument("source", nargs="?", type=Path, default=Path(), metavar="PROJECT", help="default: .")
    package.add_argument("--with-wheels", action="store_true", help="also download packages that Kaggle's image lacks")

    notebooks = add("notebooks", "stage the notebooks for Kaggle; send and run them with --push")
    notebooks.add_argument(
        "source", nargs="?", type=Path, default=Path("notebooks"), metavar="NOTEBOOKS", help="a notebook, or a folder"
    )

    model = add("model", "stage a detector as a model for Kaggle or the Hugging Face Hub; send it with --push")
    model.add_argument("source", type=Path, metavar="RUN", help="run folder")
    model.add_argument(
        "--to", choices=["kaggle", "huggingface"], default="kaggle", help="where to publish it (default: %(default)s)"
    )

    space = add("space", "stage the web page as a Hugging Face Space")
    space.add_argument("source", nargs="?", type=Path, default=Path(), metavar="PROJECT", help="default: .")
    space.add_argument("--no-check", action="store_true", help="skip the test start in a fresh environment (2 GB)")

    for kind, command in kinds.choices.items():
        command.add_argument("--staging", type=Path, metavar="DIR", help="folder to stage it in (default: below dist/)")
        if kind != "space":
            command.add_argument("--push", action="store_true", help="send it; otherwise nothing leaves the machine")
            command.add_argument("--owner", metavar="NAME", help="owner in its address (default: as signed in)")
            command.add_argument("--metadata", type=Path, metavar="DIR", help="default: kaggle-metadata")
            command.add_argument("--public", action="store_true", help="make it public; needs --i-have-the-rights")
            command.add_argument(
                "--i-have-the-rights", action="store_true", help="confirm that you may publish or license it this way"
            )
            minutes = NOTEBOOKS_MINUTES if kind == "notebooks" else OTHERS_MINUTES
            command.add_argument(
                "--wait",
                type=float,
                default=minutes,
                metavar="MINUTES",
                help="wait this long for Kaggle (default: %(default)s)",
            )
    for command in (dataset, package, model):
        command.add_argument(
            "--version-notes",
            metavar="TEXT",
            default=f"dfutils {dfutils.__version__}",
            help="what changed (default: the package's version)",
        )
        command.add_argument("--slug", metavar="NAME", help="last part of its address (default: from the title)")
        command.add_argument("--title", metavar="TEXT", help="title on the page (default: as in kaggle-metadata)")
        command.add_argument("--subtitle", metavar="TEXT", help="20 to 80 characters (default: as in kaggle-metadata)")
        command.add_argument("--licence", metavar="NAME", help="replaces the committed one; needs --i-have-the-rights")
        command.add_argument(
            "--fewer-files", action="store_true", help="the new version may lack files of the one it replaces"
        )


def run(options: argparse.Namespace) -> None:
    """Stage it, and send it if asked."""
    if options.kind == "space":
        _stage_space(options)
        return
    from dfutils.publishing.credentials import check_no_credentials
    from dfutils.publishing.kaggle import Kaggle
    from dfutils.publishing.metadata import metadata_folder, owner_name
    from dfutils.publishing.notebooks import stage_notebooks
    from dfutils.publishing.push import push_dataset, push_model, push_notebook

    is_for_hub = options.kind == "model" and options.to == "huggingface"
    if (options.public or getattr(options, "licence", None)) and not options.i_have_the_rights:
        raise PublishError(
            "rights: --public and --licence are for content that you have the rights to. Add --i-have-the-rights if "
            "you do; faces of research data sets stay private."
        )
    if is_for_hub:
        _publish_on_hub(options)
        return
    kaggle = Kaggle(wait_seconds=60 * options.wait)
    staging = options.staging or Path("dist", "kaggle", options.kind)
    if options.kind == "notebooks":
        folder, owner = metadata_folder(options.metadata), owner_name(options.owner)
        staged = stage_notebooks(options.source, staging, metadata=folder, owner=owner, public=options.public)
    else:
        staged = [_stage(options, staging, kaggle)]
    check_no_credentials(staging)
    sent: list[str] = []
    for one in staged if options.push else ():
        if options.kind == "notebooks":
            sent += push_notebook(kaggle, one)
        else:
            push = push_model if options.kind == "model" else push_dataset
            sent += push(kaggle, one, fewer_files=options.fewer_files)

    names = [one.name for one in staged]
    sizes = [size for one in staged for size in one.files.values()]
    remarks = [remark for one in staged for remark in one.remarks]
    commands = [command for one in staged for command in one.shell_commands()]
    document = {
        "names": names,
        "folder": str(staging),
        "files": len(sizes),
        "size_bytes": sum(sizes),
        "commands": [{"to": purpose, "command": command} for purpose, command in commands],
        "notes": remarks,
        "pushed": bool(sent),
        "sent": sent,
    }
    lines = [f"{', '.join(names)}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB staged in {staging}", *remarks, *sent]
    if not sent:
        lines += [f"to {purpose}:\n  {command}" for purpose, command in commands]
        lines.append("Nothing was sent. Add --push to send it.")
    print_result(options, document, lines)


def _stage(options: argparse.Namespace, staging: Path, kaggle: Kaggle) -> Staged:
    """Stage a dataset, the package or a model, with its committed metadata as changed on the command line."""
    from dfutils.publishing import metadata
    from dfutils.publishing.package import stage_package
    from dfutils.publishing.push import fetch_faces
    from dfutils.publishing.staging import stage_dataset, stage_model

    folder, owner = metadata.metadata_folder(options.metadata), metadata.owner_name(options.owner)
    folder /= {"dataset": "datasets/faces", "package": "datasets/dfutils", "model": "models/detector"}[options.kind]
    file = metadata.MODEL_FILE if options.kind == "model" else metadata.DATASET_FILE
    document = metadata.read_metadata(folder / file, owner=owner)
    changes = {"title": options.title, "subtitle": options.subtitle, "isPrivate": not options.public}
    document.update({field: value for field, value in changes.items() if value is not None})
    slug = options.slug or (metadata.slugify(options.title) if options.title else None)
    notes = options.version_notes
    if options.kind == "model":
        variation = metadata.read_metadata(folder / metadata.VARIATION_FILE, owner=owner)
        document["slug"] = slug or document.get("slug")
        variation["licenseName"] = options.licence or variation.get("licenseName")
        return stage_model(options.source, staging, model=document, variation=variation, notes=notes)

    slug = slug or str(document.get("id")).rpartition("/")[2]
    document["id"] = f"{owner}/{slug}"
    document.update({"licenses": [{"name": options.licence}]} if options.licence else {})
    if options.kind == "package":
        return stage_package(options.source, staging, document, notes=notes, with_wheels=options.with_wheels)
    faces = fetch_faces(kaggle, options.fetch, options.source) if options.fetch else options.source
    title = str(document.get("title"))
    return stage_dataset(faces, staging, owner=owner, slug=slug, title=title, metadata=document, notes=notes)


def _publish_on_hub(options: argparse.Namespace) -> None:
    from dfutils.publishing.credentials import check_no_credentials
    from dfutils.publishing.hugging_face import owner_on_hub, push_to_hub, stage_for_hub

    for_kaggle = {
        "--metadata": options.metadata,
        "--subtitle": options.subtitle,
        "--wait": options.wait != OTHERS_MINUTES,
    }
    if given := [name for name, value in for_kaggle.items() if value]:
        options.usage_error(f"{given[0]} is for Kaggle: omit it with --to huggingface")
    if not options.owner and not options.push:
        raise PublishError("owner: is unknown, as nothing is sent without --push. Give --owner, your name on the Hub.")
    staged = stage_for_hub(
        options.source,
        options.staging or Path("dist", "huggingface", "model"),
        owner=options.owner or owner_on_hub(),
        slug=options.slug,
        title=options.title,
        licence=options.licence,
        public=options.public,
    )
    check_no_credentials(staged.folder)
    sent = push_to_hub(staged, notes=options.version_notes, fewer_files=options.fewer_files) if options.push else []
    size = sum(staged.files.values())
    document = {
        "names": [staged.name],
        "folder": str(staged.folder),
        "files": len(staged.files),
        "size_bytes": size,
        "pushed": bool(sent),
        "sent": sent,
    }
    lines = [f"{staged.name}: {len(staged.files)} files, {size / 1e6:.1f} MB staged in {staged.folder}", *sent]
    if not sent:
        lines += [f"  {name}" for name in staged.files]
        lines.append("Nothing was sent. Add --push to send it.")
    print_result(options, document, lines)


def _stage_space(options: argparse.Namespace) -> None:
    from dfutils.publishing.space import check_space, stage_space

    staging = options.staging or Path("dist", "space")
    files = stage_space(options.source, staging)
    check = None if options.no_check else check_space(staging)
    size = sum(files.values())
    document = {
        "folder": str(staging),
        "files": files,
        "size_bytes": size,
        "check": asdict(check) if check else None,
    }
    lines = [
        f"{len(files)} files, {size / 1e6:.1f} MB staged in {staging}: {', '.join(files)}",
        check.line() if check else "It was not checked (--no-check).",
        "Nothing was sent. To publish it: create a Gradio Space, copy these files into its repository, and push with "
        "git (the wheel is larger than 10 MB: git lfs track '*.whl').",
    ]
    print_result(options, document, lines)
