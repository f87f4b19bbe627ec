"""D2 pruning: difficulty passed forward, and back, along a graph of nearest neighbors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch

from alframe.functional.arrays import ArrayT, as_numpy, as_tensor, like, refuse_rows
from alframe.functional.topk import pairwise_topk

Floats = npt.NDArray[np.float64]


def d2_greedy(
    embeddings: ArrayT,
    scores: ArrayT,
    size: int,
    neighbors: int = 10,
    *,
    gamma_forward: float = 1.0,
    gamma_reverse: float = 1.0,
) -> tuple[ArrayT, ArrayT]:
    """Picks difficult points in dense regions, and after each pick something unlike it.

    The graph joins each point with its nearest neighbors, in both directions. First every point
    gets messages: s_i += sum over its neighbors j of exp(-gamma_forward d_ij^2) s_j. Then the point
    of the highest score is picked again and again, ties to the lowest position, and sends messages
    back: s_j -= exp(-gamma_reverse d_ij^2) s_i for each neighbor j.

    Args:
        embeddings: Points [n, d], any real dtype.
        scores: How difficult each point is [n], higher = sooner; see the deviations.
        size: How many points to pick, in 0 .. n.
        neighbors: Nearest neighbors by Euclidean distance for each point, 1 or more.
        gamma_forward: How fast forward messages fall with distance, 0 or more.
        gamma_reverse: How fast messages back fall with distance, 0 or more.

    Returns:
        Positions [size] (int64, distinct, in pick order), and their scores when they were picked
        (float64, never rising, 1 = the highest score before any message). Time O(n^2 d) for the
        neighbors and O(neighbors + sqrt(n)) a pick, memory O(n * neighbors).

    Raises:
        ValueError: For other shapes, NaN, infinite embeddings, or numbers out of range.

    **Source:** A. Maharana, P. Yadav & M. Bansal, *D2 Pruning: Message Passing for Balancing
    Diversity and Difficulty in Data Pruning*, ICLR 2024, arXiv:2310.07931. **Deviations:** 1.
    distances are divided by their median over the graph's edges, so that the gammas do not depend
    on the embedding's scale. 2. Scores are divided by the largest; where some are negative the
    smallest is taken from all before; infinite ones count as the largest finite one; scores that
    are all equal count as 1. 3. A pick whose score has fallen below 0 sends no message: taking a
    negative score away would draw the next picks to its neighbors.
    """
    n = len(embeddings)
    if scores.shape != (n,) or neighbors < 1 or not 0 <= size <= n:
        raise ValueError(
            f"expected scores [{n}], neighbors >= 1 and a size from 0 to {n}, got shape "
            f"{scores.shape}, {neighbors} and {size}"
        )
    if not (0 <= gamma_forward < math.inf and 0 <= gamma_reverse < math.inf):
        raise ValueError(f"expected gammas of 0 or more, got {gamma_forward} and {gamma_reverse}")
    refuse_rows(as_tensor(scores).isnan(), "scores without NaN")
    graph = _graph(embeddings, min(neighbors, max(n - 1, 0)))
    # The graph holds 1 + d^2, see there.
    forward = scipy.sparse.csr_array(
        (np.exp(gamma_forward * (1 - graph.data)), graph.indices, graph.indptr), graph.shape
    )
    values = _between_0_and_1(as_numpy(scores))
    values = values + forward @ values
    del forward
    graph.data = np.exp(gamma_reverse * (1 - graph.data))
    rows, gains = (torch.from_numpy(part) for part in _greedy(values, graph, size))
    return like(rows, embeddings), like(gains, embeddings)


def _graph(embeddings: ArrayT, k: int) -> Any:
    """Returns 1 + d^2 of each edge as a symmetric sparse matrix; the median of d is 1.

    It is the mean where most edges join copies. Plus 1, because a sparse matrix takes a 0, the
    distance of copies, for no edge.
    """
    distances, near = (
        as_numpy(values) for values in pairwise_topk(embeddings, embeddings, k, exclude_self=True)
    )
    n = len(near)
    distances = distances.clip(max=np.finfo(np.float64).max)
    distances /= distances.max(initial=0) or 1.0
    unit = (float(np.median(distances)) or float(distances.mean())) if distances.size else 0.0
    squares = (distances / (unit or 1.0)).clip(max=1e150) ** 2
    starts = np.arange(n + 1) * k
    directed = scipy.sparse.csr_array((1 + squares.ravel(), near.ravel(), starts), (n, n))
    return directed.maximum(directed.T.tocsr())


def _between_0_and_1(scores: npt.NDArray[Any]) -> Floats:
    """Returns finite scores of 0 or more of which the largest is 1."""
    values = scores.astype(np.float64)
    finite = np.isfinite(values)
    values = values.clip(values[finite].min(), values[finite].max()) if finite.any() else 0 * finite
    values = values / (np.abs(values).max(initial=0) or 1.0)  # so that no difference is infinite
    values = values - min(values.min(initial=0), 0)
    return values / values.max() if values.max(initial=0) > 0 else np.ones(len(values))


def _greedy(scores: Floats, weights: Any, size: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Picks the largest of values that only fall, by blocks of about sqrt(n) with a bound for each.

    A bound is what was the largest of its block when it was last looked at.
    """
    width = max(1, math.isqrt(len(scores)))
    values = np.full(-(-len(scores) // width) * width, -np.inf)
    values[: len(scores)] = scores
    blocks = values.reshape(-1, width)
    bounds = blocks.max(axis=1) if len(blocks) else np.empty(0)
    rows, gains = np.zeros(size, dtype=np.int64), np.zeros(size)
    for i in range(size):
        while True:
            block = int(bounds.argmax())
            place = int(blocks[block].argmax())
            top = blocks[block, place]
            if top == bounds[block]:  # argmax gives the first of equals: ties to the lowest
                break
            bounds[block] = top
        row = block * width + place
        rows[i], gains[i] = row, top
        values[row] = -np.inf
        if top > 0:
            edges = slice(weights.indptr[row], weights.indptr[row + 1])
            values[weights.indices[edges]] -= weights.data[edges] * top
    return rows, gains
