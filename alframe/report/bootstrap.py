"""Bootstrap intervals of a mean: percentiles of the means of resampled values."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
SEED = 1979
"""Of the resampling: the same values give the same interval in every report."""
LEAST = 3
"""Fewer values have no interval: of two it would be the values themselves, and hold the mean in
half of all cases."""
CHUNK = 256
"""Rows that are resampled at once: 256 x 10,000 means are 20 MB."""


def percentile_interval(
    values: npt.ArrayLike, level: float = 0.95
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns the percentile bootstrap interval of the mean along the last axis.

    n values are drawn from the n given ones with replacement, 10,000 times; the bounds are the
    ``(1 - level) / 2`` quantile of the means of these draws, and its mirror. Every row of n values
    meets the same draws.

    With few values the interval is too narrow, since the draws spread less than new values would,
    by the factor sqrt((n - 1) / n), and since normal instead of Student t quantiles are at work.
    Of normal values a 95 % interval holds the true mean in about 75 % of all cases for n = 3, in
    83 % for n = 5, and in 90 % for n = 10.

    Args:
        values: Numbers [..., n], none of them NaN.
        level: Coverage within (0, 1).

    Returns:
        The lower and the upper bounds [...]; NaN where n < `LEAST`.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7
    (1979); Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapter 13.
    """
    given = np.asarray(values, np.float64)
    shape, n = given.shape[:-1], given.shape[-1]
    if n < LEAST:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    rows = given.reshape(-1, n)
    bounds = np.empty((2, len(rows)))
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        means = rows[part] @ draws(n).T
        bounds[:, part] = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return bounds[0].reshape(shape), bounds[1].reshape(shape)


@lru_cache(maxsize=16)
def draws(n: int, count: int = RESAMPLES) -> npt.NDArray[np.float64]:
    """Returns ``count`` resamples of n values, as shares: how often each was drawn, by n.

    Returns:
        Shares [count, n]; ``draws(n) @ values`` are the means of the resamples. Not to be changed.
    """
    rng = np.random.default_rng((SEED, n))
    shares = rng.multinomial(n, np.full(n, 1 / n), count) / n
    shares.setflags(write=False)
    return shares
