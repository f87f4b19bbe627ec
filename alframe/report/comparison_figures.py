"""The penalty matrix as a heat map, and performance profiles as steps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from alframe.report.comparison import matrix
from alframe.report.paired import FEW, LEAST
from alframe.report.profiles import RATIO, Profile
from alframe.report.style import (
    Picture,
    add_legend,
    add_notes,
    new_axes,
    percent_axis,
    render,
    strokes,
)

COLORS = LinearSegmentedColormap.from_list("penalty", ["#EEF3F8", "#7FB3D8", "#00507F"])
UNTESTED, ON_LIGHT, ON_DARK = "#D5D9DE", "#101418", "#FFFFFF"
"""Inks of their own: the cells keep their colours where the page is dark."""
MOST_NUMBERS = 24
"""Beyond so many strategies the cells are too small for numbers."""
MOST_BANDS = 7
"""More of them hide each other."""
MOST_LINES = 14
"""More strategies have no stroke of their own without markers."""


def penalty_picture(table: pd.DataFrame, pipeline: str) -> Picture:
    """Draws the penalty matrix of one pipeline: row beats column, and below it the averages.

    Args:
        table: As of `penalties`.
        pipeline: One that the table has.
    """
    mine = table[table["pipeline"] == pipeline]
    square = matrix(table, pipeline)
    names, most = list(square.columns), max(int(mine["settings"].max()), 1)
    title = "Pairwise penalty matrix"
    many = len(names) > MOST_NUMBERS
    cell = 0.42 if len(names) <= 12 else 0.3
    axes = new_axes(title, _what(most), 1.4 + cell * (len(names) + 2), _few(mine))
    averages = mine.drop_duplicates("loser").set_index("loser")["loser_average"].reindex(names)
    _cells(axes, square.to_numpy(float), 0.0, most)
    _cells(axes, averages.to_numpy(float)[None], len(names) + 0.35, most)
    size = 6.5 if many else 9
    wrapped = [textwrap.shorten(name, 40, placeholder="...") for name in names]
    slanted: dict[str, Any] = {"rotation": 90, "va": "center"} if many else {"rotation": 40}
    axes.set_xticks(
        np.arange(len(names)) + 0.5, wrapped, ha="right", rotation_mode="anchor", fontsize=size,
        **slanted,
    )  # fmt: skip
    places = [*(np.arange(len(names)) + 0.5), len(names) + 0.85]
    axes.set_yticks(places, [*wrapped, "column average"], fontsize=size)
    axes.set_xlim(0, len(names))
    axes.set_ylim(len(names) + 1.35, 0)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("row beats column")
    slant = (1 if many else 0.65) * size * 0.58 * max(len(name) for name in wrapped)
    notes = ["Column average: how often a strategy is beaten; smaller is better."]
    add_notes(axes, notes, below=22 + slant)
    suffix = "" if pipeline == "active_learning" else f"_{pipeline}"
    return render(f"penalty{suffix}", f"{title}, {pipeline.replace('_', ' ')}", axes)


def _what(settings: int) -> str:
    what = "share of budgets where the row beats the column: paired t test over seeds, p < 0.05"
    return what if settings <= 1 else f"{what}\nsummed over {settings} settings"


def _few(mine: pd.DataFrame) -> str:
    fewest = int(mine["fewest_seeds"].min())
    if not mine["penalty"].notna().any():
        return f"No two strategies have {LEAST} seeds in common: nothing could be tested."
    if fewest < LEAST:
        return f"Grey: fewer than {LEAST} seeds in common, not tested."
    if fewest < FEW:
        return f"Only {fewest} seeds in common, fewer than {FEW}: only large differences are found."
    return ""


def _cells(axes: Axes, values: np.ndarray, top: float, largest: float) -> None:
    """Draws a block of coloured cells that starts at height ``top``, with its numbers."""
    rows, columns = values.shape
    whole = rows > 1
    shown = np.where(np.eye(rows, columns, dtype=bool), np.nan, values) if whole else values
    axes.pcolormesh(
        np.arange(columns + 1), top + np.arange(rows + 1), np.ma.masked_invalid(shown),
        cmap=COLORS, vmin=0, vmax=largest, edgecolors="#FFFFFF", linewidth=1,
    )  # fmt: skip
    for i, j in np.argwhere(np.isnan(shown)):
        if not (whole and i == j):
            low, high = top + i + 0.03, top + i + 0.97
            axes.fill_between([j + 0.02, j + 0.98], low, high, color=UNTESTED, linewidth=0)
    if columns > MOST_NUMBERS:
        return
    for (i, j), value in np.ndenumerate(shown):
        if not math.isnan(value):
            ink = ON_DARK if value > 0.6 * largest else ON_LIGHT
            axes.text(j + 0.5, top + i + 0.5, f"{value:.2f}", color=ink, ha="center",
                      va="center", fontsize=8.5 if columns <= 12 else 6)  # fmt: skip


def profile_picture(profile: Profile) -> Picture:
    """Draws the profiles of one pipeline with their bands."""
    ratio = profile.kind == RATIO
    title = "Performance profiles" if ratio else "Score profiles"
    axes = new_axes(title, _profile_what(profile), warning=_profile_few(profile))
    names = sorted(_leading(profile.table))
    bands = len(names) <= (MOST_BANDS if ratio else 3)  # bands of runs are wide
    for name, stroke in zip(names, strokes(len(names)), strict=True):
        line = profile.table[profile.table["strategy"] == name]
        axes.plot(line["at"], line["share"], drawstyle="steps-post" if ratio else "steps-pre",
                  color=stroke.color, linestyle=stroke.dash, label=name, zorder=3)  # fmt: skip
        if bands:
            axes.fill_between(line["at"], line["low"], line["high"], color=stroke.color,
                              alpha=0.1, linewidth=0, zorder=2)  # fmt: skip
    axes.set_xlim(*_span(profile.table[profile.table["strategy"].isin(names)], ratio))
    axes.set_ylim(-0.02, 1.04)
    if ratio:
        axes.set_xlabel("mean error over the budget, as a multiple of the best strategy's")
        percent_axis(axes, "share of the settings")
    else:
        axes.set_xlabel("area under the budget curve")
        axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.4g} %")
        percent_axis(axes, "share of the runs above")
    axes.set_ylim(-0.02, 1.04)
    add_legend(axes)
    add_notes(axes, _profile_notes(profile, bands))
    suffix = "" if profile.pipeline == "active_learning" else f"_{profile.pipeline}"
    name = f"{title}, {profile.pipeline.replace('_', ' ')}"
    return render(f"profile{suffix}", name, axes)


def _span(shown: pd.DataFrame, ratio: bool) -> tuple[float, float]:
    """The range of the axis; ratios beyond which all strategies are at 100 % tell nothing."""
    start, end = float(shown["at"].min()), float(shown["at"].max())
    below = shown[shown["share"] < 1]["at"]
    if ratio and len(below):
        end = min(start + 1.05 * max(float(below.max()) - start, 0.01), end)
    return start, end


def _leading(table: pd.DataFrame) -> list[str]:
    """The strategies with the highest profiles, as many as can be told apart."""
    means = table.groupby("strategy")["share"].mean().sort_values(ascending=False, kind="stable")
    return [str(name) for name in means.index[:MOST_LINES]]


def _profile_what(profile: Profile) -> str:
    if profile.kind == RATIO:
        return (
            f"in how many of {len(profile.settings)} settings a strategy is within a factor of the "
            "best"
        )
    return f"{profile.settings[0]}: how the scores of the runs scatter"


def _profile_few(profile: Profile) -> str:
    if profile.seeds >= LEAST:
        return ""
    return f"Fewer than {LEAST} seeds: too few for a band, or for a profile that can be trusted."


def _profile_notes(profile: Profile, bands: bool) -> Sequence[str]:
    notes = [f"At least {profile.seeds} {'seed' if profile.seeds == 1 else 'seeds'} each."]
    over = "seeds" if profile.kind == RATIO else "runs"
    if profile.seeds >= LEAST and bands:
        notes.append(f"Bands: 95 % bootstrap intervals over {over}.")
    elif profile.seeds >= LEAST:
        notes.append(f"The 95 % bootstrap bands over {over} would overlap: profile.csv has them.")
    strategies = profile.table["strategy"].nunique()
    if strategies > MOST_LINES:
        notes.append(f"The {MOST_LINES} highest of {strategies}; profile.csv has all.")
    if profile.left_out:
        notes.append(f"Left out, since a setting lacks them: {'; '.join(profile.left_out)}.")
    return notes
