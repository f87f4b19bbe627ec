"""What a candidate rule asks of an index of embeddings."""

from __future__ import annotations

from typing import Protocol

from alframe.protocols import Array, Rows


class Neighbors(Protocol):
    """Which rows lie next to which, by embeddings that no fit of the run changes."""

    @property
    def num_rows(self) -> int:
        """How many rows there are to be found."""
        ...

    def of(self, rows: Rows, k: int) -> Rows:
        """Returns the ``k`` nearest other rows of each row [m, k], nearest first.

        They are -1 for rows that have no embedding.

        Raises:
            TooFewFoundError: Where an approximate index cannot find so many, see
                `alframe.neighbors.index`.
        """
        ...

    def points(self, rows: Rows) -> Array:
        """Returns the embeddings of rows, float32 [m, d]; not finite where a row has none."""
        ...
