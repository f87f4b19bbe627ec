"""A random part of the unlabeled pool, drawn anew in each round."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.options import is_number, is_whole
from alframe.pool import Pool
from alframe.protocols import Rows


class RandomSubset:
    """Looks at ``size`` unlabeled rows, or at all of them where fewer are left.

    Args:
        size: A number of rows, or (a float in (0, 1]) a share of what is unlabeled.
    """

    def __init__(self, size: int | float) -> None:
        rows = is_whole(size) and size >= 1
        share = is_number(size) and not is_whole(size) and 0 < size <= 1
        if not (rows or share):
            raise UserError(
                f"candidates.size={size}: expected a number of rows, 1 or more, or a share in "
                "(0, 1]; change candidates.size"
            )
        self.size = size

    def at_least(self, unlabeled: int) -> int:
        """See `alframe.protocols.Candidates.at_least`."""
        if isinstance(self.size, float):
            return min(max(1, round(self.size * unlabeled)), unlabeled)
        return min(self.size, unlabeled)

    def at_most(self, unlabeled: int, labeled: int) -> int:  # noqa: ARG002
        """See `alframe.protocols.Candidates.at_most`."""
        return self.at_least(unlabeled)

    def rows(self, pool: Pool, size: int, rng: np.random.Generator) -> Rows:  # noqa: ARG002
        """See `alframe.protocols.Candidates.rows`."""
        unlabeled = pool.unlabeled
        return np.sort(rng.choice(unlabeled, self.at_least(len(unlabeled)), replace=False))
