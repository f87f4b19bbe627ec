"""How far two selectors agree: on the order of the rows, and on the rows that they pick."""

from __future__ import annotations

import math
import warnings

import numpy as np

from alframe.protocols import Array, Rows


def rank_correlations(first: Array, second: Array) -> tuple[float | None, float | None]:
    """Returns Spearman's rho and Kendall's tau-b of two scores of the same rows.

    Both are in [-1, 1] and know ties; None where a score is the same for all rows, so that it
    orders nothing. Scores may be infinite.

    Args:
        first: One score for each row [n].
        second: In the same order of the rows [n].

    Source: Spearman, "The proof and measurement of association between two things" (1904);
    Kendall, "The treatment of ties in ranking problems" (1945).
    """
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        found = (stats.spearmanr(first, second), stats.kendalltau(first, second))
    rho, tau = (float(each.statistic) for each in found)
    return (None if math.isnan(rho) else rho, None if math.isnan(tau) else tau)


def overlap(first: Rows, second: Rows) -> float:
    """Returns the share of the first rows that are among the second, both distinct.

    Of ``size`` picks out of ``n`` rows each, chance would have ``size / n`` in common.
    """
    return len(np.intersect1d(first, second, assume_unique=True)) / len(first)
