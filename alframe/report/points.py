"""One run's measured points: accuracy, and the seconds that it took to get there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from alframe.report.runs import Run

FULL_FIT = "full_target"
COLUMNS = (
    "fit", "full", "labeled", "train_rows", "accuracy",
    "selector_seconds", "choose_seconds", "target_seconds", "seconds", "speed_up", "break_even",
    "compile_seconds", "speed_up_compiled",
)  # fmt: skip


def points_of(run: Run) -> pd.DataFrame:
    """Returns a row for each test accuracy of the target, in the order of its training rows.

    Columns: ``fit``; ``full`` (trained on everything: the ceiling of a core-set run); ``labeled``;
    ``train_rows``; ``accuracy`` on the test split; ``selector_seconds``, ``choose_seconds``
    (observe and select) and ``target_seconds``, whose sum is ``seconds``, the wall-clock that is
    needed to get this model; ``speed_up`` = seconds of the full run / seconds (NaN without one);
    ``break_even``, see `break_even`; ``compile_seconds``, which the selector's and the target's
    network need once each and ``seconds`` leave out; ``speed_up_compiled``, with them. Where a run
    was resumed on another device, all seconds and what follows from them are NaN.
    """
    tests = run.metrics[(run.metrics["model"] == "target") & (run.metrics["split"] == "test")]
    tests = tests.dropna(subset=["accuracy", "labeled", "train_rows"]).drop_duplicates(
        "fit", keep="last"
    )
    # the seconds of a fit stand on the row of each of its splits
    fits = run.metrics.drop_duplicates("fit")
    measure = _core_set if run.pipeline == "core_set" else _active_learning
    table = pd.DataFrame(measure(run, tests, fits), columns=list(COLUMNS))
    if len(run.devices) > 1:
        table[["selector_seconds", "choose_seconds"]] = math.nan  # the sum of nothing is 0
    by = "train_rows" if run.pipeline == "core_set" else "labeled"
    return table.sort_values(["full", by], kind="stable", ignore_index=True)


def _active_learning(run: Run, tests: pd.DataFrame, fits: pd.DataFrame) -> list[dict[str, object]]:
    """A round costs the selector's earlier fits, all choosing so far, and the target's own fit."""
    rows = []
    # an empty answer of the oracle gives two rounds with equally many labels: the last one counts
    for _, test in tests.drop_duplicates("labeled", keep="last").iterrows():
        so_far = fits[fits["round_id"] <= test["round_id"]]
        if run.has_proxy:
            earlier = so_far["round_id"] < test["round_id"]
            selector = so_far[(so_far["model"] == "proxy") & earlier]
        else:
            selector = so_far[(so_far["model"] == "target") & (so_far["fit"] != test["fit"])]
        if not run.listens_to:  # random labels need no earlier model
            selector = so_far.head(0)
        row = _row(test, False, _total(selector["seconds_fit"]), _choosing(so_far))
        rows.append(row | {"compile_seconds": _compiling(fits, selector, test)})
    return rows


def _core_set(run: Run, tests: pd.DataFrame, fits: pd.DataFrame) -> list[dict[str, object]]:
    """A size costs the selector's fits (the proxy's, short ones, the full run), choosing, its own.

    A strategy that observes nothing, such as random, needs no selector.
    """
    full = fits[fits["fit"] == FULL_FIT]
    selector = fits[fits["model"] == "proxy"]
    if run.full_run_selects:
        selector = pd.concat([selector, full])
    rows = []
    for _, test in tests.iterrows():
        if test["fit"] == FULL_FIT:
            row = _row(test, True, 0.0, 0.0)
        else:
            own = fits[fits["fit"] == test["fit"]]
            row = _row(test, False, _total(selector["seconds_fit"]), _choosing(own))
        heard = fits.head(0) if row["full"] else selector
        row["compile_seconds"] = _compiling(fits, heard, test)
        if len(full) and row["seconds"] > 0:
            whole, compiling = _total(full["seconds_fit"]), _compiling(fits, fits.head(0), test)
            row["speed_up"] = whole / row["seconds"]
            row["speed_up_compiled"] = (whole + compiling) / (
                row["seconds"] + row["compile_seconds"]
            )
            row["break_even"] = break_even(row, full.iloc[0])
        rows.append(row)
    return rows


def break_even(size: Mapping[str, Any], full: pd.Series) -> float:
    """Returns the largest share of the rows whose selection costs no more than it saves.

    Up to this share selector, choosing and target together are as fast as the full run. The
    target's seconds are taken to be linear in its rows, through the two fits that were measured:
    ``t0`` on the share ``s0`` and ``T`` on all. Then each share that is left out saves ``(T - t0) /
    (1 - s0)`` seconds a unit, and what is spent before the target starts is won back at the share

        1 - (selector + choosing) (1 - s0) / (T - t0)

    0 where no share is small enough; NaN where fewer rows took no less time, or nothing was left
    out.

    Args:
        size: A row of `points_of`.
        full: The row of ``metrics.csv`` of the full run.
    """
    left_out = 1 - size["train_rows"] / full["train_rows"]
    saved = full["seconds_fit"] - size["target_seconds"]
    if not (left_out > 0 and saved > 0):
        return math.nan
    spent = size["selector_seconds"] + size["choose_seconds"]
    return max(1 - float(spent * left_out / saved), 0.0)  # NaN stays NaN in this order


def _row(test: pd.Series, full: bool, selector: float, choosing: float) -> dict[str, Any]:
    target = float(test["seconds_fit"])
    return {
        "fit": test["fit"],
        "full": full,
        "labeled": int(test["labeled"]),
        "train_rows": int(test["train_rows"]),
        "accuracy": float(test["accuracy"]),
        "selector_seconds": selector,
        "choose_seconds": choosing,
        "target_seconds": target,
        "seconds": selector + choosing + target,
        "speed_up": math.nan,
        "break_even": math.nan,
        "compile_seconds": math.nan,
        "speed_up_compiled": math.nan,
    }


def _compiling(fits: pd.DataFrame, selector: pd.DataFrame, test: pd.Series) -> float:
    """Returns what compiling takes that a model and its selector need, once for each network.

    A network is compiled in a run's first fit of it, and not again: the longest time counts.
    """
    models = {*selector["model"], test["model"]}
    return float(sum(fits[fits["model"] == model]["seconds_compile"].max() for model in models))


def _total(seconds: pd.Series) -> float:
    """A missing time makes the sum unknown, never smaller."""
    return float(seconds.sum(skipna=False))


def _choosing(fits: pd.DataFrame) -> float:
    """Empty cells are fits after which nothing was chosen."""
    return float(fits[["seconds_observe", "seconds_select"]].fillna(0.0).to_numpy(float).sum())
