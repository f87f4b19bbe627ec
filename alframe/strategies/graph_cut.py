"""Representation without repetition: similar to all rows, dissimilar to one another."""

from __future__ import annotations

from typing import Literal

import numpy as np

from alframe.errors import UserError
from alframe.functional.graph_cut import METRICS, graph_cut_greedy
from alframe.options import is_number
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work


class GraphCut:
    """Picks candidates that are similar to all observed rows and not to picked or labeled ones.

    Maximizes f(S) = sum over all i and j in S of s(i, j) - trade_off * sum over i and j in S of
    s(i, j) greedily, S being the picks and the labeled rows. A row's score is by how much it raised
    f; scores fall.

    Needs: embeddings of candidates and labeled rows.
    Cost: time O((n + m) d) for each of the k picks at most, memory O(n + m) beyond the observations
    (n candidates, m labeled, d width); with metric=euclidean O((n + m)^2 d) at the start.

    Source: Iyer & Bilmes, "Submodular optimization with submodular cover and submodular knapsack
    constraints" (NeurIPS 2013), arXiv:1311.2106, for the function; as a core-set Guo, Zhao & Bai,
    "DeepCore" (DEXA 2022), arXiv:2204.08499.
    Deviations: labeled rows belong to S from the start; all labels together, where DeepCore cuts
    each class on its own (wrap it in class_balance for that).

    Args:
        trade_off: How much similarity among picks costs, 0 or more; up to 1/2 f never falls where
            no similarity is negative.
        metric: ``cosine``, ``dot``, ``euclidean`` or ``sqeuclidean``.
    """

    needs: tuple[Need, ...] = (
        Need("embeddings", Scope.CANDIDATES),
        Need("embeddings", Scope.LABELED),
    )
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = False

    def __init__(
        self,
        trade_off: float = 0.5,
        metric: Literal["cosine", "dot", "euclidean", "sqeuclidean"] = "cosine",
    ) -> None:
        if not (is_number(trade_off) and 0 <= trade_off < float("inf")):
            raise UserError(f"strategy.trade_off={trade_off}: expected a number, 0 or more.")
        if metric not in METRICS:
            raise UserError(f"strategy.metric={metric}: expected one of {', '.join(METRICS)}.")
        self.trade_off, self.metric = trade_off, metric

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
        picks, gains = graph_cut_greedy(
            seen.embeddings(rows),
            size,
            trade_off=self.trade_off,
            metric=self.metric,
            given=np.searchsorted(rows, pool.labeled),
        )
        # With negative similarities a gain may rise again, and ties are decided within rounding.
        scores = np.minimum.accumulate(gains.cpu().numpy())
        return Query(rows[picks.cpu().numpy()], scores)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`."""
        memory = work.rows * (24 * work.width + 512) + 2**26
        pairs = float(work.rows) ** 2 if self.metric == "euclidean" else 0.0
        return Cost(memory, work.width * (pairs + float(work.rows) * work.size))
