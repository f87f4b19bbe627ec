"""The values of found pairs in float64, and the best of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_AT_ONCE_CPU, _AT_ONCE_GPU = 2**19, 2**26  # numbers in a temporary
Fetch = Callable[[Tensor], Tensor]
"""Returns the embeddings [m, d], float32, of rows [m]."""


def decide(queries: Tensor, rows: Tensor, fetch: Fetch, metric: str, k: int) -> tuple[Tensor, ...]:
    """Returns the best of each query's rows, decided in float64 and by the lowest row.

    Args:
        queries: [m, d], float32.
        rows: [m, c], distinct in each line; -1 where there is none, but in k places at most c - k.
        fetch: Gives embeddings.
        metric: euclidean, cosine or dot.
        k: How many, at most c.

    Returns:
        Distances or similarities [m, k], float64, best first, and their rows [m, k], and the places
        [m, k] of these in the lines.
    """
    values = torch.empty(rows.shape, dtype=torch.float64, device=rows.device)
    limit = _AT_ONCE_CPU if rows.device.type == "cpu" else _AT_ONCE_GPU
    step = max(1, limit // max(1, rows.shape[1] * queries.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        points = fetch(rows[part].clamp(min=0).flatten()).view(*rows[part].shape, -1)
        values[part] = _similarities(queries[part].double(), points.double(), metric)
    values[rows < 0] = -torch.inf
    by_row = rows.argsort(dim=1)
    order = values.gather(1, by_row).argsort(dim=1, descending=True, stable=True)[:, :k]
    places = by_row.gather(1, order)
    best = values.gather(1, places)
    return (best.neg() if metric == "euclidean" else best), rows.gather(1, places), places


def _similarities(queries: Tensor, points: Tensor, metric: str) -> Tensor:
    """Returns [m, c] for queries [m, d] and points [m, c, d], which may be written to."""
    if metric == "euclidean":
        return points.sub_(queries[:, None]).square_().sum(dim=2).sqrt_().neg_()
    products = torch.bmm(points, queries[:, :, None]).squeeze(2)
    if metric == "cosine":
        lengths = points.square_().sum(dim=2).sqrt_() * queries.norm(dim=1, keepdim=True)
        products /= torch.where(lengths > 0, lengths, 1.0)
    return products
