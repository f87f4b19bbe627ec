"""The whole unlabeled pool."""

from __future__ import annotations

import numpy as np

from alframe.pool import Pool
from alframe.protocols import Rows


class All:
    """Looks at every unlabeled row."""

    def at_least(self, unlabeled: int) -> int:
        """See `alframe.protocols.Candidates.at_least`."""
        return unlabeled

    def at_most(self, unlabeled: int, labeled: int) -> int:  # noqa: ARG002
        """See `alframe.protocols.Candidates.at_most`."""
        return unlabeled

    def rows(self, pool: Pool, size: int, rng: np.random.Generator) -> Rows:  # noqa: ARG002
        """See `alframe.protocols.Candidates.rows`."""
        return pool.unlabeled
