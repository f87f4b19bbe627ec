"""Stochastic batches: rows drawn without replacement by their scores, instead of the top ones."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

Kind = Literal["softmax", "power", "softrank"]
_ROUNDING = 1e-6  # times the largest score: what a score that cannot be negative may be off


def gumbel_top_k(
    scores: ArrayT,
    size: int,
    rng: np.random.Generator,
    *,
    kind: Kind = "softmax",
    beta: float = 1.0,
) -> ArrayT:
    """Draws rows one after another, without replacement, in proportion to their importance.

    The importance is exp(beta * score) ("softmax"), score ** beta ("power") or rank ** -beta
    ("softrank", the highest score having rank 1 and equal scores their mean rank). All rows come
    from one draw: the largest sums of log importance and Gumbel noise have that law.

    Infinite scores come before all others, and rows without importance (-inf with softmax, 0 with
    power) after all others, each in random order.

    Args:
        scores: [n], higher = sooner, any real dtype.
        size: How many rows to draw, in 0 .. n.
        rng: Draws the noise, one number a row.
        kind: The law. "power" needs scores that are not negative, so not `margin`.
        beta: Coldness, positive: towards 0 all rows are equally likely, towards infinity it is the
            top ``size``. In units of 1 / score with "softmax".

    Returns:
        The drawn rows [size] (int64, distinct), in the order drawn. Time O(n log n), memory O(n).

    Raises:
        ValueError: For another shape, NaN, a size, kind or beta out of range, or negative scores
            with "power" (down to -1e-6 of the largest they count as zero).

    **Source:** A. Kirsch et al., *Stochastic Batch Acquisition: A Simple Baseline for Deep Active
    Learning*, 2023, arXiv:2106.12059; W. Kool, H. van Hoof & M. Welling, *Stochastic Beams and
    Where to Find Them*, 2019, arXiv:1903.06059 (the Gumbel top-k trick). **Deviations:** equal
    scores share their rank, where any order would favor one of them.
    """
    values = as_tensor(scores)
    if values.ndim != 1:
        raise ValueError(f"expected scores [n], got shape {tuple(values.shape)}")
    if not 0 <= size <= len(values):
        raise ValueError(f"expected a size from 0 to {len(values)} (rows), got {size}")
    if kind not in get_args(Kind):
        raise ValueError(f"expected a kind of {', '.join(get_args(Kind))}, got {kind!r}")
    if not 0 < beta < math.inf:
        raise ValueError(f"expected beta to be positive and finite, got {beta}")
    refuse_rows(values.isnan(), "scores without NaN")
    with np.errstate(over="ignore"):
        log_importance = beta * _log_importance(values.double().cpu().numpy(), kind)
    order = _perturbed_order(log_importance, rng)
    return like(torch.from_numpy(order[:size]).to(values.device), scores)


def _log_importance(scores: npt.NDArray[np.float64], kind: Kind) -> npt.NDArray[np.float64]:
    """Returns the log importance [n] at beta = 1; softmax shifts it, which changes no law."""
    if kind == "softrank":
        importance = 1 / rankdata(-scores)
    elif kind == "power":
        finite = np.abs(scores[np.isfinite(scores)])
        least = -_ROUNDING * finite.max(initial=0.0)
        refuse_rows(torch.from_numpy(scores < least), "scores that are not negative (kind: power)")
        importance = np.maximum(scores, 0)
    else:
        # The highest becomes 0, so that its noise is not lost beside a huge score.
        highest = scores[np.isfinite(scores)].max(initial=-np.finfo(np.float64).max)
        with np.errstate(over="ignore"):
            return np.asarray(scores - highest)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(importance))


def _perturbed_order(
    log_importance: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    noise = rng.gumbel(size=len(log_importance))
    # Infinite ones are equal, so the noise decides; likewise where a huge value swallows it.
    return np.lexsort((-noise, -(log_importance + noise)))
