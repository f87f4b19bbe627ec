"""What `reproduce_svp.py` has measured so far, beside the figures that were published."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from svp_cells import PUBLISHED, Cell

from alframe.report.points import break_even, points_of
from alframe.report.runs import Run, load
from alframe.report.statistics import mean_interval
from alframe.report.words import TextTable, between, percent, share, times
from alframe.report.words import seconds as as_seconds

ALL = ("core_set", "all rows", "", "")
SECONDS = ("selector_seconds", "choose_seconds", "target_seconds", "seconds", "compile_seconds")
AGREEMENT = ("overlap", "chance", "spearman", "kendall")
ORIGIN = ("device", "versions.torch", "versions.alframe", "git.revision", "started", "finished")
Kind = tuple[str, str, str, str]
Points = dict[Kind, dict[int, dict[str, Any]]]


def reproduction(folder: Path, cells: list[Cell], small: bool) -> dict[str, Any]:
    """Returns the table, what is missing for it, and the fits that are kept.

    Args:
        folder: Of the reproduction.
        cells: All the runs that belong to it, in their order.
        small: Whether they are tiny, so that no published figure may stand beside them.
    """
    paths = {cell: folder / "runs" / cell.name for cell in cells}
    begun = {cell: load(p) for cell, p in paths.items() if (p / "status.json").is_file()}
    done = {cell: run for cell, run in begun.items() if run.state == "done"}
    points = _points(done)
    return {
        "small": small,
        "table": [
            _row(kind, points) | {"published": None if small else PUBLISHED.get(kind)}
            for kind in points
        ],
        "missing": [cell.name for cell in cells if cell not in done],
        "runs": [
            {"run": c.name, **{key: run.status.get(key) for key in ORIGIN}}
            for c, run in done.items()
        ],
        "fits": [_fit(path) for path in sorted(folder.glob("shared/*/fit.json"))],
    }


def _points(done: Mapping[Cell, Run]) -> Points:
    """Returns what was measured for each kind of run and seed; all rows first."""
    points: Points = {ALL: {}}
    for cell, run in done.items():
        table = points_of(run).assign(device=run.device)
        full = table[table["full"].astype(bool)]
        if len(full):
            points[ALL].setdefault(cell.seed, full.iloc[-1].to_dict())
        last = table[~table["full"].astype(bool)].iloc[-1].to_dict()
        compared = run.fidelity()
        agreement = compared.iloc[-1][list(AGREEMENT)].to_dict() if len(compared) else {}
        mine = points.setdefault(cell.kind, {}).setdefault(cell.seed, last)
        mine |= agreement
    return {kind: by_seed for kind, by_seed in points.items() if by_seed}


def _row(kind: Kind, points: Points) -> dict[str, Any]:
    """Returns means over seeds, with intervals where they matter."""
    mine, base = points[kind], points.get(_baseline(kind), {})
    pairs = [(point, base[seed]) for seed, point in mine.items() if seed in base]
    same = [(p, b) for p, b in pairs if p["device"] == b["device"]]
    timed = mine.values() if len({p["device"] for p in mine.values()}) == 1 else ()
    choosing = [p["selector_seconds"] + p["choose_seconds"] for p, _ in same]
    return {
        **dict(zip(("form", "strategy", "proxy", "share"), kind, strict=True)),
        "seeds": sorted(mine),
        "error": _interval(1 - p["accuracy"] for p in mine.values()),
        "error_above_baseline": _interval(b["accuracy"] - p["accuracy"] for p, b in pairs),
        **{name: _interval(p[name] for p in timed)["mean"] for name in SECONDS},
        "speed_up": _interval(b["seconds"] / p["seconds"] for p, b in same),
        "speed_up_compiled": _interval(_compiled(b) / _compiled(p) for p, b in same),
        "selection_speed_up": _interval(
            (b["selector_seconds"] + b["choose_seconds"]) / spent
            for (_, b), spent in zip(same, choosing, strict=True)
            if kind[0] == "active"
        ),
        "break_even": _interval(
            break_even(p, _full_row(b)) for p, b in same if kind[0] == "core_set" and kind != ALL
        )["mean"],
        **{
            name: _interval(p.get(name, math.nan) for p in mine.values())["mean"]
            for name in AGREEMENT
        },
    }


def _baseline(kind: Kind) -> Kind:
    """All rows, or the target that selects for itself."""
    return ALL if kind[0] == "core_set" else ("active", kind[1], "itself", "")


def _compiled(point: Mapping[str, Any]) -> float:
    """Returns a point's seconds with those that compiling its networks takes, each once."""
    return float(point["seconds"] + point["compile_seconds"])


def _full_row(point: Mapping[str, Any]) -> pd.Series:
    return pd.Series({"train_rows": point["train_rows"], "seconds_fit": point["target_seconds"]})


def _interval(values: Iterable[float]) -> dict[str, float | None]:
    found = mean_interval([float(value) for value in values])
    return {
        name: None if math.isnan(value) else round(value, 6)
        for name, value in (("mean", found.mean), ("low", found.low), ("high", found.high))
    }


def _fit(path: Path) -> dict[str, Any]:
    known = json.loads(path.read_text())
    wanted = ("what", "state", "seconds_fit", "started", "finished")
    device = known.get("signed", {}).get("device")
    return {"signature": path.parent.name, "device": device, **{k: known.get(k) for k in wanted}}


def table(kept: Mapping[str, Any]) -> str:
    """Returns the table as Markdown."""
    columns = (
        "Target trained on", "Picked by", "Seeds", "Test error", "95 % interval",
        "Error above the baseline", "Seconds: selector + choosing + target", "Speed-up",
        "Compiling, s", "Speed-up with it", "Of selection", "Break-even",
        "Picks in common", "Published error",
    )  # fmt: skip
    rows = tuple(_cells(row) for row in kept["table"])
    numeric = (False, False, *[True] * 11, False)
    devices = "; ".join(sorted({str(run["device"]) for run in kept["runs"]}))
    total = len(kept["missing"]) + len(kept["runs"])
    what = "ResNet-164, proxy ResNet-20, CIFAR-10"
    if kept["small"]:
        what = "--small, to try the way out: tiny networks on digits, whose numbers mean nothing"
    return (
        TextTable(columns, rows, numeric).markdown()
        + f"\n{what}. {devices}. The baseline: all rows, or the target picking for itself; seed by "
        + f"seed, mean and 95 % interval (Student t). {len(kept['runs'])} of {total} runs done.\n"
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    rows = "all rows" if row["strategy"] == "all rows" else f"{row['share']} of the rows"
    rows = "25,000 labels" if row["form"] == "active" else rows
    proxy = {"": "", "itself": ", itself"}.get(row["proxy"], f", {row['proxy']}-epoch proxy")
    error, above, speed_up = (_known(row[n]) for n in ("error", "error_above_baseline", "speed_up"))
    parts = [as_seconds(_number(row[name])) for name in SECONDS]
    return (
        rows,
        "" if row["strategy"] == "all rows" else f"{row['strategy']}{proxy}",
        str(len(row["seeds"])),
        percent(error[0]),
        between(*error[1:], percent),
        f"{percent(above[0])} ({between(*above[1:], percent)})",
        f"{' + '.join(parts[:3])} = {parts[3]}",
        f"{times(speed_up[0])} ({between(*speed_up[1:], times)})",
        parts[4],
        times(_known(row["speed_up_compiled"])[0]),
        times(_known(row["selection_speed_up"])[0]),
        share(_number(row["break_even"])),
        percent(_number(row["overlap"])),
        row["published"] or "",
    )


def _known(interval: Mapping[str, float | None]) -> tuple[float, float, float]:
    mean, low, high = (_number(interval[name]) for name in ("mean", "low", "high"))
    return mean, low, high


def _number(value: float | None) -> float:
    return math.nan if value is None else value
