"""Means with intervals over seeds, and what is read off one curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from alframe.errors import UserError
from alframe.report import bootstrap

LEVEL = 0.95
Kind = Literal["bootstrap", "t"]
"""How an interval is made."""
KINDS: dict[Kind, str] = {"bootstrap": "bootstrap percentiles", "t": "Student t"}
"""The kinds in words."""
LEAST: dict[Kind, int] = {"bootstrap": bootstrap.LEAST, "t": 2}
"""The fewest values that have an interval."""


@dataclass(frozen=True)
class Interval:
    """A mean, its interval (NaN where there is none), and the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: npt.ArrayLike, level: float = LEVEL, kind: Kind = "t") -> Interval:
    """Returns the mean with its two-sided interval.

    ``t`` is Student's: mean +- t(n - 1) * s / sqrt(n). The seeds are taken as independent draws of
    a normal quantity with unknown spread, so the interval is about the mean over all seeds, not
    about one run. It is not cut at 0 or 1. ``bootstrap`` is that of `percentile_interval`: no bell
    shape is assumed, it never leaves the range of the values, and with few seeds it is too narrow.

    Args:
        values: One number for each seed [n]; NaN means "not measured" and is left out.
        level: Coverage within (0, 1).
        kind: How the interval is made.

    Returns:
        With n >= ``LEAST[kind]`` the interval; below that the mean alone; with n = 0 a mean of NaN.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    given = given[~np.isnan(given)]
    n = len(given)
    mean = float(given.mean()) if n else float("nan")
    if n < LEAST[kind]:
        return Interval(mean, float("nan"), float("nan"), n)
    if kind == "bootstrap":
        low, high = bootstrap.percentile_interval(given, level)
        return Interval(mean, float(low), float(high), n)
    from scipy import stats

    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * given.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def over_seeds(points: pd.DataFrame, at: str, value: str, kind: Kind = "t") -> pd.DataFrame:
    """Returns the mean of ``value`` with its interval at each value of ``at``, ascending.

    Runs are aligned by equal values of ``at``; nothing is interpolated, so where some runs have no
    point ``n`` is smaller.

    Args:
        points: One row for each run and value of ``at``.
        at: The column to align by, such as ``labeled``.
        value: The column to average, such as ``accuracy``.
        kind: How the intervals are made.

    Returns:
        Columns ``at``, ``mean``, ``low``, ``high``, ``n``.
    """
    rows = [
        {at: place, **vars(mean_interval(part[value].to_numpy(float), kind=kind))}
        for place, part in points.groupby(at, sort=True)
    ]
    return pd.DataFrame(rows, columns=[at, "mean", "low", "high", "n"])


def area_under_curve(x: npt.ArrayLike, y: npt.ArrayLike, *, log: bool = False) -> float:
    """Returns the trapezoid area divided by the width of ``x``: the mean height of the curve.

    Args:
        x: Labels or training rows [n], rising.
        y: Accuracies [n].
        log: Whether the logarithm of ``x`` is the axis, so that each doubling weighs the same.
            Points at 0 are left out, where the logarithm has no value.

    Returns:
        A number within the range of ``y``; NaN for fewer than two different places.
    """
    places, heights = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if log:
        heights, places = heights[places > 0], np.log(places[places > 0])
    if len(places) < 2 or places[-1] == places[0]:
        return float("nan")
    slices = np.diff(places) * (heights[1:] + heights[:-1]) / 2
    return float(slices.sum() / (places[-1] - places[0]))


def first_reach(y: npt.ArrayLike, target: float) -> int | None:
    """Returns the first position at which ``y`` is at least ``target``, or None."""
    reached = np.flatnonzero(np.asarray(y, np.float64) >= target)
    return int(reached[0]) if len(reached) else None


def check_target(target: float) -> None:
    """Raises `UserError` unless ``target`` is an accuracy within (0, 1]."""
    if not 0 < target <= 1:
        raise UserError(
            f"expected --target-accuracy above 0 and at most 1, such as 0.9, got {target:g}"
        )
