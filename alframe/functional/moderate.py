"""Moderate core-sets: points at a middling distance from the center of their group."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

_CHUNK = 2**17  # values in one temporary: 1 MB of float64, which stays in a CPU's cache


def center_distances(embeddings: ArrayT, groups: npt.NDArray[np.int64]) -> ArrayT:
    """The Euclidean distance of each point to the mean of its group.

    Args:
        embeddings: Points [n, d], any real dtype.
        groups: The group of each point [n], 0 .. number of groups - 1.

    Returns:
        Distances [n], float64, in the unit of the embeddings, at most a quarter of the largest
        float64. Time O(n d + n log n), memory O(n + d) beyond the embeddings.

    Raises:
        ValueError: For another shape, NaN or infinite values, or groups that are not numbered so.

    **Source:** X. Xia, J. Liu, J. Yu, X. Shen, B. Han & T. Liu, *Moderate Coreset*, ICLR 2023.
    """
    points = as_tensor(embeddings)
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(f"expected embeddings [n, d >= 1], got shape {tuple(points.shape)}")
    if groups.shape != (len(points),) or (len(groups) and groups.min() < 0):
        raise ValueError(f"expected {len(points)} groups from 0 on, got shape {groups.shape}")
    scale = _largest(points)
    distances = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    step = _chunk_rows(points)
    for members in members_of(groups):
        at = torch.from_numpy(members).to(points.device)
        parts = [at[start : start + step] for start in range(0, len(at), step)]
        total = sum((points[part].double() / scale).sum(dim=0) for part in parts)
        for part in parts:
            distances[part] = (points[part].double() / scale - total / len(at)).norm(dim=1)
    limit = torch.finfo(torch.float64).max / 4  # so that two of them have a sum and a difference
    return like((distances * scale).clamp_max(limit), embeddings)


def members_of(groups: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Returns the members of each group, ascending; groups are numbered from 0 on."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.bincount(groups).cumsum()[:-1])


def from_the_median(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Orders values by how close they are to their median.

    Args:
        values: [n], finite. Of an even number of them the median is the lower middle one, so that
            no two are tied by construction.

    Returns:
        Positions [n], the closest first, ties to the lowest.
    """
    median = np.sort(values)[(len(values) - 1) // 2]
    return np.argsort(np.abs(values - median), kind="stable")


def _largest(points: Tensor) -> float:
    """Returns the largest absolute value, or 1 where all are zero: squares must not overflow."""
    bad = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    largest = 0.0
    step = _chunk_rows(points)
    for start in range(0, len(points), step):
        chunk = points[start : start + step]
        bad[start : start + step] = ~chunk.isfinite().all(dim=1)
        largest = max(largest, chunk.double().abs().nan_to_num().amax().item())
    refuse_rows(bad, "embeddings without NaN or infinity")
    return largest or 1.0


def _chunk_rows(points: Tensor) -> int:
    return max(1, _CHUNK // points.shape[1])
