"""Paired tests over seeds, and what many of them at once do to p-values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LEAST = 3
"""Fewer pairs are not tested."""
FEW = 5
"""With fewer pairs a test finds only differences that are large beside their spread."""

Array = npt.NDArray[np.float64]


def paired_t(differences: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Returns Student's paired t test of each column: whether its mean is 0.

    A Wilcoxon test would ask for less, but with five pairs its smallest two-sided p-value is 1/16.
    Differences that are all the same, but not 0, have p = 0; where all are 0 there is no p-value.

    Args:
        differences: A row for each pair, a column for each test [n, m]; NaN where there is no pair.

    Returns:
        t [m], the two-sided p-value [m], and the number of pairs [m]; t and p are NaN for fewer
        than `LEAST` pairs.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    from scipy import stats

    given = np.asarray(differences, np.float64)
    there = ~np.isnan(given)
    n = there.sum(axis=0).astype(np.float64)
    t = np.full(given.shape[1], np.nan)
    for column in np.flatnonzero(n >= LEAST):
        values = given[there[:, column], column]
        mean, spread = values.mean(), values.std(ddof=1)
        if spread > 1e-12:
            t[column] = mean / (spread / np.sqrt(len(values)))
        elif abs(mean) > 1e-12:
            t[column] = np.copysign(np.inf, mean)
    return t, 2 * stats.t.sf(np.abs(t), np.maximum(n - 1, 1)), n


def holm(p: npt.ArrayLike) -> Array:
    """Returns p-values corrected for being many, such that p < 0.05 errs in 5 % of families.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none falls below the one
    before it, and none exceeds 1.

    Args:
        p: Two-sided p-values [m]; NaN where nothing was tested, which does not count.

    Returns:
        The corrected p-values [m], in the given order.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6 (1979).
    """
    given = np.asarray(p, np.float64)
    corrected = np.full_like(given, np.nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1.0)
    return corrected
