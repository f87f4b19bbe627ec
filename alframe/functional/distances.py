"""Squared distances to many centers: exact in float64, most pairs ruled out without computing them.

A matrix product in float32 gives, for every pair, a lower bound of its squared distance that no
rounding can push above the distance itself. Only pairs that this bound does not rule out are
computed, from direct differences in float64, so that no result depends on the float32 part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.passes import chunks, on_host, row_sums, squared_distances, value_ranges

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Values in one temporary of directly computed pairs: 2 MB of float64 on a CPU.
_PAIRS = 2**18
_PAIRS_ELSEWHERE = 2**24
_SMALL = 2**14  # values of a block that a CPU compares row by row in its cache, without the filter
_DENSE = 4096  # values of pairs that pass the filter, for each row, above which it does so too
_WASTE = 8  # pairs computed in vain for each row, above which float32 is too coarse for the data
_TINY = 2.0**-110  # far above what underflow can lose in float32 at values around 1


class Filtered(NamedTuple):
    """Points as the filter sees them: values [m, d] around the mean, squared norms [m]."""

    values: Tensor
    norms: Tensor


class Distances:
    """Squared Euclidean distances between points and centers, which stay on their device.

    They are those of the values times ``scale``, a power of two (which rounds nothing) that keeps
    squares from over- and underflow; it is 1 for values of ordinary size. Whoever calls ``lower``
    or ``between`` keeps matrix products exact (see `similarity.exact_products`).

    Args:
        points: [n, d], any real dtype, n > 0.
        centers: [k, d], k > 0; the points themselves where none are given.

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
        self.scale = _safe_scale(max(-float(low.min()), float(high.max())) if len(low) else 0.0)
        self.total = torch.zeros_like(low)
        for _, chunk in chunks(points):
            self.total += chunk.double().mul(self.scale).sum(dim=0)
        spread = float((high * self.scale - low * self.scale).max()) if len(low) else 0.0
        floats = {torch.float32, torch.float16, torch.bfloat16}
        narrow = points.dtype in floats and self.centers.dtype in floats
        self._plain = narrow and self.scale == 1 and 1e-10 < spread < 1e10
        self._zoom = 1.0 if self._plain or not spread else 2.0 ** min(500, -math.frexp(spread)[1])
        self._tiny = _TINY * (1 + len(low)) * max(1.0, spread * self._zoom) ** 2
        self._filter_in(torch.float32 if len(low) < 2**16 else torch.float64)

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

    def filtered(self, rows: Rows, *, centers: bool = False) -> Filtered:
        """Returns points, or centers, at positions [m] as the filter sees them."""
        source = self.centers if centers else self.points
        values = source.index_select(0, self._place(rows))
        if self._plain and self._dtype == torch.float32:
            values = values - self._origin
        else:
            values = values.double().mul_(self.scale).sub_(self._origin).mul_(self._zoom)
            values = values.to(self._dtype)
        return Filtered(values, torch.linalg.vecdot(values, values).double())

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
    ) -> None:
        """Lowers squared distances to the nearest center by those to more centers.

        Args:
            nearest: [m], changed in place.
            rows: Positions [m] of the points.
            seen: The same points, filtered.
            centers: Positions [k] of the centers, ascending where owners are given.
            owners: Position [m] of the (lowest) nearest center, changed in place.
        """
        if seen.values.dtype != self._dtype:
            seen = self.filtered(rows)
        now = self._place(nearest.copy())
        pairs = self._near_pairs(now, seen, self.filtered(centers, centers=True), closest=True)
        vain = 0
        for i, j, found in self._compute(pairs, rows, centers):
            before = now.index_select(0, i)
            now.scatter_reduce_(0, i, found, "amin")
            after = now.index_select(0, i)
            vain += int((found > after).sum())
            if owners is not None:
                new = ((found == after) & (found < before)).nonzero()[:, 0].flip(0)
                owners[i[new].numpy(force=True)] = centers[j[new].numpy(force=True)]  # last stays
        nearest[:] = now.numpy(force=True)
        if vain > _WASTE * len(rows) and self._dtype == torch.float32:
            self._filter_in(torch.float64)

    def between(self, rows: Rows, nearest: Floats) -> Callable[[int], Floats]:
        """Returns squared distances among some points, as a function of i: those [m] to point i.

        Args:
            rows: Positions [m].
            nearest: [m]. Distances that are not below these may come out as infinite.
        """
        m, d = len(rows), self.points.shape[1]
        by_row = on_host(self.points)
        if by_row and m * d <= _SMALL:
            return self._row_by_row(rows)
        seen = self.filtered(rows)
        pairs = self._near_pairs(self._place(nearest), seen, seen, closest=False)
        if by_row and len(pairs) * d > _DENSE * m:
            return self._row_by_row(rows)
        table = torch.full((m, m), torch.inf, dtype=torch.float64, device=pairs.device)
        for i, j, found in self._compute(pairs, rows, rows):
            table[j, i] = found
        return table.numpy(force=True).__getitem__

    def _row_by_row(self, rows: Rows) -> Callable[[int], Floats]:
        """Computes distances among points when they are asked for, into one place."""
        values = self.exact(rows)
        points = values.unbind()
        squares = torch.empty_like(values)
        sums = values.new_zeros(len(rows))
        result: Floats = sums.numpy()

        def distances(i: int) -> Floats:
            if len(points) > 1:
                torch.sub(values, points[i], out=squares)
                row_sums(squares.square_(), out=sums)
            return result

        return distances

    def _filter_in(self, dtype: torch.dtype) -> None:
        """Sets the filter's precision, and the error bound that goes with it.

        With u the unit roundoff, and x and c the filtered point and center, all roundings together
        (of the points, the norms, the product of length d, and the exact distance itself) move a
        squared distance by at most error * (|x|^2 + |c|^2). It rests on the bound of any dot
        product's error, in any order, d * u / (1 - d * u) times that of the absolute values: N. J.
        Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, 2002, section 3.1.
        """
        d = self.points.shape[1]
        unit, unit64 = (torch.finfo(t).eps / 2 for t in (dtype, torch.float64))
        self._dtype = dtype
        self._error = 1.01 * ((3 * d + 32) * unit + (2 * d + 32) * unit64)
        origin = self.total / len(self.points)
        self._origin = origin.float() if self._plain and dtype == torch.float32 else origin

    def _near_pairs(self, nearest: Tensor, x: Filtered, c: Filtered, *, closest: bool) -> Tensor:
        """Returns pairs, as i * k + j, among them all whose distance is below nearest.

        Args:
            nearest: [m], squared distances.
            x: Points [m], filtered.
            c: Centers [k], filtered.
            closest: Leave out pairs that another center is certain to undercut.
        """
        keep = 1 - self._error
        # lower bounds of squared distances, without the points' norms
        bound = torch.addmm(c.norms.mul(keep).to(self._dtype), x.values, c.values.T, alpha=-2)
        lowest = bound.amin(dim=1)
        limit = nearest.mul((1 + self._error) * self._zoom**2).sub_(x.norms, alpha=keep)
        if closest:
            above = (x.norms + c.norms.amax()).mul_(5 * self._error).add_(lowest)
            limit = torch.minimum(limit, above)
        limit = limit.add_(self._tiny).to(self._dtype)
        limit = torch.nextafter(limit, limit.new_tensor(torch.inf))
        some = (lowest <= limit).nonzero()[:, 0]
        if 4 * len(some) > len(limit):
            return _at_most(bound, limit)
        pairs = _at_most(bound.index_select(0, some), limit.index_select(0, some))
        i = pairs // len(c.norms)
        return pairs + (some.index_select(0, i) - i) * len(c.norms)

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
            a = self._exact(self.points, left.index_select(0, i))
            b = self._exact(self.centers, right.index_select(0, j))
            yield i, j, squared_distances(a, b)

    def _exact(self, source: Tensor, places: Tensor) -> Tensor:
        values = source.index_select(0, places).double()
        return values if self.scale == 1 else values.mul_(self.scale)

    def _place(self, values: Rows | Floats) -> Tensor:
        return torch.from_numpy(values).to(self.points.device)


def _at_most(values: Tensor, limits: Tensor) -> Tensor:
    """Returns where, in row-major order, values [m, k] are at most the limit of their row [m]."""
    if on_host(values):  # several times faster than torch there
        found: Rows = np.flatnonzero(values.numpy() <= limits.numpy()[:, None])
        return torch.from_numpy(found)
    return (values <= limits[:, None]).flatten().nonzero()[:, 0]


def _safe_scale(largest: float) -> float:
    """Returns a power of two (which rounds nothing) that keeps squares from over- or underflow."""
    if largest == 0 or 1e-90 < largest < 1e90:
        return 1.0
    return 2.0 ** min(900, -math.frexp(largest)[1])  # 2 ** 1023 times n would be infinite
