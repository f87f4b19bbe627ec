"""Performance profiles: in how many settings a strategy is near the best, or how its runs scatter.

With several settings the profile of Dolan and Moré, over settings; with one, the distribution of
the scores over runs, as rliable draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from alframe.report.bootstrap import LEAST, SEED, draws
from alframe.report.settings import Setting

COLUMNS = ("pipeline", "profile", "strategy", "at", "share", "low", "high")
RATIO, SCORE = "ratio", "score"
POINTS = 201
RESAMPLES = 2000
LEVEL = 0.95

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """The profiles of one pipeline.

    Attributes:
        pipeline: ``active_learning`` or ``core_set``.
        kind: `RATIO` or `SCORE`.
        table: Columns ``strategy``, ``at``, ``share``, ``low``, ``high``.
        settings: The labels of the settings that count.
        seeds: The fewest seeds behind a strategy in a setting.
        left_out: Strategies that lack a setting, or an area.
    """

    pipeline: str
    kind: str
    table: pd.DataFrame
    settings: tuple[str, ...]
    seeds: int
    left_out: tuple[str, ...]


def profiles(settings: Sequence[Setting], *, log: bool = False) -> list[Profile]:
    """Returns the profiles of each pipeline in which two strategies have all settings in common.

    A run's score is the area under its budget curve. With one setting, the share of a strategy's
    runs whose score is above ``at``. With several, the share of the settings in which a
    strategy's cost is at most ``at`` times the smallest one there; its cost in a setting is 1 less
    its mean score: the mean test error over the budget. Settings count once each; strategies that
    lack one are left out.

    ``low`` and ``high`` are 95 % percentile bootstrap intervals at each ``at``, over the runs of
    each setting (not over settings); NaN for fewer than three seeds.

    Source: Dolan and Moré, "Benchmarking optimization software with performance profiles",
    Mathematical Programming 91 (2002), arXiv:cs/0102001; Agarwal et al., "Deep reinforcement
    learning at the edge of the statistical precipice", NeurIPS 2021, arXiv:2108.13264.
    """
    found = []
    for pipeline in sorted({setting.pipeline for setting in settings}):
        mine = [setting for setting in settings if setting.pipeline == pipeline]
        areas = [setting.areas(log=log).dropna(axis=1, how="all") for setting in mine]
        everyone = {name for setting in mine for name in setting.groups}
        kept = sorted(everyone.intersection(*(table.columns for table in areas)))
        if len(kept) < 2:
            continue
        tables = [table[kept] for table in areas]
        kind = RATIO if len(mine) > 1 else SCORE
        found.append(
            Profile(
                pipeline, kind, _ratios(tables) if kind == RATIO else _scores(tables[0]),
                tuple(setting.label for setting in mine),
                int(min(table.count().min() for table in tables)),
                tuple(sorted(everyone - set(kept))),
            )
        )  # fmt: skip
    return found


def as_table(found: Sequence[Profile]) -> pd.DataFrame:
    """Returns all profiles as one table, with the columns of `COLUMNS`."""
    parts = [each.table.assign(pipeline=each.pipeline, profile=each.kind) for each in found]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)] if parts else _empty()


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=list(COLUMNS))


def score_shares(scores: npt.ArrayLike, at: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Returns the share of runs with a score above each of ``at``, and its interval.

    Args:
        scores: One number for each run [n].
        at: Thresholds [t].

    Returns:
        Share, lower and upper bound, [t] each; the bounds are NaN for fewer than three runs.
    """
    above = np.asarray(scores, np.float64)[:, None] > np.asarray(at, np.float64)
    if len(above) < LEAST:
        none = np.full(above.shape[1], np.nan)
        return above.mean(axis=0), none, none
    low, high = _bounds(draws(len(above), RESAMPLES) @ above)
    return above.mean(axis=0), low, high


def ratio_shares(costs: npt.ArrayLike, at: npt.ArrayLike) -> Array:
    """Returns the share of settings in which a strategy costs at most ``at`` times the cheapest.

    Args:
        costs: At least 0, smaller is better [..., strategies, settings].
        at: Factors of at least 1 [t].

    Returns:
        Shares [..., strategies, t].
    """
    given = np.asarray(costs, np.float64)
    allowed = np.asarray(at, np.float64) * given.min(axis=-2, keepdims=True)[..., None]
    # a rounding error of the product must not make the best one worse than itself
    return np.asarray((given[..., None] <= allowed + 1e-12).mean(axis=-2))


def _scores(areas: pd.DataFrame) -> pd.DataFrame:
    span = float(areas.max().max() - areas.min().min()) or 0.01
    at = np.linspace(areas.min().min() - 0.05 * span, areas.max().max() + 0.05 * span, POINTS)
    parts = [
        pd.DataFrame({"strategy": name, "at": at, "share": share, "low": low, "high": high})
        for name in areas.columns
        for share, low, high in [score_shares(areas[name].dropna(), at)]
    ]
    return pd.concat(parts, ignore_index=True)


def _ratios(areas: Sequence[pd.DataFrame]) -> pd.DataFrame:
    costs = np.stack([1 - table.mean().to_numpy(float) for table in areas], axis=-1)
    best = costs.min(axis=0)
    worst = float((costs / np.where(best > 0, best, np.nan)).max(initial=1.0, where=best > 0))
    at = np.linspace(1, 1 + 1.05 * max(worst - 1, 0.01), POINTS)
    shares = ratio_shares(costs, at)
    low, high = np.full_like(shares, np.nan), np.full_like(shares, np.nan)
    if min(table.count().min() for table in areas) >= LEAST:
        drawn = np.stack([_resampled(table, i) for i, table in enumerate(areas)], axis=-1)
        # one factor after the other: all at once would be large for many strategies
        for i, factor in enumerate(at):
            low[:, i], high[:, i] = _bounds(ratio_shares(drawn, [factor])[..., 0])
    parts = [
        pd.DataFrame({"strategy": name, "at": at, "share": shares[i], "low": low[i],
                      "high": high[i]})
        for i, name in enumerate(areas[0].columns)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _resampled(areas: pd.DataFrame, setting: int) -> Array:
    """Returns the costs [resample, strategy] of drawn seeds; equal seeds are drawn together.

    Settings are drawn independently of each other: each in an order of its own.
    """
    order = np.random.default_rng((SEED, setting)).permutation(RESAMPLES)
    means = []
    for name in areas.columns:
        scores = areas[name].dropna().to_numpy(float)
        means.append(draws(len(scores), RESAMPLES)[order] @ scores)
    return 1 - np.stack(means, axis=-1)


def _bounds(values: Array) -> tuple[Array, Array]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high
