"""``dfutils publish``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from dfutils.commands.base import command, print_result


def _add_publish(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "publish",
        "stage a dataset, the package, notebooks or a model for Kaggle, and send them with its client when asked; or "
        "stage the web page as a Hugging Face Space",
        "dfutils publish dataset faces --owner some-one --staging to-send",
    )
    parser.add_argument("kind", choices=["dataset", "package", "notebooks", "model", "space"], help="what to publish")
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="SOURCE",
        help="face dataset; project or wheel (default: .); notebook or folder of them (default: notebooks); run "
        "folder; of a space the project (default: .)",
    )
    parser.add_argument("--staging", type=Path, metavar="DIR", help="folder to lay it out in (default: dist/kaggle/…)")
    parser.add_argument("--owner", metavar="NAME", help="in the address of your Kaggle page (default: as signed in)")
    parser.add_argument("--version-notes", metavar="TEXT", help="what changed (default: the package's version)")
    parser.add_argument("--push", action="store_true", help="send it; without this, nothing leaves the machine")
    parser.add_argument("--slug", metavar="NAME", help="last part of its address (default: made of the title)")
    parser.add_argument("--title", metavar="TEXT", help="what people read (default: as in kaggle-metadata)")
    parser.add_argument("--subtitle", metavar="TEXT", help="20 to 80 characters (default: as in kaggle-metadata)")
    parser.add_argument("--public", action="store_true", help="show it to everybody; needs --i-have-the-rights")
    parser.add_argument("--licence", metavar="NAME", help="instead of the committed one; needs --i-have-the-rights")
    parser.add_argument("--i-have-the-rights", action="store_true", help="it is yours to publish or license like that")
    parser.add_argument("--fewer-files", action="store_true", help="a version may lack files of the one it replaces")
    parser.add_argument("--with-wheels", action="store_true", help="package: download what Kaggle's image lacks")
    parser.add_argument("--no-check", action="store_true", help="space: do not start it in a fresh environment (2 GB)")
    parser.add_argument("--fetch", metavar="OWNER/NOTEBOOK", help="dataset: first download this notebook's output")
    parser.add_argument("--metadata", type=Path, metavar="DIR", help="default: kaggle-metadata")
    parser.add_argument("--wait", type=float, metavar="MINUTES", help="for Kaggle (default: 60; notebooks: 720)")
    parser.set_defaults(run=_publish, usage_error=parser.error)


def _publish(options: argparse.Namespace) -> None:
    if options.kind == "space":
        _stage_space(options)
        return
    from dfutils.publishing.publish import PublishOptions, publish

    usual = {"package": Path(), "notebooks": Path("notebooks")}
    if not options.source and options.kind not in usual:
        options.usage_error(f"{options.kind}: SOURCE is missing")
    given = {"notes": options.version_notes, "wait_seconds": _seconds(options)}
    values = PublishOptions(
        source=options.source or usual[options.kind],
        staging=options.staging or Path("dist", "kaggle", options.kind),
        push=options.push,
        public=options.public,
        rights=options.i_have_the_rights,
        fewer_files=options.fewer_files,
        wheels=options.with_wheels,
        **{name: getattr(options, name) for name in ("owner", "slug", "title", "subtitle", "licence")},
        **{name: getattr(options, name) for name in ("fetch", "metadata")},
        **{name: value for name, value in given.items() if value is not None},
    )
    publication = publish(options.kind, values)
    print_result(options, publication.document(), publication.lines())


def _stage_space(options: argparse.Namespace) -> None:
    if options.push:
        options.usage_error("space: is only staged here. Push the staged folder to the Space's repository with git")
    from dfutils.publishing.space import stage_space
    from dfutils.publishing.space_check import check_space

    staged = stage_space(options.source or Path(), options.staging or Path("dist", "space"))
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


def _seconds(options: argparse.Namespace) -> float:
    minutes = options.wait if options.wait is not None else 720 if options.kind == "notebooks" else 60
    return 60.0 * minutes


COMMANDS = (_add_publish,)
