"""Verdicts in words."""

from __future__ import annotations

from dfutils.records import Verdict


def verdict_line(verdict: Verdict) -> str:
    """One line for a person.

    Example:
        >>> from dfutils.records import Label, Reason
        >>> verdict_line(Verdict("a.mp4", 0.93, Label.FAKE, Reason.OK))
        'FAKE       0.93  a.mp4'
    """
    score = "   –" if verdict.fake_probability is None else f"{verdict.fake_probability:.2f}"
    people = f"  ({len(verdict.tracks)} people, the highest score counts)" if len(verdict.tracks) > 1 else ""
    detail = f"  {verdict.detail}" if verdict.detail else ""
    return f"{verdict.label:<9}  {score}  {verdict.input}{people}{detail}"
