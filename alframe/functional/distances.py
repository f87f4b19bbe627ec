"""Squared distances to many centers: exact in float64, most pairs ruled out without computing them.

A matrix product in float32 gives, for every pair, a lower bound of its squared distance that no
rounding can push above the distance itself. Only pairs that this bound does not rule out are
computed, from direct differences in float64, so that no result depends on the filter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.distance_filter import Filter, Filtered
from alframe.functional.passes import chunks, on_host, row_sums, squared_distances, value_ranges

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Values in one temporary of directly computed pairs: 2 MB of float64 on a CPU.
_PAIRS = 2**18
_PAIRS_ELSEWHERE = 2**24
_DENSE = 4096  # values of near pairs, for each row, above which a CPU computes rows when asked
_LEARN = 50  # pairs to look at, in squared dimensions, before the filter learns: about its cost
_WASTE = 8  # pairs computed in vain for each row, above which the filter is too coarse for the data


class Distances:
    """Squared Euclidean distances between points and centers, which stay on their device.

    They are those of the values times ``scale``, a power of two (which rounds nothing) that keeps
    squares from over- and underflow; it is 1 for values of ordinary size. Whoever calls ``lower``
    or ``between`` keeps matrix products exact (see `similarity.exact_products`).

    Args:
        points: [n, d], any real dtype, n > 0.
        centers: [k, d], k > 0; the points themselves where None.

    Raises:
        ValueError: For rows with NaN or infinite values.
    """

    def __init__(self, points: Tensor, centers: Tensor | None = None) -> None:
        self.points = points
        self.centers = points if centers is None else centers
        low, high = value_ranges(points, "embeddings" if centers is None else "points")
        if centers is not None:
            ends = value_ranges(centers, "centers")
            low, high = torch.minimum(low, ends[0]), torch.maximum(high, ends[1])
        largest = max(-float(low.min()), float(high.max())) if len(low) else 0.0
        self.scale = scale = _safe_scale(largest)
        self.total = torch.zeros_like(low)
        for _, chunk in chunks(points):
            self.total += chunk.double().mul(scale).sum(dim=0)
        spread = float((high * scale - low * scale).max()) if len(low) else 0.0
        dtypes = {points.dtype, self.centers.dtype}
        self.filter = Filter(self.total / len(points), scale, spread, dtypes)
        self._pairs = 0  # that the filter has looked at

    def to_one(self, target: Tensor, scale: float) -> Tensor:
        """Returns squared distances [n] of all points, times a scale, to a target [d]."""
        found = torch.empty(len(self.points), dtype=torch.float64, device=self.points.device)
        for start, chunk in chunks(self.points):
            values = chunk.double() if scale == 1 else chunk.double() * scale
            found[start : start + len(chunk)] = squared_distances(values, target)
        return found

    def exact(self, rows: Rows) -> Tensor:
        """Returns points [m, d] in float64, scaled."""
        return self._exact(self.points, self._place(rows))

    def filtered(self, rows: Rows) -> Filtered:
        """Returns points at positions [m] as the filter sees them."""
        return self.filter.see(self.points.index_select(0, self._place(rows)))

    def equal(self, a: Rows, b: Rows) -> npt.NDArray[np.bool_]:
        """Returns whether points at positions a [m] equal those at b [m]."""
        left, right = (self.points.index_select(0, self._place(rows)) for rows in (a, b))
        same: npt.NDArray[np.bool_] = (left == right).all(dim=1).numpy(force=True)
        return same

    def lower(
        self,
        nearest: Floats,
        rows: Rows,
        seen: Filtered,
        centers: Rows,
        owners: Rows | None = None,
    ) -> bool:
        """Lowers squared distances to the nearest center by those to more centers.

        Args:
            nearest: [m], changed in place.
            rows: Positions [m] of the points.
            seen: The same points, filtered.
            centers: Positions [k] of the centers, ascending where owners are given.
            owners: Position [m] of the (lowest) nearest center, changed in place.

        Returns:
            Whether too many distances were computed in vain.
        """
        now = self._place(nearest.copy())
        others = self.filter.see(self.centers.index_select(0, self._place(centers)))
        pairs = self.filter.near_pairs(now, seen, others, closest=True)
        many, vain = len(pairs) > _WASTE * len(rows), 0
        for i, j, found in self._compute(pairs, rows, centers):
            before = now if owners is None else now.clone()
            now.scatter_reduce_(0, i, found, "amin")
            if owners is not None:
                own = (found == now[i]) & (found < before[i])
                _set_first(owners, i[own].numpy(force=True), centers[j[own].numpy(force=True)])
            if many:
                vain += int((found > now[i]).sum())
        nearest[:] = now.numpy(force=True)
        return vain > _WASTE * len(rows)

    def adapt(self, pairs: int, *, coarse: bool) -> None:
        """Adapts the filter to the points; no thread may use it meanwhile.

        Args:
            pairs: How many the filter has looked at since the last call.
            coarse: Whether it let too many of them pass.
        """
        if coarse:
            self.filter.refine()
        d = self.points.shape[1]
        if self._pairs <= _LEARN * d * d < self._pairs + pairs:
            self.filter.learn(self.points[:: max(1, len(self.points) // (2 * d))])
        self._pairs += pairs

    def between(self, rows: Rows, nearest: Floats) -> Callable[[int], Floats]:
        """Returns squared distances among some points, as a function of i: those [m] to point i.

        Args:
            rows: Positions [m].
            nearest: [m]. Distances that are not below these may come out as infinite.
        """
        m, d = len(rows), self.points.shape[1]
        seen = self.filtered(rows)
        pairs = self.filter.near_pairs(self._place(nearest), seen, seen, closest=False)
        if on_host(pairs) and len(pairs) * d > _DENSE * m:
            return self._row_by_row(rows)
        table = torch.full((m, m), torch.inf, dtype=torch.float64, device=pairs.device)
        for i, j, found in self._compute(pairs, rows, rows):
            table[j, i] = found
        return table.numpy(force=True).__getitem__

    def _row_by_row(self, rows: Rows) -> Callable[[int], Floats]:
        """Computes distances among points when they are asked for, into one place."""
        values = self.exact(rows)
        squares = torch.empty_like(values)
        sums = values.new_zeros(len(rows))
        result: Floats = sums.numpy()

        def distances(i: int) -> Floats:
            if len(rows) > 1:
                torch.sub(values, values[i], out=squares)
                row_sums(squares.square_(), out=sums)
            return result

        return distances

    def _compute(
        self, pairs: Tensor, rows: Rows, centers: Rows
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yields i, j and exact squared distances of the pairs i * len(centers) + j, in parts."""
        left, right = self._place(rows), self._place(centers)
        values = _PAIRS if on_host(pairs) else _PAIRS_ELSEWHERE
        step = max(1, values // max(1, self.points.shape[1]))
        for start in range(0, len(pairs), step):
            part = pairs[start : start + step]
            i = part // len(centers)
            j = part - i * len(centers)
            apart = self._exact(self.points, left.index_select(0, i))
            apart -= self._exact(self.centers, right.index_select(0, j))
            yield i, j, row_sums(apart.square_())

    def _exact(self, source: Tensor, places: Tensor) -> Tensor:
        values = source.index_select(0, places).double()
        return values if self.scale == 1 else values.mul_(self.scale)

    def _place(self, values: Rows | Floats) -> Tensor:
        return torch.from_numpy(values).to(self.points.device)


def _set_first(values: Rows, places: Rows, new: Rows) -> None:
    """Sets values at places; of a place that comes more than once, to the first."""
    values[places[::-1]] = new[::-1]


def _safe_scale(largest: float) -> float:
    """Returns a power of two (which rounds nothing) that keeps squares from over- or underflow."""
    if largest == 0 or 1e-90 < largest < 1e90:
        return 1.0
    return 2.0 ** min(900, -math.frexp(largest)[1])  # 2 ** 1023 times n would be infinite
