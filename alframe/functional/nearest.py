"""The nearest of some centers, for every point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from alframe.functional.arrays import ArrayT, as_tensor, like
from alframe.functional.distances import Distances
from alframe.functional.passes import Crew, crew
from alframe.functional.similarity import exact_products

_ROWS = 2048
_CENTERS = 512


def nearest_center(points: ArrayT, centers: ArrayT) -> tuple[ArrayT, ArrayT]:
    """Finds every point's nearest center. Ties go to the lowest position.

    Distances are Euclidean, from direct differences in float64; a matrix product in float32 only
    rules out centers that cannot be nearest. O(n) memory besides the inputs.

    Args:
        points: [n, d], any real dtype. Numpy in means numpy out; torch in means torch on the same
            device.
        centers: [k, d], k > 0, on the same device.

    Returns:
        The position [n] of the nearest center (int64), and its distance [n] (float64).

    Raises:
        ValueError: For other shapes, no centers, or NaN or infinite values.
    """
    left, right = as_tensor(points), as_tensor(centers)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1] or not len(right):
        raise ValueError(
            "expected points [n, d] and at least one center [k, d], got shapes "
            f"{tuple(left.shape)} and {tuple(right.shape)}"
        )
    squares = np.full(len(left), np.inf)
    owners = np.zeros(len(left), dtype=np.int64)
    if len(left):
        with exact_products(left.device), crew(left) as threads:
            space = Distances(left, right)
            _search(space, squares, owners, threads)
        squares = np.sqrt(squares) / space.scale
    return (
        like(torch.from_numpy(owners).to(left.device), points),
        like(torch.from_numpy(squares).to(left.device), points),
    )


def _search(
    space: Distances, squares: npt.NDArray[np.float64], owners: npt.NDArray[np.int64], threads: Crew
) -> None:
    """Fills in squared distances (of scaled points) and positions of the nearest centers."""
    n, k = len(squares), len(space.centers)

    def one_part(start: int) -> bool:
        part = slice(start, min(start + _ROWS, n))
        rows, coarse = np.arange(part.start, part.stop), False
        seen = space.filtered(rows)
        for first in range(0, k, _CENTERS):
            centers = np.arange(first, min(first + _CENTERS, k))
            coarse |= space.lower(squares[part], rows, seen, centers, owners[part])
        return coarse

    starts = range(0, n, _ROWS)
    for i in range(0, len(starts), threads.size):
        some = starts[i : i + threads.size]
        coarse = threads.each(one_part, some)
        space.adapt(len(some) * _ROWS * k, coarse=any(coarse))
