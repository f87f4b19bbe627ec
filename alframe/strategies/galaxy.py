"""For imbalanced pools: bisection between labeled rows of different classes, each class in turn."""

from __future__ import annotations

import numpy as np

from alframe.functional.galaxy import galaxy_bisect
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work


class Galaxy:
    """Looks for each class's true threshold among the labels, rather than trusting the model's.

    For each class k all observed rows stand on a line, sorted by p_k - max p. Where the classes are
    very unequal the model's own threshold is off, and the rows nearest to it are all of the large
    class. The classes take turns, and each asks for the middle of the shortest gap on its line
    between a labeled row of the class and one of another (S2's shortest shortest path). Where all
    such gaps are closed it asks for the rows nearest to where the labels change, on both sides.

    Needs: class probabilities of candidates and labeled rows; the labels of labeled rows, therefore
    it is defined for active learning only. It gives no scores.
    Cost: time O(c (n + m) log(n + m) + k (m + k)), memory 8 c (n + m) + 9 c (m + k) bytes beyond
    the observations (n candidates, m labeled, k picks, c labels).

    Source: Zhang, Katz-Samuels & Nowak, "GALAXY: Graph-based Active Learning at the Extreme"
    (ICML 2022); arXiv:2202.01402.
    Deviations: 1. the paper asks for one label at a time within a round, and bisects with it; here
    all labels of a query come together, so a query divides each gap into equal parts, the next one
    goes on in the part where the labels change, and nothing is assumed of rows that were picked.
    With a query size of 1 the picks are the paper's (but the model is trained after each).
    2. Where a class has no labeled row (or only one class has any, or no row is labeled) the row
    that is likeliest to be of it is taken, where the paper draws at random. 3. The order of a graph
    grows class by class and only for the pick that needs it, see `alframe.functional.galaxy`.
    """

    needs: tuple[Need, ...] = (Need("probs", Scope.POOL),)
    pipelines: frozenset[PipelineName] = frozenset({"active_learning"})
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
        known = np.searchsorted(rows, pool.labeled)
        labels = pool.labels(pool.labeled) if len(known) else known
        picks = galaxy_bisect(seen.probs(rows), known, labels, size)
        return Query(rows[picks.cpu().numpy()])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: the lines, and one column of them while it is sorted."""
        taken = work.labeled + work.size
        lines = work.outputs * (8 * work.rows + 9 * taken)
        sorts = work.outputs * work.rows * np.log2(max(work.rows, 2))
        picks = 16.0 * work.size * taken
        return Cost(lines + 64 * work.rows + 200 * taken + 2**20, float(sorts + picks))
