"""A wrapper: no pick is nearly the same as another."""

from __future__ import annotations

import numpy as np

from alframe.functional.distinct import distinct_rows
from alframe.limits import estimate
from alframe.options import check_range
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, Query, Rows, Scope, Strategy, Work


class Distinct:
    """Leaves out rows that are nearly equal to an earlier pick or a labeled row.

    The strategy inside picks; of its picks, best first, those whose cosine similarity to a row that
    was kept or is labeled reaches ``similarity`` are left out, and it is asked again for as many
    from the candidates that are left. Where all candidates are used up, the rows that were left
    out come last, in the order in which they were picked.

    Needs: what the strategy inside needs, and embeddings of candidates and labeled rows.
    Cost: that of the strategy inside, once for every time that it is asked; time O(k (k + m) d),
    memory O((k + m) d) beyond the observations (m labeled, d width, k picks).

    Source: the threshold on the cosine of embeddings is that of Abbas et al., "SemDeDup" (2023),
    section 3; arXiv:2303.09540.
    Deviations: 1. picks are compared, not the whole pool, so that nothing is paid for rows that no
    one wants. 2. Weights and scores of the strategy inside are not kept.

    Args:
        strategy: The strategy inside.
        similarity: Cosine from which on two rows are the same, in [0, 1].
    """

    def __init__(self, strategy: Strategy, similarity: float = 0.99) -> None:
        check_range("strategy.similarity", similarity, 0, 1)
        self.inner, self.similarity = strategy, float(similarity)
        self._own = (Need("embeddings", Scope.CANDIDATES), Need("embeddings", Scope.LABELED))
        self.needs = (*strategy.needs, *self._own)
        self.pipelines = strategy.pipelines
        self.stochastic = strategy.stochastic

    def select(
        self, size: int, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        mine, inside = seen.of(self._own), seen.of(self.inner.needs)
        kept, out, left = candidates[:0], candidates[:0], candidates
        while len(kept) < size and len(left):
            wanted = min(size - len(kept), len(left))
            picks = self.inner.select(wanted, left, pool, inside, rng).rows
            left = np.setdiff1d(left, picks, assume_unique=True)
            known = mine.embeddings(np.concatenate([pool.labeled, kept]))
            marks = distinct_rows(mine.embeddings(picks), self.similarity, known).cpu().numpy()
            kept, out = np.concatenate([kept, picks[marks]]), np.concatenate([out, picks[~marks]])
        return Query(np.concatenate([kept, out])[:size])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: as if the strategy inside were asked three times."""
        inside = estimate(self.inner, work)
        compared = work.size + work.labeled
        memory = 40 * compared * work.width + 96 * work.rows + 2**26
        own = float(compared) * work.size * work.width
        return Cost(inside.bytes + memory, 3 * inside.operations + own)
