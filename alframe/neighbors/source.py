"""Where an index reads embeddings from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from alframe.protocols import Array, Rows

_HASHED_AT_ONCE = 2**24  # bytes


class EmbeddingSource(Protocol):
    """Embeddings, row after row, that need not fit into memory."""

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        ...

    @property
    def width(self) -> int:
        """Values of one embedding."""
        ...

    @property
    def key(self) -> str:
        """A hash of what the embeddings are: an index is searched with no others."""
        ...

    def chunks(self, rows_per_chunk: int) -> Iterator[tuple[int, Array]]:
        """Yields the first row of a chunk and its embeddings [m, d], in the order of the rows.

        Args:
            rows_per_chunk: At most so many in a chunk, float16 or float32.
        """
        ...

    def take(self, rows: Rows) -> Array:
        """Returns the embeddings of rows [m] in their order, float32 [m, d]."""
        ...


class ArraySource:
    """The rows of an array, or of a memory-mapped one.

    Args:
        array: Embeddings [n, d], float16 or float32. It must not change.
        key: What identifies them; None = the sha256 of shape, type and bytes.

    Raises:
        ValueError: For another shape or type.
    """

    def __init__(self, array: Array, key: str | None = None) -> None:
        if array.ndim != 2 or array.dtype not in (np.float16, np.float32):
            raise ValueError(
                f"expected float16 or float32 [n, d], got {array.dtype} {list(array.shape)}"
            )
        self._array = array
        self.num_rows, self.width = array.shape
        self.key = key if key is not None else self._hash()

    def chunks(self, rows_per_chunk: int) -> Iterator[tuple[int, Array]]:
        """See `EmbeddingSource.chunks`; the chunks are views."""
        if rows_per_chunk < 1:
            raise ValueError(f"expected 1 or more rows in a chunk, got {rows_per_chunk}")
        for start in range(0, self.num_rows, rows_per_chunk):
            yield start, self._array[start : start + rows_per_chunk]

    def take(self, rows: Rows) -> Array:
        """See `EmbeddingSource.take`.

        Raises:
            IndexError: For what is no row; negative numbers do not count from the end.
        """
        if len(rows) and (rows.min() < 0 or rows.max() >= self.num_rows):
            raise IndexError(
                f"expected rows from 0 to {self.num_rows - 1}, got {rows.min()} to {rows.max()}"
            )
        taken: Array = np.asarray(self._array[rows], dtype=np.float32)
        return taken

    def _hash(self) -> str:
        digest = hashlib.sha256(f"{self._array.shape} {self._array.dtype.str}".encode())
        step = max(1, _HASHED_AT_ONCE // max(1, self._array.itemsize * self.width))
        for _, chunk in self.chunks(step):
            digest.update(np.ascontiguousarray(chunk).data)
        return digest.hexdigest()
