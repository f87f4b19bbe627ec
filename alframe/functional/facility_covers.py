"""How well the picks of facility location cover the points, with similarities as they are needed.

A point's cover only rises, so a candidate that is not above it now never will be: once those that
can still matter are few, ``DenseCover`` hands over to ``SparseCover``, which keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from alframe.functional.similarity import PointSet
from alframe.functional.sparse_cover import SparseCover, noise_of

# Of one block of levels: 4 MB, a tenth faster than 8 (AMD EPYC). Smaller ones start threads more
# often.
_ROWS, _LEVELS_CPU, _LEVELS_GPU = 1024, 2**20, 2**26
# Sums of up to 1024 float32 levels are off by less (torch adds in a tree), relative.
_SUMS = 2.0**-17
_SAMPLE = 64  # points of which the candidates that may still matter are counted
_PAIRS, _PAIRS_PER_POINT = 2**20, 96  # how many pairs are few: they take 12 bytes each


class DenseCover:
    """Covers where any candidate may raise any point.

    Beside exact gains it keeps, for the greedy algorithm, an upper bound of each candidate's gain:
    after each pick, all bounds are lowered by what was lost in the points whose cover rose.

    Args:
        points: Candidates, and points to be covered.
        cover: Largest similarity of each point to a pick [n], float64; changed in place.
        weights: Of each point in the sum [n], float64, or None for ones.
    """

    def __init__(self, points: PointSet, cover: Tensor, weights: Tensor | None) -> None:
        self._points, self.cover, self.weights = points, cover, weights
        self._caution, self._changes = 1, 0
        # What no similarity is above. A cover that is there, but for rounding, is complete.
        self._top = torch.zeros_like(cover)
        if not points.is_distance:
            self._top[points.lengths > 0] = 1 - 2.0**-50

    def gains(self, candidates: Tensor) -> Tensor:
        """Returns how much each candidate [b] would raise the weighted sum of covers, float64."""
        theirs = self._points.values(candidates)
        total = torch.zeros(len(candidates), dtype=torch.float64, device=self.cover.device)
        for rows in torch.split(self._open(), self._points.chunk_rows(len(candidates))):
            raised = self._points.block(self._points.values(rows), theirs)
            raised.sub_(self.cover[rows, None]).clamp_(min=0)
            total += raised.sum(0) if self.weights is None else self.weights[rows] @ raised
        return total

    def add(self, row: int, bounds: Tensor) -> None:
        """Makes one candidate a pick, and lowers the bounds [n] of all gains."""
        before = self.cover.clone()
        pick = self._points.values(slice(row, row + 1))
        for rows in self._points.slices():
            values = self._points.block(self._points.values(rows), pick)[:, 0]
            torch.maximum(self.cover[rows], values, out=self.cover[rows])
        changed = (self.cover > before).nonzero().flatten()
        self._changes += len(changed)
        if 2 * len(changed) > len(self._open()):
            self.bound(bounds)
        else:
            lost = self._sums(changed, before[changed], self.cover[changed], -1)
            bounds.sub_(lost.mul_(1 - _SUMS))

    def bound(self, bounds: Tensor) -> None:
        """Lowers the bounds [n] to at most what all points can still gain."""
        rows = self._open()
        if self._points.metric == "sqeuclidean" and self._is_empty():
            gains = self._first_gains()
        elif 4 * len(rows) > 3 * self._points.n:  # the others only add what is lost in rounding
            gains = self._symmetric_sums().mul_(1 + _SUMS)
        else:
            top = torch.full_like(self.cover, 0 if self._points.is_distance else torch.inf)
            gains = self._sums(rows, self.cover[rows], top[rows], 1).mul_(1 + _SUMS)
        torch.minimum(bounds, gains, out=bounds)

    def noise(self) -> float:
        """Returns by how much rounding may change a gain."""
        return noise_of(self.cover, self.weights)

    def sparse(self) -> SparseCover | None:
        """Returns the same with the pairs kept that still matter, or None where they are many."""
        if self._changes < 0:
            return None
        self._changes = -8 * _SAMPLE  # looking costs an eighth of lowering bounds
        rows, limit = self._open(), max(_PAIRS, _PAIRS_PER_POINT * self._points.n)
        sample = rows[:: max(1, len(rows) // _SAMPLE)]
        above = self._levels(sample, 1, self._limits(sample))
        seen = sum(int((levels > 0).sum()) for _, _, levels in above)
        if seen * len(rows) * self._caution > limit * max(1, len(sample)):
            return None
        found = self._sparse(rows, 2 * limit)
        if found is None:  # the sample was far off: the next try waits until it is twice as clear
            self._caution *= 2
        return found

    def _sparse(self, rows: Tensor, limit: int) -> SparseCover | None:
        device = self.cover.device
        kept = torch.empty(limit, dtype=torch.int32, device=device)  # a CPU gives pages when used
        values = torch.empty(limit, dtype=torch.float64, device=device)
        counts, count = torch.zeros(self._points.n + 1, dtype=torch.int64, device=device), 0
        for candidates, near in self._near(rows):
            found = [self._values(candidates.start, rows, *pairs) for pairs in near]
            mine, theirs, new = (torch.cat(part) for part in zip(*found, strict=True))
            end = count + len(mine)
            if end > limit:
                return None
            order = mine.argsort(stable=True)  # within a candidate, rows ascend already
            kept[count:end], values[count:end] = theirs[order].int(), new[order]
            per_candidate = torch.bincount(mine, minlength=candidates.stop - candidates.start)
            counts[candidates.start + 1 : candidates.stop + 1] = per_candidate
            count = end
        starts = counts.cumsum(0)
        return SparseCover(starts, kept[:count], values[:count], self.cover, self.weights)

    def _values(
        self, start: int, rows: Tensor, mine: Tensor, theirs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keeps the pairs whose values are above the covers: candidates, points, values."""
        at = rows[theirs]
        values = self._points.between(mine + start, self._points, at)
        above = values > self.cover[at]
        return mine[above], at[above], values[above]

    def _near(self, rows: Tensor) -> Iterator[tuple[slice, list[tuple[Tensor, Tensor]]]]:
        """Yields slices of candidates, and pairs of (candidate in it, position in ``rows``).

        All pairs whose similarity is above the point's cover are among them.
        """
        near: list[tuple[Tensor, Tensor]] = []
        last = len(rows)
        for candidates, part, levels in self._levels(rows, 1, self._limits(rows)):
            mine, theirs = (levels > 0).nonzero(as_tuple=True)
            near.append((mine, theirs + part.start))
            if part.stop == last:
                yield candidates, near
                near = []

    def _sums(self, rows: Tensor, low: Tensor, high: Tensor, side: int) -> Tensor:
        """Returns, for each candidate [n], the sum over rows of what lies between low and high.

        That is 0 for rows to which its similarity is below ``low``, high - low where it is above
        ``high``. The sum is at most the true one where the side is -1, at least that where it is 1.
        """
        distances = self._points.metric == "euclidean"  # of which the levels are squared
        limits = (-low.square(), -high.square()) if distances else (low * 0, high - low)
        floor, ceiling = _rounded(limits[0], -side), _rounded(limits[1], side)
        farthest = floor.neg().sqrt()
        total = torch.zeros_like(self.cover)
        for candidates, part, levels in self._levels(rows, side, None if distances else low):
            levels.clamp_(floor[part], ceiling[part])
            if distances:
                torch.sub(farthest[part], levels.neg_().sqrt_(), out=levels)
            if self.weights is not None:
                levels.mul_(self.weights[rows[part]].float())
            total[candidates] += levels.sum(dim=1)
        return total

    def _is_empty(self) -> bool:
        """Tells whether every squared distance is better than the covers."""
        return bool((self.cover <= -((2 * self._points.lengths.max()) ** 2)).all())

    def _first_gains(self) -> Tensor:
        """Returns upper bounds of gains where no cover is better than a squared distance.

        Then the gain is w (|y|^2 - cover) in all - 2 y wx - w|x|^2 in sums over the points x with
        weights w, without a pass over the pairs.
        """
        points, weights = self._points, self.weights
        weights = torch.ones_like(self.cover) if weights is None else weights
        mean = torch.zeros_like(points.center)
        for rows in points.slices():
            mean += weights[rows] @ (points.values(rows) - points.center)
        squares = points.lengths.square()
        along = torch.empty_like(self.cover)
        for rows in points.slices():
            along[rows] = (points.values(rows) - points.center) @ mean
        total = weights.sum()
        gains = 2 * along - total * squares - weights @ squares - weights @ self.cover
        return gains + 1e-12 * (total * squares.max() - weights @ self.cover)

    def _symmetric_sums(self) -> Tensor:
        """Returns what `_sums` does for all points, up to any height, by half the products."""
        points, total = self._points, torch.zeros_like(self.cover)
        cover = _rounded(self.cover, -1)
        weights = None if self.weights is None else self.weights.float()
        right = points.right(slice(None), 1)
        step = max(1, math.isqrt(_LEVELS_CPU if cover.device.type == "cpu" else _LEVELS_GPU))
        blocks = [slice(start, min(start + step, points.n)) for start in range(0, points.n, step)]
        for at, mine in enumerate(blocks):
            for others in blocks[at:]:
                levels = points.single[mine] @ right[others].T
                if points.metric == "euclidean":
                    levels.clamp_(max=0).neg_().sqrt_().neg_()
                elif points.is_distance:
                    levels.clamp_(max=0)
                raised = torch.sub(levels, cover[others]).clamp_(min=0)
                total[mine] += raised.sum(1) if weights is None else raised @ weights[others]
                if others != mine:
                    raised = torch.sub(levels, cover[mine, None], out=raised).clamp_(min=0)
                    total[others] += raised.sum(0) if weights is None else weights[mine] @ raised
        return total

    def _levels(
        self, rows: Tensor, side: int, above: Tensor | None
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yields slices of candidates and of rows, with levels between them that may be changed."""
        n, count = self._points.n, len(rows)
        if not count:
            return
        right = self._points.right(rows, side, above)
        chunk = _LEVELS_CPU if self.cover.device.type == "cpu" else _LEVELS_GPU
        width = min(_ROWS, count)
        step = min(max(1, chunk // width), n)
        buffer = torch.empty(step * width, device=self.cover.device)
        for start in range(0, n, step):
            candidates = slice(start, min(start + step, n))
            left = self._points.single[candidates]
            for first in range(0, count, width):
                part = slice(first, min(first + width, count))
                shape = (candidates.stop - start, part.stop - first)
                out = buffer[: shape[0] * shape[1]].view(shape)
                yield candidates, part, torch.mm(left, right[part].T, out=out)

    def _limits(self, rows: Tensor) -> Tensor:
        """Returns the levels above which a similarity is above the cover."""
        cover = self.cover[rows]
        return -cover.square() if self._points.metric == "euclidean" else cover

    def _open(self) -> Tensor:
        """Returns the points that are not yet covered as well as they can be."""
        return (self.cover < self._top).nonzero().flatten()


def _rounded(values: Tensor, direction: int) -> Tensor:
    """Returns float32 values that are not below (direction 1) or not above (-1) the given ones.

    Zeros stay zeros: the smallest float32 would make the processor slow, and roots of it NaN.
    """
    single = values.float()
    moved = torch.nextafter(single, torch.full_like(single, direction * torch.inf))
    return torch.where(single == 0, single, moved)
