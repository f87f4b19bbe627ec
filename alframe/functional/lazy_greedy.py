"""The greedy algorithm of facility location, which evaluates few candidates."""

from __future__ import annotations

import sys
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import as_tensor, refuse_rows
from alframe.functional.facility_covers import DenseCover
from alframe.functional.similarity import largest_exponent, times_two_to
from alframe.functional.sparse_cover import SparseCover

TIE = 1e-10  # gains that differ by less, relative to the best, are equal
_FIRST_DENSE, _FIRST_SPARSE = 4, 64  # candidates evaluated at a time, at first


def greedy(cover: DenseCover | SparseCover, size: int, given: Tensor) -> tuple[Tensor, Tensor]:
    """Picks again and again the candidate of the largest gain, the lowest of equals.

    Args:
        cover: How well all points are covered by the given ones; changed in place.
        size: How many picks at most.
        given: Candidates that are never picked.

    Returns:
        Picks and their gains (float64): fewer than size where nothing is left to be gained.
    """
    bounds = torch.full_like(cover.cover, torch.inf)  # no gain is above its bound
    bounds[given] = -torch.inf
    if isinstance(cover, SparseCover):
        bounds = torch.minimum(bounds, cover.all_gains())
    rows: list[int] = []
    gains: list[float] = []
    while len(rows) < min(size, len(bounds) - len(given)):
        if isinstance(cover, DenseCover):
            cover = _settled(cover, bounds)
        noise = cover.noise()
        row, gain = _best(cover, bounds, noise)
        if gain <= noise:
            break
        rows.append(row)
        gains.append(gain)
        bounds[row] = -torch.inf
        cover.add(row, bounds)
    whole = torch.tensor(rows, dtype=torch.int64, device=bounds.device)
    return whole, torch.tensor(gains, dtype=torch.float64, device=bounds.device)


def _settled(cover: DenseCover, bounds: Tensor) -> DenseCover | SparseCover:
    """Moves on to kept pairs once they are few; until then, sees to it that there are bounds."""
    sparse = cover.sparse()
    if sparse is not None:
        torch.minimum(bounds, sparse.all_gains(), out=bounds)
        return sparse
    if bool((bounds == torch.inf).any()):
        cover.bound(bounds)
    return cover


def _best(cover: DenseCover | SparseCover, bounds: Tensor, noise: float) -> tuple[int, float]:
    """Returns the candidate of the largest gain, and that gain; replaces bounds by known gains."""
    count = _FIRST_DENSE if isinstance(cover, DenseCover) else _FIRST_SPARSE
    unknown, candidates, gains = bounds.clone(), [], []
    best, least = -torch.inf, -sys.float_info.max
    while True:
        top, at = unknown.topk(min(count + 1, len(unknown)))
        at = at[:count][top[:count] >= least]
        candidates.append(at)
        gains.append(cover.gains(at))
        best = max(best, float(gains[-1].max()))
        least = best - TIE * abs(best) - noise
        if len(top) <= count or float(top[count]) < least:  # nor can those behind it be the best
            break
        unknown[at] = -torch.inf
        count *= 2
    known, gain = torch.cat(candidates), torch.cat(gains)
    bounds[known] = gain
    row = int(known[gain >= least].min())
    return row, float(bounds[row])


def all_picks(
    rows: Tensor, gains: Tensor, size: int, given: Tensor, n: int
) -> tuple[Tensor, Tensor]:
    """Fills the picks up to the size with the lowest rows left, which gain nothing."""
    free = torch.ones(n, dtype=torch.bool, device=rows.device)
    free[given] = False
    free[rows] = False
    rest = free.nonzero().flatten()[: size - len(rows)]
    return torch.cat([rows, rest]), torch.cat([gains, gains.new_zeros(len(rest))])


def checked_weights(
    weights: Tensor | npt.NDArray[Any] | None, points: Tensor
) -> tuple[int, Tensor | None]:
    """Returns e and weights / 2 ** e [n], about 1 at most, in float64."""
    if weights is None:
        return 0, None
    values = as_tensor(weights).to(points.device)
    if values.shape != (len(points),):
        raise ValueError(
            f"expected as many weights as points, [{len(points)}], got {tuple(values.shape)}"
        )
    refuse_rows(~((values >= 0) & (values < torch.inf)), "finite weights of 0 or more")
    exponent = largest_exponent(values)
    return exponent, times_two_to(values.double(), -exponent)
