"""A random part of the unlabeled pool, drawn anew in each round."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.pool import Pool
from alframe.protocols import Rows


class RandomSubset:
    """Looks at ``size`` unlabeled rows, or at all of them where fewer are left.

    Args:
        size: A number of rows, or (a float in (0, 1]) a share of what is unlabeled.
    """

    def __init__(self, size: int | float) -> None:
        if size <= 0 or (isinstance(size, float) and size > 1):
            raise UserError(
                f"candidates.size={size}: expected a number of rows, 1 or more, or a share in "
                "(0, 1]; change candidates.size"
            )
        self.size = size

    def rows(self, pool: Pool, rng: np.random.Generator) -> Rows:
        """See `alframe.protocols.Candidates.rows`."""
        unlabeled = pool.unlabeled
        share = isinstance(self.size, float)
        size = max(1, round(self.size * len(unlabeled))) if share else int(self.size)
        return np.sort(rng.choice(unlabeled, min(size, len(unlabeled)), replace=False))
