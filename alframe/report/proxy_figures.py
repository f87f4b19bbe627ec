"""What selection via a proxy costs and saves: stacked bars, and error against wall-clock."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from alframe.report.curves import device_notes, few_seeds, seed_notes
from alframe.report.groups import Group
from alframe.report.points import FULL_FIT
from alframe.report.runs import Run
from alframe.report.statistics import Kind, mean_interval
from alframe.report.style import (
    INK,
    PALETTE,
    Picture,
    add_legend,
    add_notes,
    new_axes,
    percent_axis,
    render,
    seconds_axis,
)

TARGET, PROXY, FULL, CHOOSE = PALETTE[0], PALETTE[1], PALETTE[6], PALETTE[4]
SIZES = ("#0072B2", "#009E73", "#56B4E9", "#CC79A7", "#7F5AB6")


def bars(group: Group, name: str, kind: Kind = "t") -> Picture:
    """Draws where the seconds of each size went, beside the full run.

    Args:
        group: A core-set group whose runs share one device.
        name: The stem of the file names.
        kind: How the interval of the error is made.
    """
    timed = group.points.dropna(subset=["seconds"])
    sizes = [part for _, part in timed.groupby(["full", "train_rows"], sort=True)]
    title = "Selection via proxy: where the time goes"
    what = "end-to-end wall-clock, mean over seeds; error ± half its 95 % interval"
    height = 1.3 + 0.55 * len(sizes)
    axes = new_axes(title, f"{group.label}\n{what}", height, few_seeds([group]))
    for place, part in enumerate(sizes):
        _stack(axes, place, part, _selector(group.runs[0]), _beside(part, kind))
    axes.set_yticks(range(len(sizes)), [_size(part, group) for part in sizes])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    longest = float(timed["seconds"].max())
    axes.set_xlim(0, longest * 1.35)  # room for what is written beside the bars
    return _finish(name, axes, group, longest)


def wall_clock(group: Group, name: str) -> Picture | None:
    """Draws test error against wall-clock: proxy, target on the selected part, target on all.

    The target's curve starts when the proxy is trained and the rows are chosen. Thin lines are
    seeds, thick ones their mean at each epoch. Returns None where no fit recorded its seconds.

    Args:
        group: A core-set group whose runs share one device.
        name: The stem of the file names.
    """
    lines = _training_lines(group)
    if not lines:
        return None
    split = lines[0][2][0]["split"].iloc[0]
    title = f"{str(split).capitalize()} error against wall-clock"
    what = "mean over seeds; thin lines: each seed"
    axes = new_axes(title, f"{group.label}\n{what}", warning=few_seeds([group]))
    longest = 0.0
    for label, color, curves in lines:
        for curve in curves:
            axes.plot(curve["seconds"], curve["error"], color=color, linewidth=0.7, alpha=0.45)
            longest = max(longest, float(curve["seconds"].max()))
        mean = _mean_curve(curves)
        axes.plot(mean["seconds"], mean["error"], color=color, linewidth=2.2, label=label)
        end = mean.iloc[-1]
        axes.plot(end["seconds"], end["error"], "o", color=color, markersize=5, zorder=4)
    percent_axis(axes, f"{split} error")
    return _finish(name, axes, group, longest)


def _stack(axes: Axes, place: int, part: pd.DataFrame, selector: str, beside: str) -> None:
    """Draws one size's bar at height ``place``, and writes beside it what it gives."""
    full = bool(part["full"].iloc[0])
    stacks: tuple[tuple[str, str, str], ...] = (
        (selector, "selector_seconds", PROXY),
        ("observe and select", "choose_seconds", CHOOSE),
        ("target", "target_seconds", TARGET),
    )
    if full:
        stacks = (("target on all rows", "target_seconds", FULL),)
    left = 0.0
    for label, column, color in stacks:
        width = mean_interval(part[column]).mean
        axes.barh(place, width, 0.62, left, color=color, edgecolor="none", label=label)
        left += width
    axes.annotate(
        beside, (left, place), (6, 0), textcoords="offset points", va="center",
        fontsize=9, color=INK,
    )  # fmt: skip


def _selector(run: Run) -> str:
    if run.has_proxy:
        return "proxy"
    return "short fits" if run.listens_to == {"short fits"} else "full run, the selector"


def _training_lines(group: Group) -> list[tuple[str, str, list[pd.DataFrame]]]:
    """Returns label, colour and one curve for each seed, in the order in which they start."""
    lines = []
    if group.runs[0].has_proxy:
        curves = [_curve(run, "proxy", 0.0) for run in group.runs]
        lines.append(("proxy on all rows", PROXY, curves))
    selected = group.selected.groupby("train_rows", sort=True)
    colors = [SIZES[i % len(SIZES)] for i in range(len(selected))]
    for color, (size, part) in zip(colors, selected, strict=True):
        starts = part.set_index("seed")
        curves = [
            _curve(
                run,
                str(starts.at[run.seed, "fit"]),
                float(str(starts.at[run.seed, "selector_seconds"]))
                + float(str(starts.at[run.seed, "choose_seconds"])),
            )
            for run in group.runs
            if run.seed in starts.index
        ]
        lines.append((f"target on {int(str(size)):,} selected rows", color, curves))
    curves = [_curve(run, FULL_FIT, 0.0) for run in group.runs]
    role = ", the selector" if group.runs[0].full_run_selects else ""
    lines.append((f"target on all rows{role}", FULL, curves))
    with_points = [(label, color, [c for c in curves if len(c)]) for label, color, curves in lines]
    return [line for line in with_points if line[2]]


def _curve(run: Run, fit: str, start: float) -> pd.DataFrame:
    """The epochs of one fit on the test split (else on validation), moved to its start."""
    curve = run.curve(fit).dropna(subset=["seconds", "error"])
    test = curve[curve["split"] == "test"]
    part = test if len(test) else curve[curve["split"] == "validation"]
    return part.assign(seconds=part["seconds"] + start)


def _mean_curve(curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean seconds and error of the epochs that all seeds have."""
    together = pd.concat(curves).groupby("epoch")[["seconds", "error"]]
    return together.mean()[together.size() == len(curves)]


def _size(part: pd.DataFrame, group: Group) -> str:
    rows = int(part["train_rows"].iloc[0])
    if bool(part["full"].iloc[0]):
        return f"all {rows:,} rows"
    full = group.points[group.points["full"].astype(bool)]
    share = f"\n({100 * rows / int(full['train_rows'].iloc[0]):.0f} %)" if len(full) else ""
    return f"{rows:,} rows{share}"


def _beside(part: pd.DataFrame, kind: Kind) -> str:
    error = mean_interval(1 - part["accuracy"], kind=kind)
    wide = not math.isnan(error.low)
    half = f" ± {100 * (error.high - error.low) / 2:.1f}" if wide else ""
    text = f"test error {100 * error.mean:.1f}{half} %"
    speed_up = mean_interval(part["speed_up"])
    if speed_up.n and not bool(part["full"].iloc[0]):
        return f"{speed_up.mean:.2f}x speed-up\n{text}"
    return text


def _finish(name: str, axes: Axes, group: Group, longest: float) -> Picture:
    seconds_axis(axes, "wall-clock", longest)
    add_legend(axes)
    add_notes(axes, device_notes([group]) + seed_notes([group]))
    return render(name, f"{axes.get_title(loc='left')}: {group.label}", axes)
