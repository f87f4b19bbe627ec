"""Diverse and uncertain at once: k-means++ on the gradients of the last layer."""

from __future__ import annotations

import numpy as np

from alframe.functional.badge import badge_select
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work


class Badge:
    """Draws rows whose last-layer gradients are long (uncertain) and differ (diverse).

    The gradient of row i is (p_i - e_y) times its embedding, with the predicted label y. Each row
    is drawn with a probability in proportion to the squared distance of its gradient to the nearest
    one that was picked before: k-means++ seeding. The first pick is the longest gradient.

    Needs: class probabilities and embeddings of candidates and labeled rows (of the candidates
    alone without ``labeled_as_centers``).
    Cost: time O((n + m) (c + d) k), memory O((n + m) c) beyond the observations; gradients, which
    have c d values each, are never built (n candidates, m labeled, d width, k picks, c classes).

    Source: Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds"
    (ICLR 2020), algorithm 1; arXiv:1906.03671.
    Deviations: 1. k-means++ draws its first row uniformly; the authors' code takes the longest
    gradient, and so does this. 2. With ``labeled_as_centers`` the labeled rows are centers from the
    start, so that what resembles them waits; each costs as much as a pick. The paper forgets them,
    and so does the default. 3. In core-set selection the predicted label stands for the true one,
    as in active learning.

    Args:
        labeled_as_centers: Whether labeled rows count as picked before.
    """

    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = True

    def __init__(self, labeled_as_centers: bool = False) -> None:
        self.labeled_as_centers = labeled_as_centers
        scope = Scope.POOL if labeled_as_centers else Scope.CANDIDATES
        self.needs = (Need("probs", scope), Need("embeddings", scope))

    def select(
        self, size: int, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        known = pool.labeled if self.labeled_as_centers else candidates[:0]
        rows = np.union1d(candidates, known)
        picks = badge_select(
            seen.probs(rows), seen.embeddings(rows), size, rng, np.searchsorted(rows, known)
        )
        return Query(rows[picks.cpu().numpy()])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: residuals and some vectors."""
        rows = work.rows if self.labeled_as_centers else work.candidates
        memory = rows * (24 * work.outputs + 128) + 2**25
        picks = work.size + (work.labeled if self.labeled_as_centers else 0)
        return Cost(memory, float(rows) * (work.width + work.outputs) * picks)
