"""Passive learning: every candidate is as likely as any other."""

from __future__ import annotations

import numpy as np

from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work


class Random:
    """Draws rows uniformly, without replacement: the baseline of every comparison.

    Needs: nothing, no model.
    Cost: time O(n), memory O(n) (n candidates).
    """

    needs: tuple[Need, ...] = ()
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = True

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,  # noqa: ARG002
        seen: Observations,  # noqa: ARG002
        rng: np.random.Generator,
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        return Query(rng.choice(candidates, size, replace=False))

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Strategy`."""
        return Cost(16 * work.candidates, float(work.candidates))
