"""Strategies against each other, seed by seed: the penalty matrix, and one test for each pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from alframe.report.paired import LEAST, holm, paired_t
from alframe.report.ranking import BASELINE
from alframe.report.settings import Setting
from alframe.report.statistics import mean_interval

LEVEL = 0.05
"""A strategy beats another one at a budget where the paired test has a smaller p-value."""
LEARNT = 0.99
"""Budgets count until random picks reach this share of their last accuracy: then all are alike."""
PENALTIES = ("pipeline", "winner", "loser", "penalty", "settings", "fewest_seeds", "loser_average")
PAIRS = (
    "pipeline", "first", "second", "difference", "low", "high", "settings", "seeds", "left_out",
    "t", "p", "p_holm",
)  # fmt: skip


def budgets(setting: Setting) -> list[int]:
    """Returns the budgets at which the strategies of a setting are compared, ascending.

    In active learning those are M + 2^(m-1) B for m = 1, 2, ..., with M the first budget (where
    all strategies still have the same labels) and B the step after it; where none was measured
    there, the next one that was. They end before random picks reach 99 % of their last accuracy;
    the first one counts in any case. Each size of a core-set run is a selection of its own, and
    all count, as does a budget that is the only one.

    Source: Ash et al., "Deep batch active learning by diverse, uncertain gradient lower bounds",
    ICLR 2020, arXiv:1906.03671, section 5.
    Deviations: without random picks all of these budgets count; the authors' script also counts
    the first budget, M.
    """
    measured = sorted({int(at) for table in setting.accuracies.values() for at in table.columns})
    if setting.pipeline == "core_set" or len(measured) < 2:
        return measured
    start, step = measured[0], measured[1] - measured[0]
    chosen: list[int] = []
    while start + step <= measured[-1]:
        chosen.append(next(at for at in measured if at >= start + step))
        step *= 2
    chosen = sorted(set(chosen))
    base = setting.accuracies.get(BASELINE)
    if base is not None and len(base):
        curve = base.mean().sort_index()
        learnt = int(curve.index[curve >= LEARNT * curve.iloc[-1]][0])
        chosen = [at for at in chosen if at < learnt] or chosen[:1]
    return chosen


def penalties(settings: Sequence[Setting]) -> pd.DataFrame:
    """Returns by how much each strategy beats each other one: the pairwise penalty matrix.

    In each setting, at each of its n `budgets`, the accuracies of two strategies are compared by a
    two-sided paired t test over the seeds that both have; where p < 0.05 the better one, i, adds
    1 / n to P[i, j]. So an entry is at most the number of settings.

    Columns: ``winner`` i, ``loser`` j; ``penalty`` P[i, j], NaN where nothing could be tested;
    ``settings`` in which the two were tested; ``fewest_seeds`` that a tested budget, or else any
    one, had in common; ``loser_average``, the mean of column j with its 0 on the diagonal: how
    often j is beaten, smaller is better.

    Source: Ash et al., ICLR 2020, arXiv:1906.03671, section 5.
    Deviations: where two strategies lack three common seeds at a budget, n counts the others.
    """
    parts = []
    for pipeline in sorted({setting.pipeline for setting in settings}):
        mine = [setting for setting in settings if setting.pipeline == pipeline]
        tested = [(setting, budgets(setting)) for setting in mine]
        rows = []
        for first, second in combinations(strategies(mine), 2):
            rows += _duel(tested, first, second)
        table = pd.DataFrame(rows).assign(pipeline=pipeline)
        known = table.dropna(subset=["penalty"]).groupby("loser")["penalty"]
        average = known.sum() / (known.count() + 1)
        parts.append(table.assign(loser_average=table["loser"].map(average)))
    if not parts:
        return pd.DataFrame(columns=list(PENALTIES))
    return pd.concat(parts, ignore_index=True)[list(PENALTIES)]


def _duel(
    tested: Sequence[tuple[Setting, Sequence[int]]], first: str, second: str
) -> list[dict[str, object]]:
    """Returns the two rows of one pair of strategies."""
    wins, losses, met, fewest = 0.0, 0.0, 0, math.inf
    for setting, places in tested:
        if first not in setting.groups or second not in setting.groups:
            continue
        gaps = setting.accuracies[first] - setting.accuracies[second]
        t, p, n = paired_t(gaps.reindex(columns=list(places)).to_numpy(float))
        counts = ~np.isnan(p) | (n >= LEAST)  # equal in all seeds is tested, and beats nobody
        fewest = min(fewest, float(n[counts].min() if counts.any() else n.max(initial=0)))
        if counts.any():
            met += 1
            wins += float(((p < LEVEL) & (t > 0)).sum() / counts.sum())
            losses += float(((p < LEVEL) & (t < 0)).sum() / counts.sum())
    common = {"settings": met, "fewest_seeds": 0 if math.isinf(fewest) else int(fewest)}
    none = math.nan
    return [
        {"winner": first, "loser": second, "penalty": wins if met else none, **common},
        {"winner": second, "loser": first, "penalty": losses if met else none, **common},
    ]


def pairs(settings: Sequence[Setting], *, log: bool = False) -> pd.DataFrame:
    """Returns one paired test for each pair of strategies: of their areas, seed by seed.

    The difference of the areas under the budget curves is averaged over the settings that both
    strategies have, for each seed that both have in all of these; a paired t test over the seeds
    follows. It is about these settings, and about new seeds. ``low`` and ``high`` are Student's t
    interval of the ``difference`` (first less second), which leaves out 0 just where p < 0.05;
    ``left_out`` counts the seeds without a partner; ``p_holm`` is corrected for all pairs of the
    pipeline. No p-value for fewer than 3 seeds.
    """
    parts = []
    for pipeline in sorted({setting.pipeline for setting in settings}):
        mine = [setting for setting in settings if setting.pipeline == pipeline]
        areas = [setting.areas(log=log) for setting in mine]
        rows = [_test(areas, *pair) for pair in combinations(strategies(mine), 2)]
        table = pd.DataFrame(rows).assign(pipeline=pipeline)
        parts.append(table.assign(p_holm=holm(table["p"])))
    if not parts:
        return pd.DataFrame(columns=list(PAIRS))
    return pd.concat(parts, ignore_index=True)[list(PAIRS)]


def _test(areas: Sequence[pd.DataFrame], first: str, second: str) -> dict[str, object]:
    both = [table[[first, second]] for table in areas if {first, second} <= set(table.columns)]
    seeds = {seed for table in both for seed in table.dropna(how="all").index}
    gaps = pd.DataFrame({i: table[first] - table[second] for i, table in enumerate(both)})
    gap = gaps.dropna().mean(axis=1).to_numpy(float)
    t, p, n = paired_t(gap[:, None])
    found = mean_interval(gap)
    return {
        "first": first, "second": second, "difference": found.mean, "low": found.low,
        "high": found.high, "settings": len(both), "seeds": int(n[0]),
        "left_out": len(seeds) - int(n[0]), "t": float(t[0]), "p": float(p[0]),
    }  # fmt: skip


def strategies(settings: Sequence[Setting]) -> list[str]:
    """Returns the labels of all strategies of the settings, in order."""
    return sorted({name for setting in settings for name in setting.groups})


def matrix(table: pd.DataFrame, pipeline: str) -> pd.DataFrame:
    """Returns one pipeline's penalties as a square: row beats column, the least beaten first."""
    mine = table[table["pipeline"] == pipeline]
    order = mine.drop_duplicates("loser").sort_values(["loser_average", "loser"])["loser"]
    square = mine.pivot(index="winner", columns="loser", values="penalty")
    return square.reindex(index=list(order), columns=list(order))
