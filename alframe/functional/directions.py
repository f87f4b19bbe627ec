"""Directions of points: rows of length 1, and the angle between pairs of rows."""

from __future__ import annotations

import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

_CHUNK = 2**17  # values in one temporary: 1 MB of float64


def unit_rows(embeddings: ArrayT) -> ArrayT:
    """Returns each point divided by its Euclidean length; zeros stay zeros.

    Args:
        embeddings: Points [n, d], any real dtype, also where squares would over- or underflow.

    Returns:
        Points [n, d], float64 where the embeddings are, float32 for every other dtype.

    Raises:
        ValueError: For another shape, NaN or infinite values.
    """
    points = as_tensor(embeddings)
    if points.ndim != 2:
        raise ValueError(f"expected embeddings [n, d], got shape {tuple(points.shape)}")
    dtype = torch.float64 if points.dtype == torch.float64 else torch.float32
    units = torch.empty(points.shape, dtype=dtype, device=points.device)
    bad = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for rows in _slices(points):
        bad[rows] = ~points[rows].isfinite().all(dim=1)
        units[rows] = unit(points[rows]).to(dtype)
    refuse_rows(bad, "embeddings without NaN or infinity")
    return like(units, embeddings)


def cosine_to_own(embeddings: ArrayT, centroids: ArrayT, labels: ArrayT) -> ArrayT:
    """Returns the cosine similarity [n], float64, of each point to the centroid of its label.

    Args:
        embeddings: Points [n, d], finite; their lengths play no role.
        centroids: [k, d], finite, on the same device.
        labels: The centroid of each point [n], integers in 0 .. k - 1.

    Returns:
        Similarities in [-1, 1], 0 where one of the two is zeros.
    """
    points, targets = as_tensor(embeddings), unit(as_tensor(centroids))
    own = as_tensor(labels)
    cosines = torch.empty(len(points), dtype=torch.float64, device=points.device)
    for rows in _slices(points):
        # A product and a sum, not a matrix product: equal points must get equal values.
        cosines[rows] = (unit(points[rows]) * targets.index_select(0, own[rows])).sum(dim=1)
    return like(cosines.clamp_(-1, 1), embeddings)


def unit(points: Tensor) -> Tensor:
    """Returns a few points [n, d] at length 1, in float64; zeros stay zeros."""
    if points.numel() == 0:
        return points.double()
    values = points.double()
    largest = values.abs().amax(dim=1, keepdim=True)
    values = values / torch.where(largest > 0, largest, 1.0)  # squares neither over- nor underflow
    lengths: Tensor = values.norm(dim=1, keepdim=True)
    return values / lengths.clamp_min(1)  # below 1 only where zero


def _slices(points: Tensor) -> list[slice]:
    step = max(1, _CHUNK // max(1, points.shape[1]))
    return [slice(start, start + step) for start in range(0, len(points), step)]
