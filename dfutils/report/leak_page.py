"""The leak report of a run as a page: what is on two sides, and what metadata alone would score."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dfutils.records import ClipRow
from dfutils.report.sections import Column, Section, Table

_KINDS = {
    "shared_groups": ("groups with videos on two sides", "One person or source in training and test: recognised."),
    "same_files": ("files of identical content on two sides", "The very answer was trained on."),
    "near_duplicates": (
        "clips with a near-duplicate crop on another side",
        "Same person in the same pose and light; other videos of one person are found too.",
    ),
}


def leak_section(
    leaks: Mapping[str, Any] | None,
    lines: Sequence[str],
    *,
    training_groups: set[str],
    training_files: Mapping[str, Collection[str]] | None,
    rows: Sequence[ClipRow],
) -> Section:
    """Build the page.

    Args:
        leaks: ``leaks.json`` of the run; None where there is none, such as for an ensemble.
        lines: The same in sentences.
        training_groups: Groups of the videos that the run was trained or tuned on.
        training_files: Their names by the SHA-256 of their file; None where the run does not know. A file that was
            encoded again is another file.
        rows: Clips that are measured in this report.
    """
    groups = {row.group for row in rows}
    shared = sorted(groups & training_groups)
    overlap = {
        "what": "measured groups (people, sources) that training or validation knows",
        "count": len(shared),
        "of": f"{len(groups)} groups",
        "means": "A score on people who were trained on says nothing of strangers.",
        "examples": ", ".join(shared[:5]),
    }
    renamed = None if training_files is None else _under_another_name(rows, training_files)
    table = [overlap, _renamed_row(renamed, len(rows))]
    if leaks is not None:
        table += [
            {
                "what": what,
                "count": None if leaks[kind] is None else leaks[kind]["count"],
                "of": f"{leaks['clips']} clips of the run",
                "means": means,
                "examples": "" if leaks[kind] is None else "; ".join(leaks[kind]["examples"][:3]),
            }
            for kind, (what, means) in _KINDS.items()
        ]
    shortcut = [] if leaks is None or leaks["shortcut"] is None else [_shortcut_row(leaks["shortcut"])]
    return Section(
        name="leaks",
        title="Leaks and shortcuts",
        text=lines or ["No leak report came with this run: its members have their own."],
        flag=_flag(len(shared), len(renamed or ())),
        tables=[
            Table(
                "leaks",
                "What is on two sides of the split",
                "All counts should be 0. A near-duplicate may be another video of one person: look at the examples.",
                (
                    Column("what", "What"),
                    Column("count", "Count", "count"),
                    Column("of", "Of"),
                    Column("means", "If not 0"),
                    Column("examples", "Examples"),
                ),
                table,
            ),
            Table(
                "shortcut",
                "What metadata alone would score",
                "Cross-validated by groups, over all videos of the run. An interval above 0.5 means that the files "
                "give the label away, and a detector may have learnt that instead.",
                (Column("what", "Looks at"), Column("auc", "AUC", "decimal"), Column("groups", "Groups", "count")),
                shortcut,
            ),
        ],
        document={
            "measured_groups": len(groups),
            "known_to_training": len(shared),
            "trained_under_another_name": None if renamed is None else len(renamed),
            "run": dict(leaks or {}),
        },
    )


def _under_another_name(rows: Sequence[ClipRow], training_files: Mapping[str, Collection[str]]) -> list[str]:
    """What to show for each clip whose file was trained or tuned on, but not as the video that it is called here."""
    found = ((row.video, training_files.get(row.sha256, ())) for row in rows)
    return [f"{video} is {min(names)}" for video, names in found if names and video not in names]


def _renamed_row(renamed: Sequence[str] | None, clips: int) -> dict[str, Any]:
    unknown = "not known: the run is of an earlier version"
    return {
        "what": "measured clips of files that were trained or tuned on under another name",
        "count": None if renamed is None else len(renamed),
        "of": f"{clips} clips",
        "means": "The very answer was trained on, and counts as unseen.",
        "examples": unknown if renamed is None else "; ".join(renamed[:3]),
    }


def _flag(groups: int, renamed: int) -> str:
    said = []
    if groups:
        said.append(f"{groups} of the measured groups were trained or tuned on: these numbers flatter.")
    if renamed:
        said.append(
            f"{renamed} of the measured clips are of files that were trained or tuned on under another name: these "
            "numbers flatter."
        )
    return " ".join(said)


def _shortcut_row(shortcut: Mapping[str, Any]) -> dict[str, Any]:
    auc = {"value": shortcut["auc"], "low": shortcut["low"], "high": shortcut["high"]}
    return {"what": "size, frame rate, duration and bit rate of the file", "auc": auc, "groups": shortcut["groups"]}
