"""A wrapper: no pick is nearly the same as another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alframe.functional.distinct import distinct_rows
from alframe.limits import estimate
from alframe.options import check_range
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, Query, Rows, Scope, Strategy, Work


class Distinct:
    """Leaves out rows that are nearly equal to an earlier pick or a labeled row.

    The strategy inside picks; of its picks, best first, those whose cosine similarity to a row that
    was kept or is labeled reaches ``similarity`` are left out. While there are too few, it is asked
    again from the start, for twice as many, without the candidates that were left out. Where the
    candidates are used up, the rows that were left out come last, in the order in which they were.

    Needs: what the strategy inside needs, and embeddings of candidates and labeled rows.
    Cost: that of the strategy inside, once for every time that it is asked, of which there are at
    most log2(n / k) + 2; time O(k (k + m) d), memory O((k + m) d) beyond the observations (n
    candidates, m labeled, d width, k picks).

    Source: the threshold on the cosine of embeddings is that of Abbas et al., "SemDeDup" (2023),
    section 3; arXiv:2303.09540.
    Deviations: 1. picks are compared, not the whole pool, so that nothing is paid for rows that no
    one wants. 2. Scores of the strategy inside are not kept; its weights are, but they are those
    that it gave before rows were left out.

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
        known = mine.embeddings(pool.labeled)
        out, left, wanted = candidates[:0], candidates, size
        while True:
            query = self.inner.select(min(wanted, len(left)), left, pool, inside, rng)
            marks = distinct_rows(mine.embeddings(query.rows), self.similarity, known)
            kept = marks.cpu().numpy()
            if kept.sum() >= size or len(query.rows) == len(left):
                break
            out = np.concatenate([out, query.rows[~kept]])
            left = np.setdiff1d(left, query.rows[~kept], assume_unique=True)
            wanted *= 2
        last = np.concatenate([out, query.rows[~kept]])
        rows = np.concatenate([query.rows[kept], last])[:size]
        if query.weights is None:
            return Query(rows)
        weights = np.concatenate([query.weights[kept], np.full(len(last), query.weights.mean())])
        return Query(rows, weights=weights[:size])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: as if it were asked for one, two and four times as many."""
        inside = estimate(self.inner, replace(work, size=min(4 * work.size, work.candidates)))
        compared = min(4 * work.size, work.candidates) + work.labeled
        memory = 40 * compared * work.width + 96 * work.rows + 2**26
        own = float(compared) * work.size * work.width
        return Cost(inside.bytes + memory, 3 * inside.operations + own)
