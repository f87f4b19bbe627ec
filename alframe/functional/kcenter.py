"""Greedy k-center: cover all points with balls of one radius around few of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows
from alframe.functional.distances import Distances, Floats, Rows
from alframe.functional.kcenter_blocks import Cover
from alframe.functional.passes import Crew, crew, value_ranges
from alframe.functional.similarity import exact_products


def kcenter_greedy(
    embeddings: ArrayT,
    size: int,
    centers: Sequence[int] | Tensor | npt.NDArray[Any] | None = None,
    *,
    weights: ArrayT | None = None,
) -> tuple[ArrayT, ArrayT]:
    """Picks again and again the point that is farthest from its nearest center.

    Distances are Euclidean, from direct differences in float64, so that neither a large common
    offset nor huge or tiny values change a pick. (All are scaled by one power of two; differences
    below about 1e-150 of the largest count as zero.) Ties go to the lowest position. Without
    centers the first pick is the point closest to the mean of all points.

    With weights, the pick is the point with the largest weight times distance. What is compared is
    the squared weight times the squared distance, in float64, with the weights divided by a power
    of two near the largest, so that weights below 1e-150 of it may count as zero. Points of weight
    zero are picked last. The first pick without centers does not depend on the weights.

    Args:
        embeddings: Points [n, d], any real dtype. Numpy in means numpy out; torch in means torch on
            the same device.
        size: How many points to pick, in 0 .. n - distinct centers.
        centers: Positions in 0 .. n - 1 that are centers already; they are never picked.
        weights: Weights [n], finite, at least 0; all 1 where None.

    Returns:
        The picked positions [size] (int64, distinct, in pick order), and the covering radius
        [size] before each pick (float64): the largest distance of any point to its nearest center
        (times its weight), infinite where there is no center yet.

    Raises:
        ValueError: For another shape, NaN or infinite values, a size out of range, centers that
            are not positions, or weights that are negative, NaN or infinite.

    Complexity: O(n * size * d) at worst, most of it in float32 matrix products; the more the
    distances to the nearest center differ, the fewer points are looked at again. O(n) memory
    besides the embeddings, no synchronization with a GPU for each pick.

    **Source:** T. F. Gonzalez, *Clustering to minimize the maximum intercluster distance*, 1985;
    O. Sener & S. Savarese, *Active Learning for Convolutional Neural Networks: A Core-Set
    Approach*, 2018, algorithm 1, arXiv:1708.00489. Bounds that are brought up to date only when
    they matter: M. Minoux, *Accelerated greedy algorithms for maximizing submodular set functions*,
    1978. **Deviations:** the first pick is fixed, where Gonzalez takes any point.
    """
    points = as_tensor(embeddings)
    if points.ndim != 2:
        raise ValueError(f"expected embeddings [n, d], got shape {tuple(points.shape)}")
    known = _positions(centers, len(points))
    free = len(points) - len(known)
    if not 0 <= size <= free:
        raise ValueError(
            f"expected a size from 0 to {free} ({len(points)} points, {len(known)} of them "
            f"centers), got {size}"
        )
    squared, exponent = _squared_weights(weights, len(points))
    rows, radii = known[:0], np.zeros(0)
    if size:
        with exact_products(points.device), crew(points) as threads:
            space = Distances(points)
            rows, radii = _greedy(space, size, known, squared, threads)
        exponent -= math.frexp(space.scale)[1] - 1
    else:
        value_ranges(points, "embeddings")
    with np.errstate(over="ignore"):
        radii = np.ldexp(radii, exponent)
    return (
        like(torch.from_numpy(rows).to(points.device), embeddings),
        like(torch.from_numpy(radii).to(points.device), embeddings),
    )


def _greedy(
    space: Distances, size: int, known: Rows, weights: Floats | None, threads: Crew
) -> tuple[Rows, Floats]:
    """Returns picks, and radii of scaled points with weights in their unit."""
    n, c = len(space.points), len(known)
    first = known
    if not c:  # n * point against the sum: no division to round ties; the first of equals
        first = space.to_one(space.total, space.scale * n).argmin()[None].numpy(force=True)
    cover = Cover(space, first, size + c - len(first), weights, threads)
    cover.run()
    radii: Floats = torch.from_numpy(cover.keys[c:]).sqrt_().numpy()
    if not c:
        radii[0] = np.inf
    return cover.chosen[c:], radii


def _squared_weights(
    weights: Tensor | npt.NDArray[Any] | None, n: int
) -> tuple[Floats | None, int]:
    """Returns squares of weights divided by 2 ** exponent, and the exponent."""
    if weights is None:
        return None, 0
    values = as_tensor(weights)
    if values.shape != (n,):
        raise ValueError(f"expected one weight for each of {n} points, got {tuple(values.shape)}")
    refuse_rows(~(values.isfinite() & (values >= 0)), "weights that are finite and at least 0")
    exact = values.double().numpy(force=True)
    exponent = math.frexp(exact.max(initial=0.0))[1]
    return np.ldexp(exact, -exponent) ** 2, exponent


def _positions(centers: Sequence[int] | Tensor | npt.NDArray[Any] | None, n: int) -> Rows:
    """Returns the distinct centers, ascending, refusing what is not a position."""
    given = [] if centers is None else centers
    values = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if values.numel() == 0:
        return np.empty(0, dtype=np.int64)
    whole = not values.is_floating_point() and values.dtype != torch.bool
    if values.ndim != 1 or not whole or values.min() < 0 or values.max() >= n:
        raise ValueError(
            f"expected centers to be a list of positions from 0 to {n - 1}, got {values.dtype} of "
            f"shape {tuple(values.shape)} from {values.min().item()} to {values.max().item()}"
        )
    distinct: Rows = torch.unique(values.long()).numpy(force=True)
    return distinct
