"""Max coverage by balls: pick points so that as many points as possible lie near a picked one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like
from alframe.functional.similarity import (
    PointSet,
    checked_rows,
    exact_products,
    finite_points,
    times_two_to,
)
from alframe.functional.topk import pairwise_topk

_BLOCK = 32  # points whose balls are known at a time: as many booleans for each point
# Pairs in one temporary of float32, which stays in a CPU's cache; a GPU wants more in each call.
_PAIRS_CPU, _PAIRS_GPU = 2**17, 2**21


def max_coverage_greedy(
    embeddings: ArrayT,
    size: int,
    radius: float,
    centers: Sequence[int] | Tensor | npt.NDArray[Any] | None = None,
) -> tuple[ArrayT, ArrayT]:
    """Picks again and again the point whose ball holds the most points that no ball covers yet.

    A ball holds the points at a Euclidean distance of at most ``radius``, its center included.
    Distances are those of direct differences in float64. Ties go to the lowest position. Once all
    points are covered, the other points follow by how many points their balls hold in all.

    Args:
        embeddings: Points [n, d], any real dtype. Numpy in means numpy out; torch in means torch on
            the same device.
        size: How many points to pick, in 0 .. n - distinct centers.
        radius: Of the balls, 0 or more, in the units of the embeddings; may be infinite.
        centers: Positions in 0 .. n - 1 whose balls cover from the start; they are never picked.

    Returns:
        The picked positions [size] (int64, distinct, in pick order), and how many points each of
        them covered newly [size] (int64, never rising).

    Raises:
        ValueError: For another shape, NaN or infinite values, a size or a radius out of range, or
            centers that are not positions.

    **Source:** O. Yehuda, A. Dekel, G. Hacohen & D. Weinshall, *Active Learning Through a Covering
    Lens*, 2022, algorithm 1, arXiv:2205.11320; G. L. Nemhauser, L. A. Wolsey & M. L. Fisher, *An
    analysis of approximations for maximizing submodular set functions - I*, 1978.
    **Deviations:** the graph of the balls, which may have n * n edges, is never kept. A ball's
    uncovered points are counted once, and counted down when one of them is covered, which happens
    once to each: at most two passes over all pairs of points, O(n^2 d), however many are picked,
    and one pass over 32 * n pairs for each pick at most. Pairs are compared in float32, and in
    float64 where float32 cannot tell. Extra memory is O(n d): two float32 copies of the points, and
    32 booleans for each.
    """
    points = finite_points(as_tensor(embeddings))
    known = checked_rows(centers, "centers", points)
    free = len(points) - len(known)
    if not 0 <= size <= free:
        raise ValueError(
            f"expected a size from 0 to {free} ({len(points)} points, {len(known)} of them "
            f"centers), got {size}"
        )
    if not radius >= 0:
        raise ValueError(f"expected a radius of 0 or more, got {radius}")
    with exact_products(points.device):
        rows, gains = _greedy(_Balls(points, radius), size, known)
    return like(rows, embeddings), like(gains, embeddings)


def purity_radius(embeddings: ArrayT, labels: ArrayT, purity: float = 0.95) -> float:
    """Returns the largest radius at which enough balls hold points of one label only.

    Args:
        embeddings: Points [n, d], any real dtype.
        labels: A label or pseudo-label of each point [n], integers.
        purity: The share of balls, in (0, 1], that must be pure: whose points all have the label of
            the ball's center.

    Returns:
        The radius, in the units of the embeddings: just below the distance (by 1e-9 of it) at which
        one pure ball too many would reach a point of another label; infinite where the balls are
        pure at any radius.

    Raises:
        ValueError: For another shape, NaN or infinite values, or a purity out of range.

    **Source:** Yehuda et al. 2022, the purity of a radius, arXiv:2205.11320. **Deviations:** exact,
    where implementations try a grid of radii: a ball is pure up to its center's distance to the
    nearest point of another label, so the radius is a quantile of these distances. Time O(n^2 d),
    memory O(n d).
    """
    points = finite_points(as_tensor(embeddings))
    groups = as_tensor(labels).to(points.device)
    if groups.shape != (len(points),) or groups.is_floating_point():
        raise ValueError(
            f"expected {len(points)} whole labels, got {groups.dtype} of {tuple(groups.shape)}"
        )
    if not 0 < purity <= 1:
        raise ValueError(f"expected a purity above 0, at most 1, got {purity}")
    reach = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)
    for label in torch.unique(groups):
        mine = groups == label
        if not mine.all():
            reach[mine] = pairwise_topk(points[mine], points[~mine], 1)[0][:, 0]
    impure = len(points) - int(np.ceil(purity * len(points) - 1e-9))  # as many are allowed
    return float(reach.sort().values[impure]) * (1 - 1e-9) if len(points) else float("inf")


def _greedy(balls: _Balls, size: int, centers: Tensor) -> tuple[Tensor, Tensor]:
    everything = torch.arange(balls.points.n, device=balls.points.device)
    covered = balls.count(everything, centers) > 0
    free = torch.ones_like(covered)
    free[centers] = False
    counts = balls.count(everything, everything[~covered])
    picked, gains, left = [centers[:0]], [centers[:0]], size
    while left and not covered.all():
        rows, gain, new = _block(balls, counts.masked_fill(~free, -1), covered, left)
        picked, gains, left = [*picked, rows], [*gains, gain], left - len(rows)
        free[rows] = False
        covered[new] = True
        useful = everything[free & (counts > 0)] if left else new[:0]
        counts[useful] -= balls.count(useful, new)
    if left:
        rest = everything[free]
        densest = balls.count(rest, everything).argsort(descending=True, stable=True)[:left]
        picked, gains = [*picked, rest[densest]], [*gains, torch.zeros_like(densest)]
    return torch.cat(picked), torch.cat(gains)


def _block(
    balls: _Balls, counts: Tensor, covered: Tensor, left: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Goes on greedily among the points of the highest counts while none outside can be better.

    Args:
        balls: The balls.
        counts: Uncovered points in each ball [n], or -1 where a point must not be picked.
        covered: Marks [n], at least one of which is not set.
        left: The most points to pick.

    Returns:
        The points picked, at least one; how many each of them covered newly; these points.
    """
    n = len(counts)
    keys = counts * n + torch.arange(n - 1, -1, -1, device=counts.device)  # ties: the lowest
    keys, top = keys.topk(min(n, _BLOCK + 1))
    # Counts only fall, so that this one outside stays a bound for all of them.
    bound = keys[_BLOCK] if len(top) > _BLOCK else keys.new_tensor(-n)
    top, lowest_first = top[:_BLOCK], n - 1 - top[:_BLOCK]
    uncovered = (~covered).nonzero().flatten()
    inside = balls.inside(top, uncovered)
    near = inside.any(dim=0)
    inside, uncovered = inside[:, near], uncovered[near]
    picked: list[Tensor] = []
    gains: list[Tensor] = []
    new = torch.zeros_like(uncovered, dtype=torch.bool)
    while len(picked) < left:
        gain = inside.sum(dim=1)
        best = (gain * n + lowest_first).argmax()
        if picked and (gain[best] == 0 or gain[best] * n + lowest_first[best] < bound):
            break
        picked.append(best)
        gains.append(gain[best])
        new |= inside[best]
        inside &= ~inside[best]
    return top[torch.stack(picked)], torch.stack(gains), uncovered[new]


class _Balls:
    """Balls of one radius around all points: who lies in whose, to be used in `exact_products`."""

    def __init__(self, points: Tensor, radius: float) -> None:
        self.points = PointSet(points, "sqeuclidean")
        self._right = self.points.right(slice(None), side=1)
        exponent = -self.points.exponent
        scaled = float(times_two_to(torch.tensor(float(radius), dtype=torch.float64), exponent))
        # Scaled values are at most 1, so that no squared distance is above the first of these.
        self._limit = min(4.0 * points.shape[1] + 1, min(scaled, 1e9) ** 2)

    def inside(self, left: Tensor, right: Tensor) -> Tensor:
        """Tells which of ``right`` lie in the balls around ``left``: [left, right]."""
        marks = torch.empty((len(left), len(right)), dtype=torch.bool, device=left.device)
        for mine, there, within in self._tiles(left, right):
            marks[mine, there] = within
        return marks

    def count(self, left: Tensor, right: Tensor) -> Tensor:
        """Returns how many of ``right`` lie in each ball around ``left``: int64 [left]."""
        counts = torch.zeros(len(left), dtype=torch.int64, device=left.device)
        for mine, _, within in self._tiles(left, right):
            counts[mine] += within.sum(dim=1)
        return counts

    def _tiles(self, left: Tensor, right: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yields (slice of left, slice of right, who lies within the radius), all pairs once."""
        pairs = _PAIRS_GPU if left.is_cuda else _PAIRS_CPU
        most = math.isqrt(8 * pairs)  # the larger the left part, the rarer the right is read
        for start in range(0, len(left), most):
            rows = left[start : start + most]
            mine = self.points.single.index_select(0, rows)
            step = max(1, pairs // max(len(rows), self._right.shape[1]))
            for first in range(0, len(right), step):
                others = right[first : first + step]
                levels = mine @ self._right.index_select(0, others).T
                there = slice(first, first + step)
                yield slice(start, start + most), there, self._within(levels, rows, others)

    def _within(self, levels: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Tells which pairs lie within the radius, whose levels are at or above minus squares."""
        a2, b2 = (self.points.lengths.index_select(0, rows).square() for rows in (left, right))
        doubt = float(self.points.slack(a2.max(), b2.max()))
        within = levels >= _float32(-self._limit, -math.inf)
        surely = levels > _float32(doubt - self._limit, math.inf)
        if not torch.equal(within, surely):
            i, j = (within & ~surely).nonzero(as_tuple=True)
            near = levels[i, j].double() <= self.points.slack(a2[i], b2[j]) - self._limit
            i, j = i[near], j[near]
            squares = -self.points.between(left[i], self.points, right[j])
            within[i, j] = squares <= self._limit
        return within


def _float32(level: float, towards: float) -> float:
    """Returns the level as float32 can hold it, and the next number in one direction."""
    return float(np.nextafter(np.float32(level), np.float32(towards)))
