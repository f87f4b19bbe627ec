"""Graph cut: pick points that are similar to all points, and not to each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, like
from alframe.functional.similarity import (
    PointSet,
    check_metric,
    checked_rows,
    checked_size,
    finite_points,
    times_two_to,
)

METRICS = ("cosine", "dot", "euclidean", "sqeuclidean")
_BLOCK = 256  # candidates among which picks are made before all gains are brought up to date
_TIE = 1e-12  # gains that differ by less, relative to the largest at the start, are equal


def graph_cut_greedy(
    embeddings: ArrayT,
    size: int,
    *,
    trade_off: float = 0.5,
    metric: str = "cosine",
    given: Sequence[int] | Tensor | npt.NDArray[Any] | None = None,
) -> tuple[ArrayT, ArrayT]:
    """Picks again and again the point that raises the graph cut function the most.

    f(S) = sum_{i in all, j in S} s(i, j) - trade_off * sum_{i in S, j in S} s(i, j), as submodlib's
    ``GraphCut``, where S is the set of picks and the given rows, and both sums hold the pairs of a
    point with itself. With ``metric``

    - cosine, dot: s is the cosine (0 for zero vectors, also with themselves), or inner product.
    - euclidean, sqeuclidean: M - distance and M^2 - squared distance, where M is twice the largest
      distance of a point to the mean of all. M changes gains, but no pick.

    Where no s is negative, f never falls for a ``trade_off`` up to 1/2. Above, or with cosines,
    gains may become negative; the asked number is picked all the same.

    Computed in float64. Gains that differ by less than 1e-12 of the largest absolute gain of a
    first pick are ties, and go to the lowest row. Row sums of all metrics but euclidean are inner
    products with one sum, so that no pair is computed: O(n d). The best candidates are put aside,
    and picks are made among them for as long as no other can be better; then all gains are brought
    up to date at once, O(n d). euclidean takes O(n^2 d) at the start and O(n d) for each pick.
    Extra memory is O(n).

    Args:
        embeddings: Points [n, d], any real dtype. Numpy in means numpy out; torch in means torch on
            the same device.
        size: How many points to pick, in 0 .. n - distinct given rows.
        trade_off: How much similarity within S costs, 0 or more (submodlib's ``lambdaVal``).
        metric: cosine, dot, euclidean or sqeuclidean.
        given: Rows in 0 .. n - 1 that are in S from the start; they are never picked.

    Returns:
        The picked rows [size] (int64, distinct, in pick order) and by how much each changed f
        [size] (float64).

    Raises:
        ValueError: For another shape or metric, NaN or infinite values, a size or trade-off out of
            range, or given rows that are not rows.

    **Source:** V. Kaushal, G. Ramakrishnan & R. Iyer, *Submodlib: A Submodular Optimization
    Library*, 2022, arXiv:2202.10680. **Deviations:** distances become similarities by a difference,
    where submodlib takes exp(-distance / d).
    """
    check_metric(metric, METRICS)
    if not (trade_off >= 0 and math.isfinite(trade_off)):
        raise ValueError(f"expected a trade_off of 0 or more, got {trade_off}")
    points = finite_points(embeddings)
    known = checked_rows(given, "given", points)
    checked_size(size, len(points), len(known))
    rows, gains = _Cut(PointSet(points, metric), trade_off).greedy(size, known)
    return like(rows, embeddings), like(gains, embeddings)


class _Cut:
    """The function to be maximized, with distances instead of M - distance.

    M is the same in every pair: it is left out of all comparisons, where it would only round.
    """

    def __init__(self, space: PointSet, trade_off: float) -> None:
        self._space, self._trade_off = space, trade_off
        self._power = 2 if space.metric in ("dot", "sqeuclidean") else 1
        reach = float(space.lengths.max()) if space.n else 0.0
        # no s(i, j) is below -lowest; for distances, that is M
        self._lowest = {"cosine": 1.0, "dot": reach**2}.get(
            space.metric, (2 * reach) ** self._power
        )

    def greedy(self, size: int, given: Tensor) -> tuple[Tensor, Tensor]:
        """Returns picks [size] and their gains [size], in the units of the embeddings."""
        everyone = torch.arange(self._space.n, device=self._space.device)
        gains = self._sums(everyone) - self._trade_off * self._own()
        tie = _TIE * float(gains.abs().max()) if size else 0.0
        if len(given):
            gains -= 2 * self._trade_off * self._sums(given)
        gains[given] = -torch.inf
        rows: list[int] = []
        found: list[float] = []
        while len(rows) < size:
            new, values = self._round(gains, size - len(rows), tie)
            rows += new
            found += values
            picks = torch.tensor(new, device=gains.device)
            gains[picks] = -torch.inf
            if len(rows) < size:
                gains -= 2 * self._trade_off * self._sums(picks)
        whole = torch.tensor(rows, dtype=torch.int64, device=gains.device)
        changes = torch.tensor(found, dtype=torch.float64, device=gains.device)
        if self._space.is_distance:
            before = torch.arange(len(given), len(given) + size, device=gains.device).double()
            changes += self._lowest * (self._space.n - self._trade_off * (2 * before + 1))
        return whole, times_two_to(changes, self._power * self._space.exponent)

    def _round(self, gains: Tensor, size: int, tie: float) -> tuple[list[int], list[float]]:
        """Picks up to ``size`` rows: the best of all, then others while surely the best."""
        top, block = gains.topk(min(_BLOCK + 1, len(gains)))
        outside = float(top[_BLOCK]) if len(top) > _BLOCK else -torch.inf
        block = block[:_BLOCK].sort().values
        inside, values = gains[block], self._space.values(block)
        row = int((gains >= top[0] - tie).nonzero()[0])
        rows, found = [row], [float(gains[row])]
        while len(rows) < size:
            pick = self._space.values(torch.tensor([row], device=gains.device))
            inside -= 2 * self._trade_off * self._space.block(values, pick)[:, 0]
            inside[block == row] = -torch.inf
            best = float(inside.max())
            rise = 2 * self._trade_off * self._lowest * len(rows)  # of any outside at most
            if best == -torch.inf or best - tie <= outside + rise:
                break
            at = int((inside >= best - tie).nonzero()[0])
            row = int(block[at])
            rows.append(row)
            found.append(float(inside[at]))
        return rows, found

    def _sums(self, rows: Tensor) -> Tensor:
        """Returns the sum of similarities [n] of each point to the given ones."""
        space, sums = self._space, torch.zeros_like(self._space.lengths)
        if space.metric == "euclidean":
            parts = torch.split(rows, space.chunk_rows())
            for part in space.slices(beside=min(len(rows), space.chunk_rows())):
                mine = space.values(part)
                for others in parts:
                    sums[part] += space.block(mine, space.values(others)).sum(dim=1)
            return sums
        total, squares = torch.zeros_like(space.center), space.lengths[rows].square().sum()
        for picks in torch.split(rows, space.chunk_rows()):
            total += (space.values(picks) - space.center).sum(dim=0)
        for part in space.slices():
            sums[part] = (space.values(part) - space.center) @ total
        if space.is_distance:  # - |x - y|^2 = 2 x . y - |x|^2 - |y|^2
            sums = 2 * sums - len(rows) * space.lengths.square() - squares
        return sums

    def _own(self) -> Tensor:
        """Returns the similarity [n] of each point to itself."""
        lengths = self._space.lengths
        return torch.zeros_like(lengths) if self._space.is_distance else lengths.square()
