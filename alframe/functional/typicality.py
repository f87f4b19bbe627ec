"""Typicality: how close a point is to its nearest neighbors."""

from __future__ import annotations

from alframe.functional.arrays import ArrayT, as_tensor, like
from alframe.functional.topk import pairwise_topk


def typicality(embeddings: ArrayT, neighbors: int = 20) -> ArrayT:
    """The inverse of the mean Euclidean distance of each point to its nearest other points.

    Args:
        embeddings: Points [n, d], any real dtype.
        neighbors: How many of them, 1 or more; all others where there are fewer.

    Returns:
        Typicalities [n], float64; infinite where all these neighbors are equal to the point, or
        where there is no other.

    Raises:
        ValueError: For another shape, NaN or infinite values, or less than one neighbor.

    **Source:** G. Hacohen, A. Dekel & D. Weinshall, *Active Learning on a Budget: Opposite
    Strategies Suit High and Low Budgets*, 2022, typicality, arXiv:2202.02794. **Deviations:** none;
    the authors' code adds 1e-5 to the mean distance. Time O(n^2 d), memory as `pairwise_topk`.
    """
    if neighbors < 1:
        raise ValueError(f"expected at least 1 neighbor, got {neighbors}")
    count = min(neighbors, max(0, len(embeddings) - 1))
    distances, _ = pairwise_topk(embeddings, embeddings, count, exclude_self=True)
    total = as_tensor(distances).div(max(1, count)).sum(dim=1)  # divided first: it may overflow
    return like(total.reciprocal_(), embeddings)
