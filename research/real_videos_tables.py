"""Tables and figure of ``research.real_videos``, made from its JSON alone."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common import with_interval
from dfutils.figures.style import FAKE_COLOR, LINE_COLOR, new_figure, styled

SYSTEM_TITLES = {
    "constant": "a constant (share of FAKE in training)",
    "file_facts": "logistic regression on file facts only (size, frame rate, duration, bit rate)",
    "logistic_mixed2": "logistic regression on an early block (mixed2)",
    "logistic_mixed5": "logistic regression on a middle block (mixed5)",
    "logistic_mixed10": "logistic regression on the last block (mixed10)",
    "inception_mean": "`inception_mean`: average of frame scores",
    "inception_gru": "`inception_gru`",
    "inception_lstm_gru": "`inception_lstm_gru`: the reference system's head",
}


def markdown(results: Mapping[str, Any]) -> str:
    """Return both tables with what is needed to read them."""
    model = results["fault_model"]
    lines = [
        f"{results['clips']} FaceForensics++ c23 clips ({results['real']} REAL, {results['fake']} FAKE) of "
        f"{results['groups']} source pairs; {results['folds']}-fold cross-validation by source pair, mean of "
        f"{results['seeds']} seeds, 95 % intervals over source pairs, AUC within folds. "
        f"Frozen backbone: {results['backbone']['origin']}.",
        "",
        "| system | AUC | balanced accuracy | log loss | better than chance? |",
        "|---|---|---|---|---|",
    ]
    for name, row in results["systems"].items():
        cells = [SYSTEM_TITLES[name], *(with_interval(row[key]) for key in ("auc", "balanced_accuracy", "log_loss"))]
        lines.append(f"| {' | '.join(cells)} | {_against_chance(row['auc'])} |")
    lines += [
        "",
        f"What each fault of the reference system does to `{model}` (AUC "
        f"{with_interval(results['systems'][model]['auc'])} without any), one at a time and all "
        "together; differences are paired:",
        "",
        "| fault | AUC | change of AUC | change of log loss | what can be said |",
        "|---|---|---|---|---|",
    ]
    for row in results["faults"].values():
        auc, log_loss = (with_interval(row["difference"][key], sign="+") for key in ("auc", "log_loss"))
        cells = [row["title"], with_interval(row["measured"]["auc"]), auc, log_loss, _verdict(row["difference"]["auc"])]
        lines.append(f"| {' | '.join(cells)} |")
    texts = (frame_choice(results), _costs(results))
    return "\n\n".join(["\n".join(lines), *filter(None, texts)]) + "\n"


@styled
def plot(results: Mapping[str, Any]) -> Figure:
    """Draw the AUC of every system and the difference that every fault makes, with intervals."""
    systems, faults = results["systems"], results["faults"]
    figure = new_figure(11, 0.42 * max(len(systems), len(faults)) + 1.4)
    left, right = figure.subplots(1, 2)
    measured = {SYSTEM_TITLES[name].replace("`", ""): row["auc"] for name, row in systems.items()}
    _draw_intervals(left, measured, LINE_COLOR)
    left.axvline(0.5, color="gray", linestyle="--", linewidth=1)
    left.set_xlim(0, 1)
    left.set_xlabel("AUC on new people (0.5 is a coin toss)")
    differences = {row["title"]: row["difference"]["auc"] for row in faults.values()}
    _draw_intervals(right, differences, FAKE_COLOR)
    right.axvline(0, color="gray", linestyle="--", linewidth=1)
    right.set_xlabel("change of AUC by each fault (0 is none)")
    return figure


def _draw_intervals(axes: Axes, estimates: Mapping[str, Mapping[str, float | None]], color: str) -> None:
    for place, estimate in enumerate(estimates.values()):
        value, low, high = (estimate[key] for key in ("value", "low", "high"))
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=color, linewidth=2)
        if value is not None:
            axes.plot([value], [place], "o", color=color)
    axes.set_yticks(range(len(estimates)), [textwrap.fill(title, 34) for title in estimates])
    axes.invert_yaxis()


def frame_choice(results: Mapping[str, Any]) -> str:
    """Return a sentence that compares motion frames with the other two ways of choosing frames."""
    ways = {"uniform": "uniform frames", "first": "the first ten frames"}
    changes = {way: results["faults"][way]["difference"]["auc"] for way in ways if way in results["faults"]}
    if not changes:
        return ""
    numbers = ", ".join(f"{ways[way]} {with_interval(change, sign='+')}" for way, change in changes.items())
    shown = [ways[way] for way, change in changes.items() if (_verdict(change) == "worse")]
    says = (
        f"motion frames are shown to be better than {' and '.join(shown)}" if shown else "no way is shown to be better"
    )
    return f"How frames are chosen (change of AUC against the most moving frame of each segment): {numbers}; {says}."


def _costs(results: Mapping[str, Any]) -> str:
    """Sum the costs of the stages by kind."""
    kinds = {"extract": ("extraction", "videos"), "features": ("features", "images"), "fit": ("fits", "fits")}
    words = []
    for kind, (name, unit) in kinds.items():
        stages = [cost for stage, cost in results["costs"].items() if stage.split()[0] == kind]
        seconds, amount = sum(cost["seconds"] for cost in stages), sum(cost[unit] for cost in stages)
        rate = f" ({amount:,} {unit}, {amount / seconds:.2g} per second)" if seconds > 0 else ""
        words.append(f"{name} {seconds / 60:.0f} min{rate}")
    machine = results["machine"]
    total = sum(cost["seconds"] for cost in results["costs"].values()) / 60
    return f"Cost: {total:.0f} minutes on {machine['cores']} cores ({machine['processor']}): {', '.join(words)}."


def _against_chance(auc: Mapping[str, float | None]) -> str:
    low, high = auc["low"], auc["high"]
    if low is None or high is None:
        return "too few clips to say"
    if low == high == 0.5:
        return "is chance"
    if low > 0.5:
        return "yes"
    return "worse" if high < 0.5 else "not shown"


def _verdict(difference: Mapping[str, float | None]) -> str:
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return "too few clips to say"
    if low <= 0 <= high:
        return "too uncertain to say"
    return "looks better than it is" if low > 0 else "worse"
