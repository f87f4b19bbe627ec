"""Random picks that cover a range of scores evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alframe.functional.arrays import ArrayT, as_numpy, like

Array = npt.NDArray[Any]
Whole = npt.NDArray[np.int64]


def equal_width_strata(scores: Array, strata: int) -> Whole:
    """Cuts the range from the lowest to the highest score into parts of equal width.

    Args:
        scores: [n], n >= 1; infinite ones count as the highest or lowest finite score.
        strata: How many parts, 1 or more.

    Returns:
        The part [n] that each score lies in, 0 for the lowest; all 0 where all scores are equal.

    Raises:
        ValueError: If a score is NaN.
    """
    values = _checked(scores)
    finite = values[np.isfinite(values)]
    if not len(finite):  # as 1 and -1, lest inf - inf be computed
        values, finite = np.sign(values), np.sign(values)
    low, high = finite.min(), finite.max()
    half = high / 2 - low / 2  # halves, as the difference of huge scores of either sign is infinite
    if half == 0:
        return np.zeros(len(values), dtype=np.int64)
    share = (values.clip(low, high) / 2 - low / 2) / half
    parts: Whole = np.minimum(share * strata, strata - 1).astype(np.int64)
    return parts


def even_budgets(counts: Whole, size: int) -> Whole:
    """Spreads ``size`` picks over strata as evenly as their rows allow.

    From the smallest stratum up, each gets its even share of what is left, rounded down, or all of
    its rows where they are fewer. Of equally small strata the first goes first.

    Args:
        counts: Rows [k] of each stratum.
        size: At most their sum.

    Returns:
        Picks [k] from each stratum, which sum to ``size``.

    **Source:** Zheng, Liu, Lai & Prakash, "Coverage-centric Coreset Selection for High Pruning
    Rates" (ICLR 2023), algorithm 1; arXiv:2210.15809.
    """
    budgets = np.zeros(len(counts), dtype=np.int64)
    left = size
    for done, stratum in enumerate(np.argsort(counts, kind="stable")):
        budgets[stratum] = min(counts[stratum], left // (len(counts) - done))
        left -= budgets[stratum]
    return budgets


def coverage_centric(
    difficulty: ArrayT, size: int, rng: np.random.Generator, *, beta: float, strata: int
) -> ArrayT:
    """Drops the hardest rows, and picks from the others evenly over strata of difficulty.

    Args:
        difficulty: [n], higher = harder; infinite is allowed, NaN is not.
        size: Picks, from 1 to n.
        rng: Draws within the strata, and the order.
        beta: Share of the n rows to drop, in [0, 1); fewer where ``size`` leaves fewer to drop.
        strata: Parts of the range of difficulty that is left.

    Returns:
        ``size`` distinct positions in random order. Time O(n log n + strata n), memory O(n).

    Raises:
        ValueError: If a difficulty is NaN.

    **Source:** Zheng, Liu, Lai & Prakash, "Coverage-centric Coreset Selection for High Pruning
    Rates" (ICLR 2023), algorithm 1; arXiv:2210.15809.
    """
    values = _checked(as_numpy(difficulty))
    dropped = min(int(beta * len(values)), len(values) - size)
    kept = rng.permutation(np.argsort(-values, kind="stable")[dropped:])
    parts = equal_width_strata(values[kept], strata)
    budgets = even_budgets(np.bincount(parts, minlength=strata), size)
    # the rows are shuffled, so the first ones of each stratum are a random draw of it
    picks = [np.flatnonzero(parts == part)[:budget] for part, budget in enumerate(budgets)]
    return like(torch.from_numpy(kept[np.sort(np.concatenate(picks))]), difficulty)


def _checked(scores: Array) -> Array:
    values = np.asarray(scores, dtype=np.float64)
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        raise ValueError(f"{len(missing)} scores are NaN, the first at position {missing[0]}")
    return values
