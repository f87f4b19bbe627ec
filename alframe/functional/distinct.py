"""Rows that are not nearly equal to an earlier one."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like
from alframe.functional.similarity import PointSet, finite_points

_BLOCK = 256  # rows that are compared with one another one by one


def distinct_rows(
    embeddings: ArrayT, limit: float, given: Tensor | npt.NDArray[Any] | None = None
) -> ArrayT:
    """Marks the rows that are less similar than ``limit`` to all rows marked before them.

    Args:
        embeddings: Points [n, d], any real dtype; a zero vector is similar to nothing.
        limit: Of the cosine similarity, in (-1, 1].
        given: More points [m, d], to which a marked row must not be similar either.

    Returns:
        Marks [n], bool.

    Raises:
        ValueError: For another shape, NaN or infinite values.

    Time O(n (n + m) d), memory O((n + m) d): one float64 copy of both.
    """
    points = _unit(embeddings)
    kept = [] if given is None or len(given) == 0 else [_unit(as_tensor(given)).to(points.device)]
    marks = torch.ones(len(points), dtype=torch.bool, device=points.device)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        mine = marks[start : start + _BLOCK]
        for before in kept:
            for there in range(0, len(before), _BLOCK * 16):
                part = before[there : there + _BLOCK * 16]
                mine &= ~((block @ part.T) >= limit).any(dim=1)
        close = ((block @ block.T) >= limit).cpu().numpy()
        alive = mine.cpu().numpy()
        for i in range(len(block)):
            if alive[i]:
                alive[i + 1 :] &= ~close[i, i + 1 :]
        mine.copy_(torch.from_numpy(alive))
        kept.append(block[mine])
    return like(marks, embeddings)


def _unit(embeddings: Tensor | npt.NDArray[Any]) -> Tensor:
    points = finite_points(embeddings)
    return PointSet(points, "cosine").values(slice(None))
