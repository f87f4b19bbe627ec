"""Semantic duplicates: how similar each point is to those that are kept before it."""

from __future__ import annotations

import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows
from alframe.functional.directions import unit

_PAIRS = 2**17  # pairs of points in one temporary: 1 MB of float64
_LEFT = 1024  # of them, points on the left: the right ones are read once for so many
_STEP = 2.0**-40  # cosines are rounded to it, so that equal points get equal cosines


def earlier_similarity(embeddings: ArrayT, groups: ArrayT, order: ArrayT) -> ArrayT:
    """The largest cosine similarity of each point to a point of its group that comes before it.

    Args:
        embeddings: Points [n, d], any real dtype; their lengths play no role. Numpy in means numpy
            out; torch in means torch on the same device.
        groups: The group of each point [n], integers from 0 on.
        order: All positions 0 .. n - 1 [n], the first to come first.

    Returns:
        Similarities [n] in the order of the points, float64, in [-1, 1], rounded to 2^-40; -1 for
        the first of each group. Vectors of zeros are equal to each other and have similarity 0 to
        all others.

    Raises:
        ValueError: For another shape, NaN or infinite values.

    **Source:** A. Abbas, K. Tirumala, D. Simig, S. Ganguli & A. S. Morcos, *SemDeDup:
    Data-efficient learning at web-scale through semantic deduplication*, 2023,
    arXiv:2303.09540. **Deviations:** -1 where the authors' code has 0 (their first of a group, and
    whatever is farther than 90 degrees from all before it). Time O(d) for each pair within a group;
    the matrix of a group is never kept: memory O(n) beyond the points.
    """
    points = as_tensor(embeddings)
    if points.ndim != 2:
        raise ValueError(f"expected embeddings [n, d], got shape {tuple(points.shape)}")
    refuse_rows(~points.isfinite().all(dim=1), "embeddings without NaN or infinity")
    labels, ranks = (as_tensor(values).to(points.device).long() for values in (groups, order))
    if not labels.shape == ranks.shape == (len(points),):
        raise ValueError(
            f"expected {len(points)} groups and as many positions in order, got shapes "
            f"{tuple(labels.shape)} and {tuple(ranks.shape)}"
        )
    nearest = torch.full((len(points),), -1.0, dtype=torch.float64, device=points.device)
    by_group = ranks[labels[ranks].argsort(stable=True)]
    for members in torch.split(by_group, torch.bincount(labels).tolist()):
        _compare(points, members, nearest)
    return like(nearest.div_(_STEP).round_().mul_(_STEP).clamp_(-1, 1), embeddings)


def _compare(points: Tensor, members: Tensor, nearest: Tensor) -> None:
    """Raises ``nearest`` of the members, in place, to their similarity to earlier ones."""
    for first in range(0, len(members), _LEFT):
        mine = members[first : first + _LEFT]
        left = _unit(points[mine])
        step = max(1, min(_PAIRS // len(mine), _PAIRS // left.shape[1]))
        for start in range(0, first + len(mine), step):
            there = members[start : min(start + step, first + len(mine))]
            cosines = left @ _unit(points[there]).T
            if start + len(there) > first:  # some of them are not earlier
                place = torch.arange(start, start + len(there), device=points.device)
                limit = torch.arange(first, first + len(mine), device=points.device)
                cosines.masked_fill_(place >= limit[:, None], -1)
            nearest[mine] = torch.maximum(nearest[mine], cosines.amax(dim=1))


def _unit(points: Tensor) -> Tensor:
    """Returns points at length 1 [n, d + 1], float64; zeros point where no other point does."""
    values = unit(points)
    return torch.cat([values, (values == 0).all(dim=1, keepdim=True).double()], dim=1)
