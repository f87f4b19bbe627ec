"""The penalty matrix as a heat map, and performance profiles as steps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from alframe.report.comparison import matrix
from alframe.report.paired import FEW, LEAST
from alframe.report.profiles import RATIO, Profile
from alframe.report.style import (
    PALETTE,
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


def penalty_picture(table: pd.DataFrame, pipeline: str) -> Picture:
    """Draws the penalty matrix of one pipeline: row beats column, and below it the averages.

    Args:
        table: As of `penalties`.
        pipeline: One that the table has.
    """
    mine = table[table["pipeline"] == pipeline]
    square = matrix(table, pipeline)
    names, most = list(square.columns), int(mine["settings"].max())
    title = "Pairwise penalty matrix"
    cell = 0.42 if len(names) <= 12 else 0.3
    axes = new_axes(title, _what(most), 1.4 + cell * (len(names) + 2), _few(mine))
    averages = mine.drop_duplicates("loser").set_index("loser")["loser_average"].reindex(names)
    top = max(float(np.nanmax(square.to_numpy(float), initial=0)), 1e-9)
    _cells(axes, square.to_numpy(float), 0.0, top)
    _cells(axes, averages.to_numpy(float)[None], len(names) + 0.35, top)
    size = 9 if len(names) <= MOST_NUMBERS else 6.5
    wrapped = [textwrap.shorten(name, 40, placeholder="...") for name in names]
    axes.set_xticks(np.arange(len(names)) + 0.5, wrapped, rotation=40, ha="right",
                    rotation_mode="anchor", fontsize=size)  # fmt: skip
    places = [*(np.arange(len(names)) + 0.5), len(names) + 0.85]
    axes.set_yticks(places, [*wrapped, "column average"], fontsize=size)
    axes.set_xlim(0, len(names))
    axes.set_ylim(len(names) + 1.35, 0)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("beats")
    slant = 0.65 * size * 0.58 * max(len(name) for name in wrapped)
    notes = [
        "Row beats column; the average tells how often a strategy is beaten: smaller is better."
    ]
    add_notes(axes, notes, below=22 + slant)
    suffix = "" if pipeline == "active_learning" else f"_{pipeline}"
    return render(f"penalty{suffix}", f"{title}, {pipeline.replace('_', ' ')}", axes)


def _what(most: int) -> str:
    settings = "1 setting" if most == 1 else f"{most} settings"
    return (
        f"share of the budgets at which the row beats the column (paired t test over seeds, "
        f"p < 0.05), summed over {settings}"
    )


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
        np.arange(columns + 1), top + np.arange(rows + 1), np.nan_to_num(shown), cmap=COLORS,
        vmin=0, vmax=largest, edgecolors="#FFFFFF", linewidth=1, rasterized=False,
    )  # fmt: skip
    for i, j in np.argwhere(np.isnan(shown)):
        color = "#FFFFFF00" if whole and i == j else UNTESTED
        face = "#FFFFFF" if whole and i == j else UNTESTED
        axes.fill_between([j, j + 1], top + i, top + i + 1, color=face, ec=color, zorder=2)
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
    names = sorted(profile.table["strategy"].unique())
    bands = len(names) <= len(PALETTE)  # more of them hide each other
    for name, stroke in zip(names, strokes(len(names)), strict=True):
        line = profile.table[profile.table["strategy"] == name]
        axes.plot(line["at"], line["share"], drawstyle="steps-post" if ratio else "steps-pre",
                  color=stroke.color, linestyle=stroke.dash, label=name, zorder=3)  # fmt: skip
        if bands:
            axes.fill_between(line["at"], line["low"], line["high"], color=stroke.color,
                              alpha=0.1, linewidth=0, zorder=2)  # fmt: skip
    axes.set_xlim(float(profile.table["at"].min()), float(profile.table["at"].max()))
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


def _profile_what(profile: Profile) -> str:
    if profile.kind == RATIO:
        return (
            f"in how many of {len(profile.settings)} settings a strategy is within a factor of the "
            "best; bands: 95 % bootstrap over seeds"
        )
    return f"{profile.settings[0]}: how the runs' scores scatter; bands: 95 % bootstrap over runs"


def _profile_few(profile: Profile) -> str:
    if profile.seeds >= LEAST:
        return ""
    return f"Fewer than {LEAST} seeds: too few for a band, or for a profile that can be trusted."


def _profile_notes(profile: Profile, bands: bool) -> Sequence[str]:
    notes = [f"At least {profile.seeds} {'seed' if profile.seeds == 1 else 'seeds'} each."]
    if not bands:
        notes.append("Bands are in profile.csv: more than 7 would hide each other.")
    if profile.left_out:
        notes.append(f"Left out, since a setting lacks them: {'; '.join(profile.left_out)}.")
    return notes
