"""Greedy k-center: cover all points with balls of one radius around few of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

# Values in one temporary: 1 MB of float64, which stays in a CPU's cache. On a shared two-core
# x86-64 host, torch 2.15, 50,000 x 64 float32: about 2 ms a pick, against 4 to 8 ms at 4 MB.
_CHUNK = 2**17
_PICKED = -1.0  # below every squared distance, so that argmax never returns to a picked point


def kcenter_greedy(
    embeddings: ArrayT,
    size: int,
    centers: Sequence[int] | Tensor | npt.NDArray[Any] | None = None,
) -> tuple[ArrayT, ArrayT]:
    """Picks again and again the point that is farthest from its nearest center.

    Distances are Euclidean, from direct differences in float64, so that neither a large common
    offset nor huge or tiny values change a pick. Ties go to the lowest position. Without centers
    the first pick is the point closest to the mean of all points.

    Args:
        embeddings: Points [n, d], any real dtype. Numpy in means numpy out; torch in means torch on
            the same device.
        size: How many points to pick, in 0 .. n - distinct centers.
        centers: Positions in 0 .. n - 1 that are centers already; they are never picked.

    Returns:
        The picked positions [size] (int64, distinct, in pick order), and the covering radius
        [size] before each pick (float64): the largest distance of any point to its nearest center,
        infinite where there is no center yet.

    Raises:
        ValueError: For another shape, NaN or infinite values, a size out of range, or centers that
            are not positions.

    **Source:** T. F. Gonzalez, *Clustering to minimize the maximum intercluster distance*, 1985;
    O. Sener & S. Savarese, *Active Learning for Convolutional Neural Networks: A Core-Set
    Approach*, 2018, algorithm 1, arXiv:1708.00489. **Deviations:** the first pick is fixed, where
    Gonzalez takes any point. Memory beyond the embeddings is O(n).
    """
    points = as_tensor(embeddings)
    if points.ndim != 2:
        raise ValueError(f"expected embeddings [n, d], got shape {tuple(points.shape)}")
    known = _positions(centers, len(points)).to(points.device)
    free = len(points) - len(known)
    if not 0 <= size <= free:
        raise ValueError(
            f"expected a size from 0 to {free} ({len(points)} points, {len(known)} of them "
            f"centers), got {size}"
        )
    bad = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for start, chunk in _chunks(points):
        bad[start : start + len(chunk)] = ~chunk.isfinite().all(dim=1)
    refuse_rows(bad, "embeddings without NaN or infinity")
    rows, radii = _greedy(points, size, known)
    return like(rows, embeddings), like(radii, embeddings)


def _greedy(points: Tensor, size: int, centers: Tensor) -> tuple[Tensor, Tensor]:
    scale = _safe_scale(points)
    nearest = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)
    rows = torch.empty(size, dtype=torch.int64, device=points.device)
    radii = torch.empty(size, dtype=torch.float64, device=points.device)
    for center in centers:
        _add_center(points, center, scale, nearest)
    for i in range(size):
        no_center = i == 0 and len(centers) == 0
        # argmin and argmax return the first of equals
        row = _distances_to_mean(points, scale).argmin() if no_center else nearest.argmax()
        rows[i], radii[i] = row, nearest[row]
        _add_center(points, row, scale, nearest)
    return rows, radii.sqrt_().div_(scale)


def _add_center(points: Tensor, center: Tensor, scale: float, nearest: Tensor) -> None:
    """Lowers each point's squared distance to its nearest center, and marks the new center."""
    _lower(points, points[center].double() * scale, scale, nearest)
    nearest[center] = _PICKED


def _distances_to_mean(points: Tensor, scale: float) -> Tensor:
    """Returns squared distances [n] between n * point and the sum: no division to round ties."""
    total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    for chunk in torch.split(points, _chunk_rows(points)):
        total += chunk.double().mul(scale).sum(dim=0)
    distances = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)
    _lower(points, total, scale * len(points), distances)
    return distances


def _lower(points: Tensor, target: Tensor, scale: float, nearest: Tensor) -> None:
    """Takes, per point, the lower of ``nearest`` and its squared distance to the target.

    Args:
        points: [n, d], multiplied by ``scale`` before use.
        target: [d], float64, in the same units as the scaled points.
        scale: 1, or whatever avoids rounding.
        nearest: [n], float64, changed in place.
    """
    for start, chunk in _chunks(points):
        scaled = chunk.double() if scale == 1 else chunk.double() * scale
        squares = (scaled - target).square_().sum(dim=1)
        part = nearest[start : start + len(chunk)]
        torch.minimum(part, squares, out=part)


def _safe_scale(points: Tensor) -> float:
    """Returns a power of two (which rounds nothing) that keeps squares from over- or underflow."""
    largest = max(
        (chunk.double().abs().amax().item() for _, chunk in _chunks(points) if chunk.numel()),
        default=0.0,
    )
    if largest == 0 or 1e-90 < largest < 1e90:
        return 1.0
    return 2.0 ** min(900, -math.frexp(largest)[1])  # 2 ** 1023 times n would be infinite


def _chunk_rows(points: Tensor) -> int:
    return max(1, _CHUNK // max(1, points.shape[1]))


def _chunks(points: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yields (start, rows): together all points, each chunk equally long.

    The last one overlaps the one before: a GPU sums a row in an order that depends on the number of
    rows, and equal points must get equal distances.
    """
    step = _chunk_rows(points)
    for start in range(0, len(points), step):
        first = max(0, min(start, len(points) - step))
        yield first, points[first : first + step]


def _positions(centers: Sequence[int] | Tensor | npt.NDArray[Any] | None, n: int) -> Tensor:
    """Returns the distinct centers, ascending int64, refusing what is not a position."""
    given = [] if centers is None else centers
    values = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if values.numel() == 0:
        return torch.empty(0, dtype=torch.int64)
    whole = not values.is_floating_point() and values.dtype != torch.bool
    if values.ndim != 1 or not whole or values.min() < 0 or values.max() >= n:
        raise ValueError(
            f"expected centers to be a list of positions from 0 to {n - 1}, got {values.dtype} of "
            f"shape {tuple(values.shape)} from {values.min().item()} to {values.max().item()}"
        )
    distinct: Tensor = torch.unique(values.long())
    return distinct
