"""Hierarchical clustering of few points, and taking turns among clusters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

Labels = npt.NDArray[np.int64]


def average_linkage(
    embeddings: ArrayT, clusters: int | None = None, threshold: float | None = None
) -> ArrayT:
    """Merges the two clusters of the least mean distance, again and again, beginning with points.

    Args:
        embeddings: Points [n, d], any real dtype, at least one.
        clusters: Stop at so many clusters; at fewer where the next merges are ties.
        threshold: Or stop where no two clusters have a mean Euclidean distance of at most this, in
            the units of the embeddings.

    Returns:
        The cluster of each point [n], from 0 on.

    Raises:
        ValueError: For another shape, NaN or infinite values, or unless exactly one of ``clusters``
            and ``threshold`` is given.

    **Source:** R. R. Sokal & C. D. Michener, *A statistical method for evaluating systematic
    relationships*, 1958; G. Citovsky et al., *Batch Active Learning at Scale*, 2021, algorithm 1,
    arXiv:2107.14263. **Deviations:** none. Time O(n^2 d), memory 8 n^2 bytes: for a few thousand.
    """
    points = as_tensor(embeddings)
    if points.ndim != 2 or len(points) == 0:
        raise ValueError(f"expected embeddings [n >= 1, d], got shape {tuple(points.shape)}")
    if (clusters is None) == (threshold is None):
        raise ValueError(f"expected clusters or a threshold, got {clusters} and {threshold}")
    refuse_rows(~points.isfinite().all(dim=1), "embeddings without NaN or infinity")
    values = points.double().cpu().numpy()
    if len(values) == 1:
        return like(torch.zeros(1, dtype=torch.int64), embeddings)
    largest = np.abs(values).max(initial=0)
    scale = 2.0 ** min(900, -int(np.frexp(largest)[1])) if largest > 0 else 1.0
    tree = linkage(values * scale, "average")  # scaled: squares neither over- nor underflow
    stop = (clusters, "maxclust") if threshold is None else (threshold * scale, "distance")
    labels = fcluster(tree, *stop).astype(np.int64) - 1  # theirs count from 1
    return like(torch.from_numpy(labels), embeddings)


def take_turns(groups: npt.ArrayLike) -> Labels:
    """Returns all positions in the order of a round-robin over groups, the smallest group first.

    In each turn every group that has any left gives its next position: that of the first turn its
    lowest, and so on.

    Args:
        groups: The group of each position [n], integers.

    Returns:
        Positions [n]; groups of one size go in the order of their first positions.

    **Source:** Citovsky et al. 2021, algorithm 2, arXiv:2107.14263.
    """
    _, first, labels, sizes = np.unique(
        np.asarray(groups), return_index=True, return_inverse=True, return_counts=True
    )
    by_group = np.argsort(labels, kind="stable")
    turns = np.empty(len(labels), dtype=np.int64)
    turns[by_group] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.lexsort((first[labels], sizes[labels], turns))
