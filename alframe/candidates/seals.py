"""SEALS: the nearest neighbors of what is labeled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alframe.candidates.near import (
    check_options,
    completed,
    filled,
    looked_for,
    no_labeled_rows,
    too_few,
    unlabeled_of,
)
from alframe.neighbors.protocol import Neighbors
from alframe.pool import Pool
from alframe.protocols import Rows


class Seals:
    """Looks at the unlabeled rows among the ``k`` nearest other rows of each labeled one.

    Rows are searched for when their labels come, and their neighbors are remembered. The candidates
    are a function of the labeled rows (and where they are filled up, of the round's random
    numbers), so that a resumed run, which searches again, looks at the same ones. Then the work of
    a round grows with what is labeled, not with the pool.

    Args:
        neighbors: Finds them, by embeddings of a frozen encoder: these need not be those that the
            strategy sees, which are the selector's.
        k: Neighbors of each labeled row.
        when_short: What is done where the neighbors are fewer than the rows that are asked for:
            ``random`` adds random unlabeled rows up to that number, ``widen`` doubles k for this
            round until they are enough, ``refuse`` ends the run.

    Raises:
        UserError: For another ``k`` or ``when_short``.

    **Source:** C. Coleman et al., *Similarity Search for Efficient Active Learning and Search of
    Rare Concepts*, AAAI 2022, algorithm 1, arXiv:2007.00077. **Deviations:** a row's own entry is
    left out by its number, so that duplicates of it are found.
    """

    def __init__(self, neighbors: Neighbors, k: int = 100, when_short: str = "random") -> None:
        check_options(neighbors, k, when_short)
        self.neighbors = neighbors
        self._k = k
        self._when_short = when_short
        self._known: Rows = np.empty(0, np.int64)  # ascending, searched for already
        self._lists: Rows = np.empty((0, k), np.int64)

    def at_least(self, unlabeled: int) -> int:
        """See `alframe.protocols.Candidates.at_least`."""
        return unlabeled  # however few neighbors there are, what is asked for is given

    def at_most(self, unlabeled: int, labeled: int) -> int:
        """See `alframe.protocols.Candidates.at_most`."""
        return min(unlabeled, self._k * labeled)

    def look_up(self, pool: Pool) -> None:
        """Searches for the rows that are newly labeled: see `alframe.protocols.Candidates`."""
        self._of(pool.queried, pool)

    def rows(self, pool: Pool, size: int, rng: np.random.Generator) -> Rows:
        """See `alframe.protocols.Candidates.rows`."""
        labeled = pool.queried
        if not len(labeled):
            raise no_labeled_rows("seals")
        found = unlabeled_of(self._of(labeled, pool), pool)
        if len(found) >= size:
            return found
        if self._when_short == "random":
            return filled(found, size, pool, rng)
        if self._when_short == "widen":
            return self._widened(labeled, found, size, pool)
        raise too_few(found, size, self._k)

    def _of(self, labeled: Rows, pool: Pool) -> Rows:
        """Returns the lists [m, k] of labeled rows, searching for those that are new."""
        new = np.setdiff1d(labeled, self._known, assume_unique=True)
        for part in _by_round(new, pool):
            rows = np.concatenate([self._known, part])
            lists = np.concatenate([self._lists, self.neighbors.of(part, self._k)])
            order = rows.argsort()
            self._known, self._lists = rows[order], lists[order]
        return self._lists[np.searchsorted(self._known, labeled)]

    def _widened(self, labeled: Rows, found: Rows, size: int, pool: Pool) -> Rows:
        most, k = self.neighbors.num_rows - 1, self._k
        while len(found) < size:
            if k == most:
                return completed(found, size, pool)
            k = min(2 * k, most)
            lists = looked_for(self.neighbors, labeled, k, self._k)
            if lists is None:
                return completed(found, size, pool)
            found = unlabeled_of(lists, pool)
        return found


def _by_round(rows: Rows, pool: Pool) -> Iterator[Rows]:
    """Yields the rows of each round.

    Libraries sum in another order where another number of rows is searched for at once; so a
    resumed run searches for those that an undisturbed one searches for at once.
    """
    rounds = pool.asked[rows]
    yield from (rows[rounds == round_id] for round_id in np.unique(rounds))
