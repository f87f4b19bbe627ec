"""The neighbors of rows, by an index and the embeddings that it was built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alframe.neighbors.index import NeighborIndex
from alframe.neighbors.source import EmbeddingSource
from alframe.protocols import Array, Rows


class Neighborhood:
    """Looks rows up in a source, and searches an index for those next to them.

    Args:
        index: Built on the source.
        source: Embeddings of the rows of the dataset.
        embeddings: What made them, for records.
        recall: What an audit of the index found, for records.

    Attributes:
        num_rows: How many rows can be found: those of the source that were not dropped.
        embeddings: What made the embeddings.
        recall: What an audit of the index found; empty where search is exact.
        faiss: The version of FAISS, or None where it is not used.
    """

    def __init__(
        self,
        index: NeighborIndex,
        source: EmbeddingSource,
        embeddings: Mapping[str, str] | None = None,
        recall: Mapping[str, Any] | None = None,
    ) -> None:
        self._index, self._source = index, source
        self.embeddings, self.recall = dict(embeddings or {}), dict(recall or {})
        about = index.describe()
        self.num_rows, self.faiss = int(about["indexed"]), about.get("faiss")

    def of(self, rows: Rows, k: int) -> Rows:
        """Returns the ``k`` nearest other rows of each row [m, k], nearest first.

        For rows that have no embedding, which were dropped from the index, they are -1.
        """
        points = self.points(rows)
        known = np.isfinite(points).all(axis=1)
        if self._index.metric == "cosine":
            known &= points.any(axis=1)
        found = np.full((len(rows), k), -1, dtype=np.int64)
        found[known] = self._index.search(points[known], k, exclude=rows[known])[1]
        return found

    def points(self, rows: Rows) -> Array:
        """Returns the embeddings of rows, float32 [m, d]; not finite where a row has none."""
        return self._source.take(rows)

    def describe(self) -> dict[str, Any]:
        """Returns what the index is and is of, as JSON values; versions of libraries aside."""
        return {name: value for name, value in self._index.describe().items() if name != "faiss"}
