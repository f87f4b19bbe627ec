"""Accuracy against what was spent: labels, training rows, seconds; one line per group."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from alframe.report.groups import Group, by_device
from alframe.report.statistics import KINDS, LEAST, Kind, mean_interval, over_seeds
from alframe.report.style import (
    Picture,
    Stroke,
    add_legend,
    add_notes,
    count_axis,
    new_axes,
    percent_axis,
    render,
    seconds_axis,
    strokes,
)

TOO_FEW = 3
"""With fewer seeds no interval is to be trusted, however it is made."""
FEW_SEEDS = "too few for an interval that can be trusted."


def intervals(kind: Kind) -> str:
    """Returns what the lines and bands of a figure are."""
    return f"mean over seeds with 95 % intervals ({KINDS[kind]})"


def accuracy_against_labels(
    groups: Sequence[Group], kind: Kind = "t", *, log: bool = False
) -> Picture:
    """Draws the test accuracy of active-learning groups against the labels acquired."""
    title = "Test accuracy against labels"
    axes = new_axes(title, f"test split, {intervals(kind)}", warning=few_seeds(groups))
    _lines(axes, groups, "labeled", kind)
    count_axis(axes, "labels", log=log)
    _only_budgets(axes, groups, "labeled")
    return _finish("accuracy_labels", title, axes, seed_notes(groups, kind))


def accuracy_against_rows(
    groups: Sequence[Group], kind: Kind = "t", *, log: bool = False
) -> Picture:
    """Draws the test accuracy of core-set groups against training rows, with their ceilings."""
    title = "Test accuracy against training rows"
    what = f"test split, {intervals(kind)}; dashed: trained on all rows"
    axes = new_axes(title, what, warning=few_seeds(groups))
    _lines(axes, groups, "train_rows", kind)
    for group, stroke in zip(groups, strokes(len(groups)), strict=True):
        full = group.points[group.points["full"].astype(bool)]
        if len(full):
            height = mean_interval(full["accuracy"]).mean
            axes.axhline(height, color=stroke.color, linewidth=1, linestyle=(0, (6, 3)), zorder=1)
    count_axis(axes, "training rows", log=log)
    _only_budgets(axes, groups, "train_rows")
    return _finish("accuracy_rows", title, axes, seed_notes(groups, kind))


def accuracy_against_seconds(groups: Sequence[Group], kind: Kind = "t") -> Picture:
    """Draws the test accuracy against the seconds needed; one line per group and device."""
    title = "Test accuracy against wall-clock"
    parts = [part for group in groups for part in by_device(group) if has_seconds([part])]
    what = "wall-clock of training, observing and selecting"
    axes = new_axes(title, f"test split, {intervals(kind)}\n{what}", warning=few_seeds(parts))
    _lines(axes, parts, groups[0].at, kind, against_seconds=True)
    longest = max(float(part.selected["seconds"].max()) for part in parts)
    seconds_axis(axes, "wall-clock", longest)
    notes = device_notes(groups) + seed_notes(parts, kind)
    return _finish("accuracy_seconds", title, axes, notes)


def has_seconds(groups: Sequence[Group]) -> bool:
    """Says whether any time was measured at all."""
    return any(group.selected["seconds"].notna().any() for group in groups)


def device_notes(groups: Sequence[Group]) -> list[str]:
    """Names the device, or the groups whose seconds must not be compared or averaged."""
    devices = sorted({device for group in groups for device in group.devices})
    if len(devices) == 1:
        return [f"Measured on {devices[0]}."]
    mixed = [group.label for group in groups if len(group.devices) > 1]
    notes = [f"Different devices, whose seconds do not compare: {'; '.join(devices)}."]
    if mixed:
        notes.append(
            f"The seeds of {'; '.join(mixed)} ran on different devices: each device stands alone."
        )
    return notes


def few_seeds(groups: Sequence[Group]) -> str:
    """Returns the line that a figure carries where points stand on fewer than three seeds."""
    few = sum(_seed_range(group)[0] < TOO_FEW for group in groups)
    if not few:
        return ""
    where = "" if few == len(groups) else f" behind points of {few} of {len(groups)} groups"
    return f"Fewer than {TOO_FEW} seeds{where}: {FEW_SEEDS}"


def seed_notes(groups: Sequence[Group], kind: Kind = "t") -> list[str]:
    """Returns how many seeds stand behind the points of each group, and warns below three."""
    ranges = {group.label: _seed_range(group) for group in groups}
    notes = []
    for low, high in sorted(set(ranges.values())):
        labels = [label for label, found in ranges.items() if found == (low, high)]
        who = "" if len(labels) == len(ranges) else f" ({'; '.join(labels)})"
        notes.append(f"{_seeds_in_words(low, high, LEAST[kind])}{who}.")
    return notes


def _seeds_in_words(low: int, high: int, least: int) -> str:
    if high == 1:
        return "1 seed: no interval"
    seeds = f"{high} seeds" if low == high else f"{low} to {high} seeds, by budget"
    if high < least:
        return f"{seeds}: no interval with fewer than {least}"
    if low < least:
        where = "is 1" if least == 2 else f"are fewer than {least}"
        return f"{seeds}, and no interval where there {where}"
    return f"{seeds}, fewer than 3: the intervals are wide" if low < TOO_FEW else seeds


def _seed_range(group: Group) -> tuple[int, int]:
    seeds = group.selected.groupby(group.at)["seed"].nunique()
    return int(seeds.min()), int(seeds.max())


def _lines(
    axes: Axes, groups: Sequence[Group], at: str, kind: Kind, *, against_seconds: bool = False
) -> None:
    for index, (group, stroke) in enumerate(zip(groups, strokes(len(groups)), strict=True)):
        line = over_seeds(group.selected, at, "accuracy", kind)
        x: pd.Series = line[at]
        if against_seconds:
            x = over_seeds(group.selected, at, "seconds")["mean"]
        if len(line) == 1:  # a band of no width cannot be seen
            _bar(axes, (x, line), stroke, group.label, index - (len(groups) - 1) / 2)
            continue
        axes.plot(
            x, line["mean"], color=stroke.color, marker=stroke.marker, linestyle=stroke.dash,
            label=group.label, zorder=3,
        )  # fmt: skip
        axes.fill_between(
            x, line["low"], line["high"], color=stroke.color, alpha=0.16, linewidth=0, zorder=2
        )


def _only_budgets(axes: Axes, groups: Sequence[Group], at: str) -> None:
    """Marks the budgets themselves on the axis where every group has a single one."""
    budgets = [group.selected[at].unique() for group in groups]
    if all(len(found) == 1 for found in budgets):
        axes.set_xticks(sorted({float(found[0]) for found in budgets}))
        axes.margins(x=1.0)


def _bar(
    axes: Axes, point: tuple[pd.Series, pd.DataFrame], stroke: Stroke, label: str, place: float
) -> None:
    """Draws one point with its interval, moved aside so that points do not overlap."""
    x, line = point
    axes.errorbar(
        x * (1 + 0.02 * place), line["mean"],
        yerr=[line["mean"] - line["low"], line["high"] - line["mean"]],
        color=stroke.color, marker=stroke.marker, linestyle="none", capsize=4, label=label,
        zorder=3,
    )  # fmt: skip


def _finish(name: str, title: str, axes: Axes, notes: Sequence[str]) -> Picture:
    percent_axis(axes, "test accuracy")
    add_legend(axes)
    add_notes(axes, notes)
    return render(name, title, axes)
