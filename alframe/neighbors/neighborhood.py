"""The neighbors of rows, by an index and the embeddings that it was built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alframe.neighbors.index import NeighborIndex
from alframe.neighbors.source import EmbeddingSource
from alframe.protocols import Rows


class Neighborhood:
    """Looks rows up in a source, and searches an index for those next to them.

    Args:
        index: Built on the source.
        source: Embeddings of the rows of the dataset.
        recall: What an audit of the index found, for records.

    Attributes:
        num_rows: How many rows the source holds.
    """

    def __init__(
        self, index: NeighborIndex, source: EmbeddingSource, recall: Mapping[str, Any] | None = None
    ) -> None:
        self._index, self._source = index, source
        self._recall = dict(recall or {})
        self.num_rows = source.num_rows

    def of(self, rows: Rows, k: int) -> Rows:
        """Returns the ``k`` nearest other rows of each row [m, k], nearest first."""
        return self._index.search(self._source.take(rows), k, exclude=rows)[1]

    def describe(self) -> dict[str, Any]:
        """Returns what the index is and what it is of, as JSON values."""
        return {**self._index.describe(), "recall": self._recall}
