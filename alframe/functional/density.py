"""Density of points: how similar each of them is to all the others, without any pairwise matrix."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

_CHUNK = 2**17  # values in one temporary: 1 MB of float64, which stays in a CPU's cache


def mean_cosine(embeddings: ArrayT) -> ArrayT:
    """The mean cosine similarity of each point to all points, itself included.

    With unit vectors u_i the mean over j of u_i . u_j is u_i . (mean over j of u_j): two passes
    over the points, O(n d) time, O(n) memory beyond them. A zero vector has similarity 0 to every
    point.

    Args:
        embeddings: Points [n, d], any real dtype; their lengths play no role.

    Returns:
        Similarities [n], float64, in [-1, 1].

    Raises:
        ValueError: For another shape, NaN or infinite values.

    **Source:** B. Settles & M. Craven, *An Analysis of Active Learning Strategies for Sequence
    Labeling Tasks*, 2008, information density; B. Settles, *Active Learning Literature Survey*,
    2009, section 3.6.
    """
    points = as_tensor(embeddings)
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(f"expected embeddings [n, d >= 1], got shape {tuple(points.shape)}")
    total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    bad = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for start, chunk, new in _chunks(points):
        bad[start : start + len(chunk)] = ~chunk.isfinite().all(dim=1)
        total += _unit(chunk[-new:]).sum(dim=0)
    refuse_rows(bad, "embeddings without NaN or infinity")
    means = torch.empty(len(points), dtype=torch.float64, device=points.device)
    for start, chunk, _ in _chunks(points):
        # A product and a sum, not a matrix product: equal points must get equal values.
        means[start : start + len(chunk)] = (_unit(chunk) * (total / len(points))).sum(dim=1)
    return like(means.clamp_(-1, 1), embeddings)


def _unit(points: Tensor) -> Tensor:
    """Returns the points at length 1, in float64; a zero vector stays one."""
    values = points.double()
    largest = values.abs().amax(dim=1, keepdim=True)
    values = values / torch.where(largest > 0, largest, 1.0)  # squares neither over- nor underflow
    lengths: Tensor = values.norm(dim=1, keepdim=True).clamp_min(1)  # below 1 only where zero
    return values / lengths


def _chunks(points: Tensor) -> Iterator[tuple[int, Tensor, int]]:
    """Yields (start, rows, how many of them are new): together all points.

    Each chunk is equally long, so the last one overlaps the one before: a GPU sums a row in an
    order that depends on the number of rows, and equal points must get equal values.
    """
    step = max(1, _CHUNK // max(1, points.shape[1]))
    for start in range(0, len(points), step):
        first = max(0, min(start, len(points) - step))
        yield first, points[first : first + step], min(step, len(points) - start)
