"""SEALS: the nearest neighbors of what is labeled."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.neighbors.protocol import Neighbors
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import Rows

SHORT = ("random", "widen", "refuse")


class Seals:
    """Looks at the unlabeled rows among the ``k`` nearest other rows of each labeled one.

    Only newly labeled rows are searched for; those of earlier rounds are remembered. The candidates
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
        check_whole("candidates.k", k, at_least=1)
        if k >= neighbors.num_rows:
            raise UserError(
                f"candidates.k={k}: expected at most {neighbors.num_rows - 1}, the other rows of "
                f"the {neighbors.num_rows} in the index; lower candidates.k"
            )
        if when_short not in SHORT:
            raise UserError(
                f"candidates.when_short={when_short}: expected one of {', '.join(SHORT)}"
            )
        self._neighbors = neighbors
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

    def rows(self, pool: Pool, size: int, rng: np.random.Generator) -> Rows:
        """See `alframe.protocols.Candidates.rows`."""
        labeled = pool.queried
        if not len(labeled):
            raise UserError(
                "candidates=seals looks at the neighbors of labeled rows: expected some, got none; "
                "use pipeline=active_learning, or set candidates=all"
            )
        found = _unlabeled(self._of(labeled), pool)
        if len(found) >= size:
            return found
        if self._when_short == "random":
            return _filled(found, size, pool, rng)
        if self._when_short == "widen":
            return self._widened(labeled, size, pool)
        raise UserError(
            f"candidates.k={self._k}: expected {size} unlabeled neighbors of the {len(labeled)} "
            f"labeled rows, got {len(found)}; raise candidates.k, or set "
            "candidates.when_short=random"
        )

    def _of(self, labeled: Rows) -> Rows:
        """Returns the lists [m, k] of labeled rows, searching for those that are new."""
        new = np.setdiff1d(labeled, self._known, assume_unique=True)
        if len(new):
            rows = np.concatenate([self._known, new])
            lists = np.concatenate([self._lists, self._neighbors.of(new, self._k)])
            order = rows.argsort()
            self._known, self._lists = rows[order], lists[order]
        return self._lists[np.searchsorted(self._known, labeled)]

    def _widened(self, labeled: Rows, size: int, pool: Pool) -> Rows:
        most = self._neighbors.num_rows - 1
        k, found = self._k, np.empty(0, np.int64)
        while len(found) < size:
            if k == most:  # an approximate index may never find all
                unlabeled = pool.unlabeled
                missing = np.setdiff1d(unlabeled, found, assume_unique=True)
                return np.sort(np.concatenate([found, missing[: size - len(found)]]))
            k = min(2 * k, most)
            found = _unlabeled(self._neighbors.of(labeled, k), pool)
        return found


def _unlabeled(lists: Rows, pool: Pool) -> Rows:
    """Returns the distinct unlabeled rows of neighbor lists, ascending."""
    rows = np.unique(lists)
    rows = rows[rows >= 0]
    return rows[pool.is_unlabeled(rows)]


def _filled(found: Rows, size: int, pool: Pool, rng: np.random.Generator) -> Rows:
    others = np.setdiff1d(pool.unlabeled, found, assume_unique=True)
    count = min(size - len(found), len(others))
    return np.sort(np.concatenate([found, rng.choice(others, count, replace=False)]))
