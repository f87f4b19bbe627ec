"""BatchBALD: the rows whose labels, taken together, tell most about the model.

With the rows A picked and y_A their labels, one more row i is worth H(y_i | y_A) - E_k H(y_i | k):
how unsure its label stays when theirs are known, less what no label can tell.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, like
from alframe.functional.joint_entropy import (
    SAME,
    ExactJointEntropy,
    JointEntropy,
    SampledJointEntropy,
    checked_draws,
    normal,
    positive,
)

_CHUNK = 2**16  # values of the rows looked at together, at most
_FIRST = 32  # rows looked at first; each further look takes twice as many


def batch_bald_greedy(
    probs_nkc: ArrayT,
    size: int,
    rng: np.random.Generator,
    *,
    exact_up_to: int = 10_000,
    samples: int = 10_000,
    enough: float = 0.0,
) -> tuple[ArrayT, ArrayT]:
    """Picks again and again the row that adds most to the joint mutual information (BatchBALD).

    Exact as long as the possible label configurations of the picks are at most ``exact_up_to``
    (four picks of ten classes), estimated from ``samples`` configurations from then on. Lazy: a
    row's gain never grows as rows are picked (the mutual information is submodular), so a stale
    gain bounds the fresh one, and only rows whose bound reaches the best fresh gain are looked at
    again. As long as it is exact, so are the picks: they equal those of looking at all rows. Of
    gains within 1e-9 nats the lowest row is taken.

    Args:
        probs_nkc: Class probabilities [n, draws, classes]; each draw is divided by its sum.
        size: How many rows to pick, in 0 .. n.
        rng: Draws the configurations, if any are.
        exact_up_to: The largest number of configurations that are enumerated.
        samples: The number of configurations beyond; rounded up to a multiple of the draws.
        enough: Nats, of the log(draws) that labels can tell at most, that may stay unknown: when no
            more do, the rest is taken by its BALD score, with gains of zero. So large batches need
            many draws.

    Returns:
        The picked rows [size] (int64, distinct, in pick order), and what each added [size]
        (float64, nats). The first is its BALD score; their sum is the mutual information of the
        batch. Exact ones fall (but for 1e-9); estimates may rise by their noise, the standard error
        being at most sqrt(gain * log draws / samples).

    Raises:
        ValueError: For another shape, NaN, values outside [0, 1], draws that sum to zero, or a size
            or another number out of range.

    **Source:** A. Kirsch, J. van Amersfoort & Y. Gal, *BatchBALD: Efficient and Diverse Batch
    Acquisition for Deep Bayesian Active Learning*, 2019, algorithm 1, arXiv:1906.08158; lazy: M.
    Minoux, *Accelerated greedy algorithms for maximizing submodular set functions*, 1978.
    **Deviations:** the samples of a batch are continued with each pick, not drawn anew. An
    estimated gain is the mean, over the sampled configurations, of what the row then tells about
    the draw; the paper subtracts the exact mean entropy instead, which is as unbiased, but noisier
    and may be negative. Stale estimates are widened, so that a row that would have won is passed
    over a few times in a million. The rest by BALD, where ``enough`` is known. Time is at most
    O(n * configurations * draws * classes) a pick, memory O(n + configurations * draws) besides
    chunks of about 1 MB.
    """
    values, alone_n = checked_draws(probs_nkc)
    bounds_n = alone_n.clone()
    if not 0 <= size <= len(values):
        raise ValueError(f"expected a size from 0 to {len(values)} (rows), got {size}")
    limit, samples = positive("exact_up_to", exact_up_to), positive("samples", samples)
    joint: JointEntropy = ExactJointEntropy(values.shape[1], values.device)
    rows = torch.empty(size, dtype=torch.int64, device=values.device)
    gains = torch.empty(size, dtype=torch.float64, device=values.device)
    for i in range(size):
        if i > 0:
            added = rows[i - 1 : i]
            if isinstance(joint, ExactJointEntropy) and len(joint) * values.shape[2] > limit:
                joint = SampledJointEntropy(values.shape[1], samples, rng, values.device)
                added = rows[:i]
            for row in added:
                joint.add_row(normal(values[row]))
            unknown = joint.unknown()
            if unknown < enough:
                _fill(rows, gains, alone_n, i)
                break
            if unknown > SAME:
                _refresh(bounds_n, values, joint, len(values) - i)
            else:
                bounds_n.clamp_(max=0)
        rows[i] = row = (bounds_n >= bounds_n.amax() - SAME).int().argmax()  # the first
        gains[i] = bounds_n[row]
        bounds_n[row] = -torch.inf
    return like(rows, probs_nkc), like(gains, probs_nkc)


def _fill(rows: Tensor, gains: Tensor, alone_n: Tensor, start: int) -> None:
    """Takes the picks from ``start`` on by what each tells alone; in place."""
    order = (alone_n / SAME).round().argsort(descending=True, stable=True)
    free = order[~torch.isin(order, rows[:start])]
    rows[start:], gains[start:] = free[: len(rows) - start], 0


def _refresh(bounds_n: Tensor, values: Tensor, joint: JointEntropy, free: int) -> None:
    """Replaces bounds by fresh gains, highest first, until none that is left can be the best.

    Args:
        bounds_n: The gains when last looked at, -inf for picked rows; changed in place.
        values: Probabilities [n, draws, classes].
        joint: Of the picked rows.
        free: How many rows are not picked.
    """
    order = bounds_n.argsort(descending=True)[:free]
    most = max(1, _CHUNK // values[0].numel())
    best, start, step = -math.inf, 0, min(_FIRST, most)
    while start < free and joint.reach(bounds_n[order[start]]) >= best:
        block = order[start : start + step]
        fresh = joint.gains(normal(values[block]))
        bounds_n[block] = fresh
        best = max(best, fresh.amax().item())
        start, step = start + step, min(2 * step, most)
