"""Diversity by coverage: greedy k-center on the selector's embeddings."""

from __future__ import annotations

import numpy as np

from alframe.functional import kcenter_greedy
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work


class KCenter:
    """Picks, again and again, the candidate farthest from all labeled and picked rows.

    A row's score is the covering radius before it was picked (in units of the embedding), infinite
    for the first pick where nothing is labeled; that pick is the row closest to the mean.

    Needs: embeddings of candidates and labeled rows.
    Cost: time O((n + m) d k) at most, far less where rows are spread unevenly; memory O(n + m)
    beyond the observations (n candidates, m labeled, d width, k picks).

    Source: Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
    Approach" (ICLR 2018), algorithm 1; arXiv:1708.00489.
    Deviations: no mixed-integer refinement of the greedy solution.
    """

    needs: tuple[Need, ...] = (
        Need("embeddings", Scope.CANDIDATES),
        Need("embeddings", Scope.LABELED),
    )
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = False

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        rows = np.union1d(candidates, pool.labeled)
        centers = np.searchsorted(rows, pool.labeled)
        picks, radii = kcenter_greedy(seen.embeddings(rows), size, centers)
        return Query(rows[picks.cpu().numpy()], radii.cpu().numpy())

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Strategy`."""
        # What is asked for is all that was observed, so it is not copied: 16 numbers for each row,
        # and the blocks.
        memory = work.rows * 128 + 2**27
        return Cost(memory, float(work.rows) * work.width * (work.size + work.labeled))
