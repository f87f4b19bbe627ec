"""What each part of the work takes, and how far the proxy's picks agree with the target's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from alframe.report.groups import Group, by_device
from alframe.report.points import FULL_FIT, points_of
from alframe.report.runs import Run
from alframe.report.statistics import Kind, mean_interval

MEASURED = ("seconds", "samples_per_second", "peak_bytes", "multiply_adds", "compile_seconds")
WORK = ("group", "device", "part", "train_rows", *MEASURED, "seeds")
AGREEMENT = ("chance", "spearman", "kendall", "selection_speed_up")
FIDELITY = ("group", "train_rows", "overlap", "low", "high", *AGREEMENT, "seeds")
ORDER = ("train the proxy", "observe", "select", "train the target", "train the target on all rows")


def work(groups: Sequence[Group]) -> pd.DataFrame:
    """Returns a row for each part: training each model, observing, selecting.

    Means over the seeds of one device; of active learning the last round alone. ``peak_bytes`` is
    device memory, ``multiply_adds`` are the model's for one row; NaN where nothing was measured.
    """
    rows: list[dict[str, object]] = []
    for group in (part for whole in groups for part in by_device(whole)):
        parts = [{**part, "seed": run.seed} for run in group.runs for part in _parts(run)]
        table = pd.DataFrame(parts, columns=["part", "train_rows", *MEASURED, "seed"])
        table["order"] = table["part"].map(ORDER.index)
        for (_, size), same in table.groupby(["order", "train_rows"], sort=True):
            means = {name: mean_interval(same[name].to_numpy(float)).mean for name in MEASURED}
            rows.append(
                {
                    "group": group.label,
                    "device": group.runs[0].device,
                    "part": same["part"].iloc[0],
                    "train_rows": size,
                    **means,
                    "seeds": same["seed"].nunique(),
                }
            )
    return pd.DataFrame(rows, columns=list(WORK))


def _parts(run: Run) -> Iterator[dict[str, object]]:
    fits = run.metrics.drop_duplicates("fit")
    if run.pipeline != "core_set":
        fits = fits[fits["round_id"] == fits["round_id"].max()]
    for _, fit in fits.iterrows():
        all_rows = " on all rows" if fit["fit"] == FULL_FIT else ""
        yield _part(fit, f"train the {fit['model']}{all_rows}", "fit", fit["multiply_adds"])
        for name in ("observe", "select"):
            if fit[f"seconds_{name}"] > 0:
                yield _part(fit, name, name, math.nan)


def _part(fit: pd.Series, part: str, column: str, multiply_adds: float) -> dict[str, object]:
    return {
        "part": part,
        "train_rows": fit["train_rows"],
        "seconds": fit[f"seconds_{column}"],
        "samples_per_second": fit[f"samples_per_second_{column}"],
        "peak_bytes": fit[f"peak_bytes_{column}"],
        "multiply_adds": multiply_adds,
        "compile_seconds": fit["seconds_compile"] if column == "fit" else math.nan,
    }


def fidelity(groups: Sequence[Group], kind: Kind = "t") -> pd.DataFrame:
    """Returns a row for each size that the target selected too, to compare with the proxy.

    Means over seeds; ``low`` and ``high`` are the interval of the ``overlap``.
    ``selection_speed_up`` is the target's training on all rows, observing and selecting, by the
    proxy's; NaN where the seeds ran on different devices.

    Raises:
        UserError: If a file cannot be read.
    """
    rows: list[dict[str, object]] = []
    for group in groups:
        parts = [part.assign(seed=run.seed) for run in group.runs if len(part := _compared(run))]
        if not parts:
            continue
        for size, same in pd.concat(parts).groupby("train_rows", sort=True):
            overlap = mean_interval(same["overlap"].to_numpy(float), kind=kind)
            means = {name: mean_interval(same[name].to_numpy(float)).mean for name in AGREEMENT}
            if len(group.devices) > 1:
                means["selection_speed_up"] = math.nan
            rows.append(
                {
                    "group": group.label,
                    "train_rows": size,
                    "overlap": overlap.mean,
                    "low": overlap.low,
                    "high": overlap.high,
                    **means,
                    "seeds": overlap.n,
                }
            )
    return pd.DataFrame(rows, columns=list(FIDELITY))


def _compared(run: Run) -> pd.DataFrame:
    """Returns the run's fidelity with the seconds that both selections took."""
    table = run.fidelity()
    if not len(table):
        return table
    points = points_of(run)
    full = points[points["full"].astype(bool)]
    own = points[~points["full"].astype(bool)].set_index("train_rows")
    if not len(full):
        return table.iloc[:0]
    targets = full["target_seconds"].iloc[0] + table["seconds_observe"] + table["seconds_select"]
    proxys = own["selector_seconds"] + own["choose_seconds"]
    return table.assign(selection_speed_up=targets / table["train_rows"].map(proxys))
