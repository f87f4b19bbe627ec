"""BADGE: k-means++ on the gradients that the rows would cause in the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, like
from alframe.functional.d2_sampling import sample_d2
from alframe.functional.gradients import last_layer_gradients
from alframe.functional.similarity import checked_rows


def badge_select(
    probs: ArrayT,
    embeddings: ArrayT,
    size: int,
    rng: np.random.Generator,
    centers: Sequence[int] | Tensor | npt.NDArray[Any] | None = None,
) -> ArrayT:
    """Draws rows whose gradients are long and differ: each in proportion to its squared distance.

    A row's gradient is that of the cross-entropy in the weights of the last, linear layer, were the
    likeliest class (ties to the lowest) its label; the distance is that to the nearest gradient
    picked before. The first pick, where there are no centers, is the longest gradient, ties to the
    lowest row. Gradients equal to a picked one are drawn only when no others are left, then
    uniformly.

    Args:
        probs: Class probabilities [n, classes].
        embeddings: Inputs of the last layer [n, d], any real dtype, on the same device.
        size: How many rows to pick, in 0 .. n - distinct centers.
        rng: Draws n exponential numbers for each pick but the first.
        centers: Rows in 0 .. n - 1 that are picked already; they are never returned.

    Returns:
        The picked rows [size] (int64, distinct, in the order of picking).

    Raises:
        ValueError: For another shape, NaN or infinite values, probabilities outside [0, 1], a size
            out of range, or centers that are not rows.

    Time is O(n (classes + d) (size + centers)), almost all of it in matrix products. Memory beyond
    the inputs is O(n classes): gradients are never built. Squared distances are right to
    (classes + d) * 2 ** -31 of themselves, and 0 between equal rows.

    **Source:** J. T. Ash et al., *Deep Batch Active Learning by Diverse, Uncertain Gradient Lower
    Bounds*, 2020, algorithm 1, arXiv:1906.03671. **Deviations:** k-means++ draws its first row
    uniformly; the authors' code takes the longest gradient, and so does this. Neither knows of
    centers: with labeled rows as centers, what looks like them is picked later.
    """
    vectors = last_layer_gradients(probs, embeddings)
    n = len(vectors)
    picked = checked_rows(centers, "centers", vectors.right)
    if not 0 <= size <= n - len(picked):
        raise ValueError(
            f"expected a size from 0 to {n - len(picked)} ({n} rows, {len(picked)} of them "
            f"centers), got {size}"
        )
    if size == 0:
        return like(picked[:0], probs)
    if len(picked):
        return like(sample_d2(vectors, picked, size, rng), probs)
    first = vectors.squared_norms.argmax().reshape(1)  # the first of equals
    return like(torch.cat([first, sample_d2(vectors, first, size - 1, rng)]), probs)
