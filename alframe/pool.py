"""The pool: which rows may be asked for, which were, and what the oracle said."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alframe.protocols import Array, Rows

NEVER = -1


def distinct(*parts: Rows) -> Rows:
    """Returns the distinct rows of some arrays, ascending.

    As np.unique does, which hashes: that takes 100 times as long for millions of rows (numpy 2.4).
    """
    rows = np.sort(np.concatenate([part.ravel() for part in parts]), kind="stable")
    return rows[np.diff(rows, prepend=rows[:1] - 1) > 0]


class Pool:
    """The state of every training row, by row number.

    Training labels come from here and from nowhere else, so that hidden labels cannot leak.

    Attributes:
        eligible: bool [n], rows that may be queried (not validation, not put aside).
        asked: int32 [n], the round in which the row was queried, or -1.
        acquired: int32 [n], the round in which its label came, or -1.
    """

    def __init__(self, num_rows: int, eligible: Rows) -> None:
        self.eligible = np.zeros(num_rows, dtype=bool)
        self.eligible[eligible] = True
        self.asked = np.full(num_rows, NEVER, dtype=np.int32)
        self.acquired = np.full(num_rows, NEVER, dtype=np.int32)
        self._queried: Rows = np.empty(0, dtype=np.int64)  # kept, as a pool may be large
        self._known = np.zeros(num_rows, dtype=bool)
        self._labels: Array | None = None

    @property
    def labeled(self) -> Rows:
        """Rows that have a label, ascending."""
        return np.flatnonzero(self.acquired != NEVER)

    @property
    def unlabeled(self) -> Rows:
        """Eligible rows that were never asked for, ascending.

        In core-set selection these are all rows: their labels are known, but none was picked.
        """
        return np.flatnonzero(self.eligible & (self.asked == NEVER))

    @property
    def queried(self) -> Rows:
        """Rows that were ever asked for, ascending; between two rounds all of them are labeled.

        They cannot be written to.
        """
        return self._queried

    def is_unlabeled(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Tells for each row whether it is among the unlabeled ones."""
        unlabeled: npt.NDArray[np.bool_] = self.eligible[rows] & (self.asked[rows] == NEVER)
        return unlabeled

    @property
    def awaiting(self) -> Rows:
        """Rows that were asked for and have no label yet, ascending."""
        return np.flatnonzero((self.asked != NEVER) & (self.acquired == NEVER))

    def labels(self, rows: Rows) -> Array:
        """Returns the labels that the oracle gave for ``rows``.

        Raises:
            KeyError: If one of the rows has no known label.
        """
        hidden = rows[~self._known[rows]]
        if len(hidden) or self._labels is None:
            raise KeyError(f"{len(hidden)} rows have no label yet, the first is {hidden[:1]}")
        return self._labels[rows]

    def ask(self, rows: Rows, round_id: int) -> None:
        """Marks rows as queried in ``round_id``.

        Raises:
            ValueError: If a row is not eligible, comes twice, or was asked before.
        """
        if len(np.unique(rows)) != len(rows):
            raise ValueError("a query holds the same row twice")
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.eligible):
            raise ValueError(f"rows from {rows.min()} to {rows.max()} are not all row numbers")
        refused = rows[~self.eligible[rows] | (self.asked[rows] != NEVER)]
        if len(refused):
            raise ValueError(
                f"{len(refused)} rows are not eligible or were asked before: {refused[:5]}"
            )
        self.asked[rows] = round_id
        self._queried = distinct(self._queried, rows)
        self._queried.flags.writeable = False

    def label(self, rows: Rows, labels: Array, round_id: int) -> None:
        """Takes the oracle's answer.

        Raises:
            ValueError: If a row was not asked for, already has a label, or lengths differ.
        """
        if len(rows) != len(labels) or len(np.unique(rows)) != len(rows):
            raise ValueError(f"{len(rows)} rows came with {len(labels)} labels, or a row twice")
        refused = rows[(self.asked[rows] == NEVER) | (self.acquired[rows] != NEVER)]
        if len(refused):
            raise ValueError(
                f"{len(refused)} rows were not asked for or are labeled already: {refused[:5]}"
            )
        self.disclose(rows, labels)
        self.acquired[rows] = round_id

    def disclose(self, rows: Rows, labels: Array) -> None:
        """Takes labels that are known from the start, as in core-set selection.

        Unlike after `label`, the rows stay candidates.
        """
        if self._labels is None:
            self._labels = np.zeros((len(self.asked), *labels.shape[1:]), dtype=labels.dtype)
        self._labels[rows] = labels
        self._known[rows] = True
