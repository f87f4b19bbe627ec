"""The nearest, or most similar, points of each query: exact, in chunks, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, like
from alframe.functional.similarity import (
    PointSet,
    check_metric,
    exact_products,
    finite_points,
    largest_exponent,
    times_two_to,
)

# Levels in one block of queries against all points: 16 MB of float32.
_BLOCK_CPU, _BLOCK_GPU = 2**22, 2**28
_GROUP = 32  # rows of which only the best level is looked at first


def pairwise_topk(
    queries: ArrayT,
    points: ArrayT,
    k: int,
    *,
    metric: str = "euclidean",
    exclude_self: bool = False,
) -> tuple[ArrayT, ArrayT]:
    """The k nearest, or most similar, points of each query.

    Decided in float64: distances by direct differences, so that neither a large common offset nor
    huge or tiny values change a neighbor. Ties (equal float64 values) go to the lowest row.

    One float32 matrix product of all pairs, O(m n d), leaves the few points of each query that
    rounding cannot rule out, and float64 decides among them. Many points that are equal, or closer
    than float32 can tell, cost more time: each of them is computed in float64.

    Args:
        queries: [m, d], any real dtype. Numpy in means numpy out; torch in means torch on the same
            device.
        points: [n, d], on the same device.
        k: How many, in 0 .. n, or 0 .. n - 1 with ``exclude_self``.
        metric: euclidean (nearest first), cosine or dot (most similar first). The cosine of a zero
            vector is 0 to every point.
        exclude_self: Query i never finds point i: for queries that are the points.

    Returns:
        Values [m, k] (float64), best first: Euclidean distances in the units of the points, or
        similarities. And their rows in ``points`` [m, k] (int64). Extra memory: float32 copies of
        the points and queries, O(m k), and a chunk.

    Raises:
        ValueError: For other shapes, another metric, NaN or infinite values, a k out of range, or
            ``exclude_self`` with another number of queries than points.
    """
    check_metric(metric, ("euclidean", "cosine", "dot"))
    left, right = finite_points(queries, "queries"), finite_points(points, "points")
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"expected queries and points of one width, got {left.shape[1]} and {right.shape[1]}"
        )
    if exclude_self and len(left) != len(right):
        raise ValueError(
            f"expected as many queries as points with exclude_self, got {len(left)} queries and "
            f"{len(right)} points"
        )
    most = max(0, len(right) - exclude_self)
    if not 0 <= k <= most:
        raise ValueError(f"expected k from 0 to {most} ({len(right)} points), got {k}")
    theirs, mine = _sets(right, left, metric)
    with exact_products(left.device):
        values, rows = nearest(mine, theirs, k, exclude_self)
    units = mine.exponent if metric == "euclidean" else mine.exponent + theirs.exponent
    values = times_two_to(values.neg_() if metric == "euclidean" else values, units)
    return like(values, queries), like(rows, queries)


def nearest(
    queries: PointSet, points: PointSet, k: int, exclude_self: bool = False
) -> tuple[Tensor, Tensor]:
    """Returns the similarities [m, k] and rows [m, k] of the k most similar points, best first.

    To be used within ``exact_products``, on sets of one metric, center and (but for dot) exponent.
    """
    values = torch.empty(queries.n, k, dtype=torch.float64, device=queries.device)
    rows = torch.empty(queries.n, k, dtype=torch.int64, device=queries.device)
    if not values.numel():
        return values, rows
    group = _GROUP if points.n >= 2 * _GROUP * k else 1
    right = points.right(slice(None), side=1)
    padding = torch.zeros(-points.n % group, right.shape[1], device=right.device)
    padding[:, -1] = -torch.inf  # of a level, what is added last
    right = torch.cat([right, padding])
    step = max(1, (_BLOCK_CPU if queries.device.type == "cpu" else _BLOCK_GPU) // points.n)
    for start in range(0, queries.n, step):
        part = slice(start, min(start + step, queries.n))
        levels = queries.single[part] @ right.T
        if exclude_self:
            levels.diagonal(start).fill_(-torch.inf)
        found, mine, theirs = _candidates(
            queries, points, part, levels.view(len(levels), -1, group), k
        )
        # Rows ascend within each query: stable sorts leave equal values in their order.
        order = found.argsort(descending=True, stable=True)
        order = order[mine[order].argsort(stable=True)]
        counts = torch.bincount(mine, minlength=len(levels))
        first = (counts.cumsum(0) - counts)[:, None] + torch.arange(k, device=order.device)
        values[part], rows[part] = found[order[first]], theirs[order[first]]
    return values, rows


def _candidates(
    queries: PointSet, points: PointSet, part: slice, levels: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns similarity, query (less the part's start) and row of each pair that may matter.

    A pair does not where k others are surely better: their levels, less twice what rounding can
    have added, are above its own. Sorted by query, then row. Levels are given as [queries in the
    part, groups, rows in a group], and whole groups are left out first.
    """
    best, size = levels.amax(dim=2), levels.shape[2]
    top, groups = best.topk(k, dim=1)
    at = groups * size + levels.take_along_dim(groups[:, :, None], dim=1).argmax(dim=2)
    squares = queries.lengths[part, None].square()
    surely = top.double() - queries.slack(squares, points.lengths[at].square())
    cut = torch.nextafter(surely.amin(dim=1).float(), top.new_tensor(-torch.inf))
    mine, group = (best >= cut[:, None]).nonzero(as_tuple=True)
    kept = levels.flatten(0, 1).index_select(0, mine * best.shape[1] + group)
    hit, place = (kept >= cut[mine, None]).nonzero(as_tuple=True)
    mine, theirs = mine[hit], group[hit] * size + place
    return queries.between(mine + part.start, points, theirs), mine, theirs


def _sets(points: Tensor, queries: Tensor, metric: str) -> tuple[PointSet, PointSet]:
    """Returns both sets such that similarities between them are defined."""
    if metric != "euclidean":  # each of its own scale: a product has the scales of both
        return PointSet(points, metric), PointSet(queries, metric)
    exponent = largest_exponent(points, queries)
    theirs = PointSet(points, metric, exponent)
    return theirs, PointSet(queries, metric, exponent, theirs.center)
