"""``dfutils publish``: a sub-command for each kind of thing."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from dfutils.commands.base import add_usual_options, print_result, show

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
    """Add a sub-command for each kind, with the options that it has."""
    kinds = parser.add_subparsers(
        dest="kind", required=True, metavar="KIND", parser_class=argparse.ArgumentParser, title="what to publish"
    )

    def add(kind: str, summary: str) -> argparse.ArgumentParser:
        command = kinds.add_parser(kind, help=summary, description=summary)
        add_usual_options(command, EXAMPLES[kind])
        return command

    dataset = add("dataset", "stage a face dataset for Kaggle; send it when asked")
    dataset.add_argument("source", type=Path, metavar="FACES", help="face dataset")
    dataset.add_argument("--fetch", metavar="OWNER/NOTEBOOK", help="first download this notebook's output to FACES")

    package = add("package", "stage the package as a Kaggle dataset for notebooks without internet; send it when asked")
    package.add_argument("source", nargs="?", type=Path, default=Path(), metavar="PROJECT", help="default: .")
    package.add_argument("--with-wheels", action="store_true", help="also download what Kaggle's image lacks")

    notebooks = add("notebooks", "stage the notebooks for Kaggle; send and run them when asked")
    notebooks.add_argument(
        "source", nargs="?", type=Path, default=Path("notebooks"), metavar="NOTEBOOKS", help="a notebook, or a folder"
    )

    model = add("model", "stage a detector as a Kaggle model; send it when asked")
    model.add_argument("source", type=Path, metavar="RUN", help="run folder")

    space = add("space", "stage the web page as a Hugging Face Space")
    space.add_argument("source", nargs="?", type=Path, default=Path(), metavar="PROJECT", help="default: .")
    space.add_argument("--no-check", action="store_true", help="do not start it in a fresh environment (2 GB)")

    for kind, command in kinds.choices.items():
        command.add_argument("--staging", type=Path, metavar="DIR", help="folder to stage it in (default: below dist/)")
        if kind != "space":
            command.add_argument("--push", action="store_true", help="send it; otherwise nothing leaves the machine")
            command.add_argument("--owner", metavar="NAME", help="in your Kaggle address (default: as signed in)")
            command.add_argument("--metadata", type=Path, metavar="DIR", help="default: kaggle-metadata")
            command.add_argument("--public", action="store_true", help="show it to everybody; with --i-have-the-rights")
            command.add_argument(
                "--i-have-the-rights", action="store_true", help="it is yours to publish or license like that"
            )
            minutes = NOTEBOOKS_MINUTES if kind == "notebooks" else OTHERS_MINUTES
            command.add_argument(
                "--wait", type=float, default=minutes, metavar="MINUTES", help="for Kaggle (default: %(default)s)"
            )
    for command in (dataset, package, model):
        command.add_argument("--version-notes", metavar="TEXT", help="what changed (default: the package's version)")
        command.add_argument("--slug", metavar="NAME", help="last part of its address (default: made of the title)")
        command.add_argument("--title", metavar="TEXT", help="what people read (default: as in kaggle-metadata)")
        command.add_argument("--subtitle", metavar="TEXT", help="20 to 80 characters (default: as in kaggle-metadata)")
        command.add_argument("--licence", metavar="NAME", help="instead of the committed one; with --i-have-the-rights")
        command.add_argument(
            "--fewer-files", action="store_true", help="the new version may lack files of the one it replaces"
        )


def run(options: argparse.Namespace) -> None:
    """Stage it, and send it if asked."""
    if options.kind == "space":
        _stage_space(options)
        return
    from dfutils.publishing.publish import PublishOptions, publish

    # Not every kind has all of these.
    names = ("owner", "metadata", "public", "push", "slug", "title", "subtitle", "licence", "fewer_files", "fetch")
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if notes := getattr(options, "version_notes", None):
        given["notes"] = notes
    values = PublishOptions(
        source=options.source,
        staging=options.staging or Path("dist", "kaggle", options.kind),
        rights=options.i_have_the_rights,
        wheels=getattr(options, "with_wheels", False),
        wait_seconds=60.0 * options.wait,
        **given,
    )
    publication = publish(options.kind, values)
    show(options, publication)


def _stage_space(options: argparse.Namespace) -> None:
    from dfutils.publishing.space import stage_space
    from dfutils.publishing.space_check import check_space

    staged = stage_space(options.source, options.staging or Path("dist", "space"))
    check = None if options.no_check else check_space(staged.folder)
    size = sum(staged.files.values())
    document = {
        "folder": str(staged.folder),
        "files": staged.files,
        "size_bytes": size,
        "check": asdict(check) if check else None,
    }
    lines = [
        f"{len(staged.files)} files, {size / 1e6:.1f} MB staged in {staged.folder}: {', '.join(staged.files)}",
        check.line() if check else "It was not checked (--no-check).",
        "Nothing was sent. To show it: make a Gradio Space, copy these files into its repository, and push with git "
        "(the wheel is larger than 10 MB: git lfs track '*.whl').",
    ]
    print_result(options, document, lines)
