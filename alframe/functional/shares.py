"""Shares of a whole number in proportion to counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]


def proportional_shares(counts: Whole, size: int) -> Whole:
    """Splits ``size`` in proportion to counts, by largest remainders.

    Args:
        counts: [k], 0 or more.
        size: At most their sum.

    Returns:
        Shares [k] that sum to ``size``, none above its count; where remainders are equal the first
        gets more.

    Raises:
        ValueError: If there are fewer than ``size``.
    """
    total = int(counts.sum())
    if not 0 <= size <= total:
        raise ValueError(f"expected a size from 0 to {total}, got {size}")
    if total == 0:
        return np.zeros(len(counts), dtype=np.int64)
    # Whole numbers throughout: a float would round what is exactly a half.
    shares, remainders = np.divmod(counts.astype(np.int64) * size, total)
    left = size - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:left]] += 1
    return shares


def leveled_shares(counts: Whole, held: Whole, size: int) -> Whole:
    """Splits ``size`` so that what is held and what is added are as even as the counts allow.

    Args:
        counts: Rows [k] that can be added, 0 or more.
        held: Rows [k] that are there already.
        size: At most the sum of the counts.

    Returns:
        Shares [k] that sum to ``size``, none above its count: one after the other goes to the group
        that has the fewest and can still be added to, the first of equals.

    Raises:
        ValueError: If there are fewer than ``size``.
    """
    if not 0 <= size <= counts.sum():
        raise ValueError(f"expected a size from 0 to {counts.sum()}, got {size}")
    shares = np.zeros(len(counts), dtype=np.int64)
    full = np.iinfo(np.int64).max
    totals = np.where(counts > 0, held, full)
    for _ in range(size):
        least = int(totals.argmin())
        shares[least] += 1
        totals[least] = full if shares[least] == counts[least] else totals[least] + 1
    return shares
