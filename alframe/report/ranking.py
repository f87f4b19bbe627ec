"""Which group is ahead over the whole budget, and by how much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from alframe.report.curves import FEW_SEEDS, TOO_FEW
from alframe.report.groups import Group
from alframe.report.statistics import KINDS, Kind, mean_interval
from alframe.report.style import MUTED, PALETTE, Picture, add_notes, new_axes, render
from alframe.report.tables import area_of

COLUMNS = (
    "pipeline", "rank", "group", "area", "low", "high", "seeds", "gain", "gain_low", "gain_high",
)  # fmt: skip
BASELINE = "random"
"""The group against which gains are measured, where there is one of this label."""


def ranking(groups: Sequence[Group], kind: Kind = "t", *, log: bool = False) -> pd.DataFrame:
    """Ranks the groups of each pipeline by the area under accuracy against budget, best first.

    Areas compare only over one range of budgets: groups that cover another range than most are
    left out. ``gain`` is the difference of the areas to those of random picks, seed by seed, so
    that what a seed does to both cancels; ``gain_low`` and ``gain_high`` are its interval. With
    ``log`` the logarithm of the budget is the axis.
    """
    rows = []
    for pipeline in dict.fromkeys(group.pipeline for group in groups):
        mine = comparable([group for group in groups if group.pipeline == pipeline], log=log)
        areas = {group.label: areas_of(group, log=log) for group in mine}
        base = areas.get(f"{BASELINE} ({pipeline.replace('_', ' ')})", areas.get(BASELINE, {}))
        block = []
        for label, by_seed in areas.items():
            area = mean_interval(list(by_seed.values()), kind=kind)
            gains = [by_seed[seed] - base[seed] for seed in by_seed if seed in base]
            gain = mean_interval(gains, kind=kind)
            block.append(
                {
                    "pipeline": pipeline, "group": label, "area": area.mean, "low": area.low,
                    "high": area.high, "seeds": area.n, "gain": gain.mean,
                    "gain_low": gain.low, "gain_high": gain.high,
                }
            )  # fmt: skip
        block.sort(key=lambda row: (-float(str(row["area"])), str(row["group"])))
        rows += [{**row, "rank": rank} for rank, row in enumerate(block, start=1)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def comparable(groups: Sequence[Group], *, log: bool = False) -> list[Group]:
    """Returns the groups with an area over the most common range of budgets."""
    ranges = {
        group.label: (group.selected[group.at].min(), group.selected[group.at].max())
        for group in groups
        if areas_of(group, log=log)
    }
    if not ranges:
        return []
    usual = Counter(ranges.values()).most_common(1)[0][0]
    return [group for group in groups if ranges.get(group.label) == usual]


def areas_of(group: Group, *, log: bool = False) -> dict[int, float]:
    """Returns the area of each seed that covers the group's whole range."""
    areas = {run.seed: area_of(group, run, whole=True, log=log) for run in group.runs}
    return {seed: area for seed, area in areas.items() if not math.isnan(area)}


def ranking_picture(
    table: pd.DataFrame, pipeline: str, kind: Kind = "t", *, log: bool = False
) -> Picture | None:
    """Draws the ranked areas of one pipeline with their intervals; None for fewer than two."""
    mine = table[table["pipeline"] == pipeline]
    if len(mine) < 2:
        return None
    title = "Area under the budget curve"
    over = "the logarithm of the budget" if log else "the budget"
    what = f"mean test accuracy over {over}; mean over seeds with 95 % intervals ({KINDS[kind]})"
    few = int(mine["seeds"].min()) < TOO_FEW
    warning = f"Fewer than {TOO_FEW} seeds: {FEW_SEEDS}" if few else ""
    axes = new_axes(title, what, height=1.2 + 0.24 * len(mine), warning=warning)
    for place, label in enumerate(mine["group"]):
        color = MUTED if label.startswith(BASELINE) else PALETTE[0]
        low, high, area = (float(mine[name].iloc[place]) for name in ("low", "high", "area"))
        if not math.isnan(low):
            axes.plot([low, high], [place, place], color=color, linewidth=1.6)
        axes.plot([area], [place], "o", color=color)
    baseline = mine[mine["group"].str.startswith(BASELINE)]
    if len(baseline):
        height = float(baseline["area"].iloc[0])
        axes.axvline(height, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_yticks(range(len(mine)), list(mine["group"]))
    axes.set_ylim(len(mine) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.4g} %")
    axes.set_xlabel("area")
    seeds = sorted(mine["seeds"].unique())
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    add_notes(axes, [f"{count} {'seed' if count == '1' else 'seeds'} each."])
    return render(f"ranking_{pipeline}", f"{title}, {pipeline.replace('_', ' ')}", axes)
