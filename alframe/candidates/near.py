"""What rules that look near labeled rows have in common."""

from __future__ import annotations

import logging

import numpy as np

from alframe.errors import UserError
from alframe.neighbors.index import TooFewFoundError
from alframe.neighbors.protocol import Neighbors
from alframe.options import check_whole
from alframe.pool import Pool, distinct
from alframe.protocols import Rows

log = logging.getLogger(__name__)
SHORT = ("random", "widen", "refuse")


def check_options(neighbors: Neighbors, k: int, when_short: str) -> None:
    """Raises `UserError` for neighbors that there are not, and for another ``when_short``."""
    check_whole("candidates.k", k, at_least=1)
    if k >= neighbors.num_rows:
        raise UserError(
            f"candidates.k={k}: expected at most {neighbors.num_rows - 1}, the other rows of "
            f"the {neighbors.num_rows} in the index; lower candidates.k"
        )
    if when_short not in SHORT:
        raise UserError(f"candidates.when_short={when_short}: expected one of {', '.join(SHORT)}")


def no_labeled_rows(name: str) -> UserError:
    """Returns the mistake of a rule that has no labeled rows to look near."""
    return UserError(
        f"candidates={name} looks at the neighbors of labeled rows: expected some, got none; "
        "use pipeline=active_learning, or set candidates=all"
    )


def unlabeled_of(lists: Rows, pool: Pool) -> Rows:
    """Returns the distinct unlabeled rows of neighbor lists (-1 = none), ascending."""
    rows = distinct(lists)
    rows = rows[rows >= 0]
    return rows[pool.is_unlabeled(rows)]


def filled(found: Rows, size: int, pool: Pool, rng: np.random.Generator) -> Rows:
    """Returns ``found``, ascending, with random unlabeled rows up to ``size``."""
    others = np.setdiff1d(pool.unlabeled, found, assume_unique=True)
    count = min(size - len(found), len(others))
    log.info("%d neighbors are fewer than %d: %d random rows are added", len(found), size, count)
    return np.sort(np.concatenate([found, rng.choice(others, count, replace=False)]))


def looked_for(neighbors: Neighbors, rows: Rows, k: int, asked: int) -> Rows | None:
    """Returns the neighbors [m, k] of rows, or None where a widened search cannot find so many.

    Args:
        neighbors: Finds them.
        rows: Labeled ones [m].
        k: How many.
        asked: What the config asks for; more is a widened search.

    Raises:
        TooFewFoundError: If what the config asks for cannot be found.
    """
    try:
        return neighbors.of(rows, k)
    except TooFewFoundError as error:
        if k <= asked:
            raise
        log.warning("the search is not widened to %d neighbors: %s", k, error)
        return None


def completed(found: Rows, size: int, pool: Pool) -> Rows:
    """Returns ``found`` with the lowest other unlabeled rows up to ``size``, ascending.

    For where neighbors run out: rows that were dropped from the index are nobody's neighbors, and
    an approximate index may not find all.
    """
    missing = np.setdiff1d(pool.unlabeled, found, assume_unique=True)
    return np.sort(np.concatenate([found, missing[: size - len(found)]]))


def too_few(found: Rows, size: int, k: int) -> UserError:
    """Returns the mistake of asking for more rows than there are neighbors."""
    return UserError(
        f"candidates.k={k}: expected {size} unlabeled neighbors of labeled rows, got "
        f"{len(found)}; raise candidates.k, or set candidates.when_short=random"
    )
