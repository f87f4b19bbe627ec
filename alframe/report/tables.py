"""The report's tables: plain numbers for files, and the same as text for readers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from alframe.report.groups import Group, by_device
from alframe.report.runs import Run
from alframe.report.statistics import (
    Kind,
    area_under_curve,
    first_reach,
    mean_interval,
    over_seeds,
)

RESULTS = (
    "group", "trained_on", "labeled", "train_rows", "accuracy", "low", "high", "seeds",
    "seconds", "speed_up",
)  # fmt: skip
PARTS = ("selector_seconds", "choose_seconds", "target_seconds", "seconds")
SPEED_UP = ("speed_up", "low", "high")
AFTER = ("break_even", "compile_seconds", "speed_up_compiled")


def results(groups: Sequence[Group], kind: Kind = "t") -> pd.DataFrame:
    """Returns mean test accuracies with their intervals for each group and budget.

    ``seconds`` and ``speed_up`` are means over seeds, and NaN where a group's seeds ran on
    different devices; `costs` gives them for each device.
    """
    rows = []
    for group in groups:
        mixed = len(group.devices) > 1
        for full, points in group.points.groupby("full", sort=True):
            line = over_seeds(points, group.at, "accuracy", kind).rename(
                columns={"mean": "accuracy", "n": "seeds"}
            )
            for name in ("seconds", "speed_up"):
                line[name] = math.nan if mixed else over_seeds(points, group.at, name)["mean"]
            for name in ("labeled", "train_rows"):
                # where runs were aligned by the other column, this one may differ between them
                line[name] = points.groupby(group.at, sort=True)[name].max().to_numpy()
            core_set = group.pipeline == "core_set"
            trained_on = "all rows" if full else "selected rows" if core_set else "labeled rows"
            rows.append(line.assign(group=group.label, trained_on=trained_on))
    return _table(rows, RESULTS)


def headline(groups: Sequence[Group], kind: Kind = "t", *, log: bool = False) -> pd.DataFrame:
    """Returns each group's last budget (core-sets: every size), with the area under its curve.

    ``area`` is the mean over the runs that cover the group's whole range, ``area_seeds`` their
    number: areas over different ranges do not compare.
    """
    rows = []
    for group in groups:
        table = results([group], kind)
        if group.pipeline != "core_set":
            table = table.tail(1)
        area = mean_interval([area_of(group, run, whole=True, log=log) for run in group.runs])
        table = table.assign(area=area.mean, area_seeds=area.n)
        table.loc[table["trained_on"] == "all rows", ["area"]] = math.nan
        rows.append(table)
    return _table(rows, (*RESULTS, "area", "area_seeds"))


def costs(groups: Sequence[Group], kind: Kind = "t") -> pd.DataFrame:
    """Returns where the seconds went: for the last labels of a group, or for each core-set size.

    One row for each device: seconds are never averaged over different devices. ``low`` and
    ``high`` are the interval of the speed-up; ``break_even``, ``compile_seconds`` and
    ``speed_up_compiled`` are means of what `points_of` gives.
    """
    rows = []
    for part in (part for group in groups for part in by_device(group)):
        for _, points in part.points.groupby("full", sort=True):
            places = sorted(points[part.at].unique())
            for place in places if part.pipeline == "core_set" else places[-1:]:
                here = points[points[part.at] == place]
                speed_up = mean_interval(here["speed_up"].to_numpy(float), kind=kind)
                rows.append(
                    {
                        "group": part.label,
                        "device": here["device"].iloc[0],
                        "train_rows": int(here["train_rows"].max()),
                        **{name: mean_interval(here[name].to_numpy(float)).mean for name in PARTS},
                        "speed_up": speed_up.mean,
                        "low": speed_up.low,
                        "high": speed_up.high,
                        **{name: mean_interval(here[name].to_numpy(float)).mean for name in AFTER},
                        "seeds": len(here),
                    }
                )
    columns = ("group", "device", "train_rows", *PARTS, *SPEED_UP, *AFTER, "seeds")
    return pd.DataFrame(rows, columns=list(columns))


def reached(groups: Sequence[Group], target: float, kind: Kind = "t") -> pd.DataFrame:
    """Returns the labels (or training rows) and seconds at which runs first reach ``target``.

    Means are over the seeds that reached it, which ``reached`` of ``seeds`` did. ``seconds`` are
    those of the ``device`` (device-seconds: see `points_of`); NaN where the seeds ran on different
    devices, all of which are then named.

    Args:
        groups: The groups.
        target: A test accuracy within (0, 1].
        kind: How intervals are made.
    """
    rows = []
    for group in groups:
        firsts = []
        for _, points in group.selected.groupby("seed", sort=True):
            place = first_reach(points["accuracy"], target)
            if place is not None:
                firsts.append(points.iloc[place])
        needed = mean_interval([float(first[group.at]) for first in firsts], kind=kind)
        devices = sorted({str(first["device"]) for first in firsts})
        same = len(devices) == 1
        seconds = mean_interval([float(first["seconds"]) for first in firsts] if same else [])
        rows.append(
            {
                "group": group.label,
                "budget": group.at,
                "needed": needed.mean,
                "low": needed.low,
                "high": needed.high,
                "seconds": seconds.mean,
                "device": "; ".join(devices),
                "reached": len(firsts),
                "seeds": group.seeds,
            }
        )
    columns = (
        "group", "budget", "needed", "low", "high", "seconds", "device", "reached", "seeds",
    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns))


def run_list(groups: Sequence[Group], *, log: bool = False) -> pd.DataFrame:
    """Returns one row for each run: where it stands, what it reached, and what it ran on."""
    rows = []
    for group in groups:
        for run in sorted((*group.runs, *group.repeated), key=lambda run: run.seed):
            mine = group.selected[group.selected["seed"] == run.seed]
            counted = run in group.runs
            last = mine.iloc[-1] if counted and len(mine) else None
            rows.append(
                {
                    "run": str(run.path),
                    "group": group.label,
                    "seed": run.seed,
                    "state": run.state,
                    "reason": str(run.status.get("reason") or ""),
                    "counted": counted,
                    "budget": math.nan if last is None else int(last[group.at]),
                    "accuracy": math.nan if last is None else float(last["accuracy"]),
                    "area": area_of(group, run, whole=False, log=log) if counted else math.nan,
                    "seconds": math.nan if last is None else float(last["seconds"]),
                    **_origin(run),
                }
            )
    return pd.DataFrame(rows)


def _origin(run: Run) -> dict[str, str]:
    revision = str(run.status.get("git.revision") or "")[:12]
    changed = " with changes" if run.status.get("git.dirty") is True else ""
    names = ("alframe", "python", "torch")
    versions = [
        f"{n} {run.status[f'versions.{n}']}" for n in names if f"versions.{n}" in run.status
    ]
    return {
        "device": run.device,
        "versions": ", ".join(versions),
        "revision": revision + changed,
        "started": str(run.status.get("started") or ""),
        "finished": str(run.status.get("finished") or ""),
    }


def area_of(group: Group, run: Run, *, whole: bool, log: bool = False) -> float:
    """Returns a run's area under its curve; ``whole``: NaN unless it covers the group's range.

    ``log`` makes the logarithm of the budget the axis, see `area_under_curve`.
    """
    points = group.selected
    mine = points[points["seed"] == run.seed]
    places = mine[group.at]
    range_of = (points[group.at].min(), points[group.at].max())
    if whole and (places.min(), places.max()) != range_of:
        return math.nan
    return area_under_curve(places, mine["accuracy"], log=log)


def _table(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(filled, ignore_index=True)[list(columns)]
