"""Facility location on a graph of nearest neighbors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows
from alframe.functional.lazy_greedy import all_picks, checked_weights, greedy
from alframe.functional.similarity import checked_rows, checked_size, finite_points, times_two_to
from alframe.functional.sparse_cover import SparseCover


def facility_location_sparse(
    neighbors: ArrayT,
    similarities: ArrayT,
    size: int,
    *,
    given: Sequence[int] | Tensor | npt.NDArray[Any] | None = None,
    weights: ArrayT | None = None,
) -> tuple[ArrayT, ArrayT]:
    """The same greedy picks where only each point's similarities to k neighbors are known.

    Maximizes g(S) = sum_i w_i max(0, max_{j in S and among i's neighbors} s(i, j)): similarities
    that are not given count as 0. Let t_i be the smallest similarity given for point i, and let i's
    neighbors be its most similar points. Then for every S the full objective f of
    ``facility_location_greedy`` is missed by at most

        0 <= f(S) - g(S) <= sum of w_i t_i over the points i that have no neighbor in S

    since any other point of S has at most t_i, and a neighbor at least t_i. It is 0 once every
    point has a neighbor in S. Hence f(picks) >= (1 - 1/e) (f(best) - sum_i w_i t_i).

    Args:
        neighbors: Rows [n, k], distinct within each point's: usually point i itself and its most
            similar others, as from ``pairwise_topk``. A point that is not among its own neighbors
            is not covered by picking it.
        similarities: [n, k], 0 or more.
        size: How many points to pick, in 0 .. n - distinct given rows.
        given: Rows in 0 .. n - 1 that are in S from the start; they are never picked.
        weights: Of each point in the sum [n], 0 or more.

    Returns:
        The picked rows [size] (int64, distinct, in pick order) and by how much each raised g
        [size] (float64). Ties as in ``facility_location_greedy``. Memory O(n k).

    Raises:
        ValueError: For other shapes, rows that are not rows or twice among one point's neighbors,
            negative or NaN similarities, a size out of range, or negative weights.

    **Source:** E. Lindgren, S. Wu & A. Dimakis, *Leveraging Sparsity for Efficient Submodular Data
    Summarization*, NeurIPS 2016. **Deviations:** their bounds are relative and need many neighbors;
    the one above holds for any number.
    """
    lists, values = _graph(as_tensor(neighbors), finite_points(similarities, "similarities"))
    n, k = lists.shape
    known = checked_rows(given, "given", lists)
    checked_size(size, n, len(known))
    scale, load = checked_weights(weights, values)
    order = lists.flatten().argsort(stable=True)
    counts = torch.bincount(lists.flatten(), minlength=n)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    owners = torch.div(order, max(1, k), rounding_mode="floor").int()
    cover = SparseCover(starts, owners, values.flatten()[order], values.new_zeros(n), load)
    for row in known.tolist():
        cover.add(row)
    rows, gains = greedy(cover, size, known)
    rows, gains = all_picks(rows, times_two_to(gains, scale), size, known, n)
    return like(rows, neighbors), like(gains, neighbors)


def _graph(neighbors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns neighbors (int64) and similarities (float64), both [n, k], refusing what is none."""
    if neighbors.shape != values.shape or neighbors.is_floating_point():
        raise ValueError(
            f"expected neighbors [n, k] of whole numbers and as many similarities, got "
            f"{neighbors.dtype} {tuple(neighbors.shape)} and {tuple(values.shape)}"
        )
    n, lists = len(neighbors), neighbors.long()
    refuse_rows((values < 0).any(dim=1), "similarities of 0 or more")
    strange = ((lists < 0) | (lists >= n)).any(dim=1)
    refuse_rows(strange, f"neighbors to be rows from 0 to {n - 1}")
    twice = lists.sort(dim=1).values.diff(dim=1) == 0
    refuse_rows(twice.any(dim=1), "neighbors that are distinct in each row")
    return lists, values.double()
