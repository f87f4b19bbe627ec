"""Passive learning: every candidate is as likely as any other."""

from __future__ import annotations

import numpy as np

from alframe.pool import Pool
from alframe.protocols import Need, Observations, PipelineName, Query, Rows


class Random:
    """Draws rows uniformly, without replacement: the baseline of every comparison.

    Needs no model; time and memory O(candidates).
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
