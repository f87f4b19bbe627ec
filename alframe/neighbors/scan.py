"""One pass over a source before it is indexed: which rows are bad, and how large the values are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alframe.errors import UserError
from alframe.functional.arrays import as_tensor
from alframe.neighbors.index import first_few
from alframe.neighbors.source import EmbeddingSource
from alframe.protocols import Rows

log = logging.getLogger(__name__)
CHUNK_BYTES = 2**26  # of one chunk in float32: the memory that streaming takes, several times over


@dataclass(frozen=True)
class Scan:
    """What one pass over a source saw.

    Attributes:
        invalid: Rows [b], ascending, that are left out.
        mean: Of the other rows, float64 [d].
        largest: Their largest absolute value.
    """

    invalid: Rows
    mean: Tensor
    largest: float


def chunk_rows(width: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """Returns how many rows of float32 a chunk has."""
    return max(1, chunk_bytes // (4 * max(1, width)))


def float_chunks(
    source: EmbeddingSource, rows_per_chunk: int, span: range | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yields the first row and the embeddings [m, d] of each chunk, float32, not to be changed.

    Args:
        source: The embeddings.
        rows_per_chunk: At most so many.
        span: The rows that are wanted, None = all.
    """
    span = range(source.num_rows) if span is None else span
    for start, chunk in source.chunks(rows_per_chunk):
        low, high = max(start, span.start), min(start + len(chunk), span.stop)
        if low < high:
            yield low, as_tensor(chunk[low - start : high - start]).float()


def scan(source: EmbeddingSource, metric: str, drop_invalid: bool) -> Scan:
    """Reads a source once.

    Args:
        source: The embeddings.
        metric: Zero rows are bad under cosine.
        drop_invalid: Leave bad rows out, with a warning, instead of refusing them.

    Raises:
        UserError: For bad rows that are not dropped, or where no good row is left.
    """
    bad, largest = [np.empty(0, np.int64)], 0.0
    total = torch.zeros(source.width, dtype=torch.float64)
    for start, chunk in float_chunks(source, chunk_rows(source.width)):
        wrong = ~chunk.isfinite().all(dim=1)
        if metric == "cosine":
            wrong |= ~chunk.any(dim=1)
        if bool(wrong.any()):
            bad.append(start + wrong.nonzero().flatten().numpy())
            chunk = chunk[~wrong]
        if chunk.numel():
            total += chunk.sum(dim=0, dtype=torch.float64)
            largest = max(largest, *(abs(float(end)) for end in chunk.aminmax()))
    invalid = np.concatenate(bad)
    _judge(source, metric, invalid, drop_invalid)
    return Scan(invalid, total / (source.num_rows - len(invalid)), largest)


def _judge(source: EmbeddingSource, metric: str, invalid: Rows, drop_invalid: bool) -> None:
    good = "finite and nonzero embeddings (index.metric=cosine)"
    words = (
        f"expected {good if metric == 'cosine' else 'finite embeddings'}, got {len(invalid)} bad "
        f"rows of {source.num_rows}"
    )
    if len(invalid) == source.num_rows:
        raise UserError(f"{words}: there is nothing to index; give embeddings with rows")
    if len(invalid) and not drop_invalid:
        raise UserError(
            f"{words}: {first_few(invalid)}; embed these rows again, or set index.drop_invalid=true"
        )
    if len(invalid):
        log.warning("%s: %s; they are never found", words, first_few(invalid))


def unit_rows(points: Tensor) -> Tensor:
    """Returns float32 [m, d] scaled to length 1, whatever their lengths; zero rows stay zero."""
    lengths = torch.linalg.vector_norm(points, dim=1, keepdim=True, dtype=torch.float64)
    lengths = torch.where(lengths > 0, lengths, 1.0)
    if bool(((lengths > 1e-18) & (lengths < 1e18)).all()):
        return points * lengths.reciprocal().float()
    return (points.double() / lengths).float()
