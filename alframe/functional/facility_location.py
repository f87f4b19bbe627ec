"""Facility location: pick points so that every point is similar to some picked one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, like
from alframe.functional.facility_covers import DenseCover
from alframe.functional.lazy_greedy import all_picks, checked_weights, greedy
from alframe.functional.similarity import (
    PointSet,
    check_metric,
    checked_rows,
    checked_size,
    exact_products,
    finite_points,
    times_two_to,
)
from alframe.functional.topk import nearest

METRICS = ("cosine", "euclidean", "sqeuclidean")


def facility_location_greedy(
    embeddings: ArrayT,
    size: int,
    *,
    metric: str = "cosine",
    given: Sequence[int] | Tensor | npt.NDArray[Any] | None = None,
    weights: ArrayT | None = None,
) -> tuple[ArrayT, ArrayT]:
    """Picks again and again the point that raises f(S) = sum_i w_i max_{j in S} s(i, j) the most.

    S is the set of picks and the given rows; f is 0 for the empty set. The similarity s is never
    negative. With ``metric``

    - cosine: max(0, cosine); that of a zero vector is 0 to all points, also to itself. It equals
      submodlib's "cosine".
    - euclidean: M - distance, as in CRAIG, where M is twice the largest distance of a point to the
      mean of all distinct points. M is in the first gain only: it changes no pick.
    - sqeuclidean: M^2 - squared distance: greedy k-medoids. apricot's "euclidean" but for its
      smaller constant. On points of length 1 its picks are those of (1 + cosine) / 2. Gains are
      infinite where squares of the embeddings are.

    Exact: picks and gains are decided in float64 (distances by direct differences). Gains that
    differ by less than 1e-10 of the best, or by less than float64 can tell, are ties, and go to the
    lowest row; so the gains never rise by more than that. Points that gain nothing come last, in
    the order of their rows.

    Similarities are computed when they are needed. One pass over all pairs bounds all gains from
    above. After a pick, only points whose cover rose (about n / t after t picks) are compared
    with all candidates, to lower the bounds. Candidates whose bounds are not below the best gain
    are evaluated. Once no more than about 96 candidates per point can still raise its cover, those
    pairs are kept, and picks cost next to nothing. Time O(n^2 d), some passes over all pairs; extra
    memory: up to 3 KB per point and two float32 copies of the embeddings, never n * n.

    Args:
        embeddings: Points [n, d], any real dtype. Numpy in means numpy out; torch in means torch on
            the same device.
        size: How many points to pick, in 0 .. n - distinct given rows.
        metric: cosine, euclidean or sqeuclidean.
        given: Rows in 0 .. n - 1 that are in S from the start; they are never picked.
        weights: Of each point in the sum [n], 0 or more.

    Returns:
        The picked rows [size] (int64, distinct, in pick order) and by how much each raised f
        [size] (float64).

    Raises:
        ValueError: For another shape or metric, NaN or infinite values, a size out of range, given
            rows that are not rows, or negative weights.

    **Source:** G. L. Nemhauser, L. A. Wolsey & M. L. Fisher, *An analysis of approximations for
    maximizing submodular set functions - I*, 1978: f(S) is at least 1 - 1/e of the best. M. Minoux,
    *Accelerated greedy algorithms for maximizing submodular set functions*, 1978: old gains are
    bounds. B. Mirzasoleiman, J. Bilmes & J. Leskovec, *Coresets for Data-efficient Training of
    Machine Learning Models*, 2020, arXiv:1906.01827. **Deviations:** bounds are lowered by blocks,
    not evaluated one by one.
    """
    check_metric(metric, METRICS)
    points = finite_points(embeddings)
    known = checked_rows(given, "given", points)
    checked_size(size, len(points), len(known))
    scale, load = checked_weights(weights, points)
    first, copies, load = _distinct(points, load)
    with exact_products(points.device):
        space = PointSet(points if first is None else points[first], metric)
        inside = known if copies is None else torch.unique(copies[known])
        cover = DenseCover(space, _first_cover(space, inside), load)
        rows, gains = greedy(cover, size, inside)
    gains = times_two_to(gains, scale + space.exponent * METRICS.index(metric))
    rows, gains = all_picks(rows if first is None else first[rows], gains, size, known, len(points))
    return like(rows, embeddings), like(gains, embeddings)


def assign_counts(
    embeddings: ArrayT, rows: Sequence[int] | Tensor | npt.NDArray[Any], *, metric: str = "cosine"
) -> ArrayT:
    """How many points are most similar to each pick: the weights of CRAIG.

    Args:
        embeddings: Points [n, d], any real dtype.
        rows: The picks, distinct rows in 0 .. n - 1.
        metric: cosine, euclidean or sqeuclidean.

    Returns:
        Counts [picks] (int64), at least 1 each and n together: a pick is assigned to itself, and
        any other point to the most similar pick, the earliest of equals.

    Raises:
        ValueError: For another shape or metric, NaN or infinite values, no picks, or picks that are
            not distinct rows.

    **Source:** B. Mirzasoleiman, J. Bilmes & J. Leskovec, *Coresets for Data-efficient Training of
    Machine Learning Models*, 2020, algorithm 1, arXiv:1906.01827.
    """
    check_metric(metric, METRICS)
    points = finite_points(embeddings)
    distinct = checked_rows(rows, "rows", points)
    given = rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows))
    picks = given.to(points.device).long()
    if len(distinct) != len(picks) or not len(picks):
        raise ValueError(f"expected at least one row and no row twice, got {len(picks)} rows")
    with exact_products(points.device):
        space = PointSet(points, metric)
        _, to = nearest(space, space.subset(picks), 1)
    to[picks, 0] = torch.arange(len(picks), device=points.device)
    return like(torch.bincount(to[:, 0], minlength=len(picks)), embeddings)


def _distinct(
    points: Tensor, weights: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Merges equal points, whose gains are equal, and 0 once one of them is picked.

    Returns:
        The lowest row of each distinct point, ascending; which distinct point each point equals;
        and the weights of the distinct points. Where all are distinct, None, None and the weights.
    """
    found, copies, counts = torch.unique(points, dim=0, return_inverse=True, return_counts=True)
    n, device = len(points), points.device
    if len(found) == n:
        return None, None, weights
    lowest = copies.argsort(stable=True)[counts.cumsum(0) - counts]
    first, order = lowest.sort()
    copies = order.argsort()[copies]
    each = torch.ones(n, dtype=torch.float64, device=device) if weights is None else weights
    merged = torch.zeros(len(found), dtype=torch.float64, device=device)
    return first, copies, merged.index_add_(0, copies, each)


def _first_cover(space: PointSet, picks: Tensor) -> Tensor:
    """Returns the similarity [n] of each point to the nearest pick, or the lowest there is."""
    if len(picks):
        cover = nearest(space, space.subset(picks), 1)[0][:, 0]
        return cover if space.is_distance else cover.clamp_(min=0)
    lowest = torch.zeros(space.n, dtype=torch.float64, device=space.device)
    if space.is_distance and space.n:
        lowest -= (2 * space.lengths.max()) ** METRICS.index(space.metric)
    return lowest
