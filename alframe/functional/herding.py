"""Herding: picks whose mean stays as close as possible to the mean of all points."""

from __future__ import annotations

import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, like
from alframe.functional.similarity import PointSet, exact_products, finite_points, times_two_to
from alframe.functional.winners import exact_argmax

_ROUNDING = 2.0**-24  # relative, of one float32 operation


def herding_greedy(embeddings: ArrayT, size: int) -> tuple[ArrayT, ArrayT]:
    """Picks again and again the point that brings the mean of the picks closest to that of all.

    Pick t minimizes abs(mean - (sum of the picks before + x) / t) over the points x that are not
    picked. Decided in float64 on points around their mean, ties to the lowest row; one float32
    product of a matrix and a vector for each pick finds the few points that matter.

    Args:
        embeddings: Points [n, d], any real dtype. Numpy in means numpy out; torch in means torch on
            the same device.
        size: How many points to pick, in 0 .. n.

    Returns:
        The picked rows [size] (int64, distinct, in pick order), and the distance [size] between the
        two means after each pick (float64, in the unit of the embeddings).

    Raises:
        ValueError: For another shape, NaN or infinite values, or a size out of range.

    Time O(n d size), memory O(n d): one float32 copy of the points.

    **Source:** M. Welling, *Herding Dynamical Weights to Learn*, 2009; Y. Chen, M. Welling & A.
    Smola, *Super-Samples from Kernel Herding*, 2010, arXiv:1203.3472; in this greedy form S.-A.
    Rebuffi et al., *iCaRL*, 2017, algorithm 4, arXiv:1611.07725. **Deviations:** none.
    """
    points = finite_points(embeddings)
    if not 0 <= size <= len(points):
        raise ValueError(f"expected a size from 0 to {len(points)}, got {size}")
    space = PointSet(points, "sqeuclidean")
    with exact_products(points.device):
        rows, gaps = _greedy(space, size)
    return like(rows, embeddings), like(times_two_to(gaps, space.exponent), embeddings)


def _greedy(space: PointSet, size: int) -> tuple[Tensor, Tensor]:
    width = len(space.center)
    squares = space.lengths.square()
    total = torch.zeros_like(space.center)
    rows = torch.empty(size, dtype=torch.int64, device=space.device)
    gaps = torch.empty(size, dtype=torch.float64, device=space.device)

    def nearness(near: Tensor) -> Tensor:
        """Returns minus the squares of the new sums' lengths, but for what all have in common."""
        points = space.values(near) - space.center
        return -(points * (points + 2 * total)).sum(dim=1)

    for i in range(size):
        length = total.norm()
        levels = -squares - 2 * (space.single[:, :width] @ total.float()).double()
        levels[rows[:i]] = -torch.inf
        errors = (2 * width + 32) * _ROUNDING * (2 * space.lengths * length + squares)
        rows[i] = exact_argmax(levels, errors, nearness)
        total += (space.values(rows[i : i + 1]) - space.center)[0]
        gaps[i] = total.norm() / (i + 1)
    return rows, gaps
